//! One round of a reconcile: what surrounds the applies, and what is reported of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use threeport::v1::ResourceReference;
use threeport_sdk::controller::{Context, Error as Failure, EventType, Next};
use tokio::time::Instant;

use super::claims::{self, Leaver};
use super::contents::Contents;
use super::deployment::Deployment;
use super::plan::Step;
use super::removal::{Removal, Removals};
use super::repairs::{Contention, PATIENCE};
use super::report::{self, ResourceState, Verdict};
use super::work::Outcome;
use super::{Desired, SLOW_LOOK, Watch};
use crate::clients::kubernetes::{Cluster, Error};
use crate::health::{Health, State};
use crate::resource::is_shared;

/// The first look after a change; the time between looks doubles from here.
pub const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What one reconcile works with.
pub struct Round {
    pub cluster: Arc<Cluster>,
    pub watch: Arc<Watch>,
    pub wanted: Vec<Desired>,
    pub manager: String,
    pub is_simulated: bool,
    /// What the status says of the source.
    pub status: Value,
    /// No new step is begun after this.
    pub until: Instant,
}

impl Round {
    /// Takes away what is no longer wanted, then what only that had used.
    pub async fn remove(&self, context: &Context<impl Deployment>, steps: &[Step]) -> Result<Removals, Failure> {
        let mut removals = Removals::default();
        let instance_id = context.object.meta().id.clone();
        let removal = Removal {
            cluster: &self.cluster,
            lease: context.lease(),
            manager: &self.manager,
            instance_id: &instance_id,
            until: self.until,
        };
        for step in steps {
            match step {
                Step::Prune(entry) => removals.note(entry, removal.delete(entry).await?),
                Step::Retain(entry) => removals.note(entry, removal.let_go(entry).await?),
                _ => {}
            }
        }
        let releases =
            steps.iter().filter_map(|step| if let Step::Release(entry) = step { Some(entry.clone()) } else { None });
        let releases = releases.collect::<Vec<_>>();
        if removals.are_over() && !releases.is_empty() {
            let leaver = Leaver { context, cluster: &self.cluster, manager: &self.manager, until: self.until };
            removals.note_released(claims::release(&leaver, &releases, Contents::Leftovers).await?);
        }
        Ok(removals)
    }

    /// A namespace or CRD deleted behind our back shows in what needs it: it is made again next time.
    pub async fn revive_shared(&self, outcomes: &mut [Outcome]) -> Result<(), Failure> {
        let is_missing = |outcome: &Outcome| {
            matches!(outcome.error, Some(Error::NotFound(_) | Error::Terminating(_) | Error::UnknownKind { .. }))
        };
        if !outcomes.iter().any(is_missing) {
            return Ok(());
        }
        for outcome in
            outcomes.iter_mut().filter(|outcome| self.wanted[outcome.index].is_shared() && !outcome.has_written)
        {
            if matches!(self.cluster.get(&self.wanted[outcome.index].reference).await, Ok(None)) {
                outcome.entry.uid.clear();
                outcome.entry.applied_hash.clear();
            }
        }
        Ok(())
    }

    /// Stores inventory, status, conditions and events, and says when to look again.
    pub async fn report(
        &self,
        context: &mut Context<impl Deployment>,
        outcomes: Vec<Outcome>,
        removals: Removals,
    ) -> Result<Next, Failure> {
        let claims = self.volume_claims(&outcomes, context).await?;
        let unready = unready_for(context);
        let mut states = self.states(&outcomes);
        states.extend(removals.states());
        let contention = outcomes
            .iter()
            .find_map(|outcome| Some((self.wanted[outcome.index].reference.clone(), outcome.contention.clone()?)));
        self.report_events(context, &outcomes, &removals);
        Self::report_conditions(context, &states, contention.as_ref());
        let mut status = self.status.clone();
        status["health"] = json!(report::health_text(report::worst(&states), self.is_simulated));
        status["resources"] = json!(report::resources(&states));
        context.set_status(status);
        let is_applied = |outcome: &Outcome| outcome.error.is_none();
        if outcomes.len() == self.wanted.len() && outcomes.iter().all(is_applied) && removals.are_over() {
            context.set_pruned();
        }
        let failure = failure(&outcomes, &removals);
        let is_cut_short = outcomes.len() < self.wanted.len() && Instant::now() >= self.until;
        let next = if is_cut_short {
            Next::CheckIn(Duration::ZERO)
        } else {
            next(&states, contention.as_ref(), &removals, unready, self.watch.tells_troubles())
        };
        self.store(context, outcomes, removals, claims);
        match failure {
            None => Ok(next),
            Some((error, true)) => Err(Failure::give_up(error.reason(), error.to_string())),
            Some((Error::Conflict { .. }, false)) => Ok(Next::CheckIn(SLOW_LOOK)),
            Some((error, false)) => Err(Failure::Retry(error.into())),
        }
    }

    /// Each wanted resource; those that were not tried wait for the ones before.
    fn states(&self, outcomes: &[Outcome]) -> Vec<ResourceState> {
        let state = |(index, one): (usize, &Desired)| {
            let outcome = outcomes.iter().find(|outcome| outcome.index == index);
            let waiting = || Health::reconciling("Waiting", "waits for what comes before it");
            (one.reference.clone(), outcome.map_or_else(waiting, |outcome| outcome.health.clone()))
        };
        self.wanted.iter().enumerate().map(state).collect()
    }

    fn report_events(&self, context: &mut Context<impl Deployment>, outcomes: &[Outcome], removals: &Removals) {
        for note in outcomes.iter().flat_map(|outcome| &outcome.notes) {
            context.event(note.event_type, note.reason, note.text.clone());
        }
        for note in &removals.notes {
            context.event(EventType::Normal, "Kept", note.clone());
        }
        let written = outcomes.iter().filter(|outcome| outcome.has_written && outcome.notes.is_empty()).count();
        if written > 0 || !removals.gone.is_empty() {
            let note = format!("{written} of {} resources applied, {} removed", self.wanted.len(), removals.gone.len());
            context.event(EventType::Normal, "Applied", note);
        }
    }

    fn report_conditions(
        context: &mut Context<impl Deployment>,
        states: &[ResourceState],
        contention: Option<&(ResourceReference, Contention)>,
    ) {
        let applied = match states.iter().find(|(_, health)| health.state == State::Error || health.reason == "Waiting")
        {
            Some((_, health)) => Verdict::unmet(&health.reason, health.message.clone()),
            None => Verdict::met("Applied", ""),
        };
        let had_contention = has_condition(context, "Contended");
        let contended = match contention {
            Some((reference, contention)) => {
                let Verdict { message, .. } = report::contended(reference, contention);
                Some(Verdict::met("FieldContended", message))
            }
            None => had_contention.then(|| Verdict::unmet("Settled", "")),
        };
        let mut ready = report::ready(states, contention);
        if ready.reason == "Unreachable" {
            ready.message = format!("runtime `{}`: {}", runtime_of(context), ready.message);
        }
        let verdicts = [("Applied", Some(applied)), ("Contended", contended), ("Ready", Some(ready))];
        for (name, verdict) in verdicts.into_iter().filter_map(|(name, verdict)| Some((name, verdict?))) {
            context.condition(name, verdict.is_met, verdict.reason, verdict.message);
        }
    }
}

/// The failure that decides how to go on, and whether only an edit helps.
fn failure(outcomes: &[Outcome], removals: &Removals) -> Option<(Error, bool)> {
    let errors = outcomes.iter().filter_map(|outcome| outcome.error.clone());
    let errors = errors.chain(removals.failed.iter().map(|(_, error)| error.clone())).collect::<Vec<_>>();
    // What may pass by itself is tried again; the rest of the instance profits.
    let transient = errors.iter().find(|error| error.is_transient());
    let chosen =
        transient.or_else(|| errors.iter().find(|error| matches!(error, Error::Invalid(_)))).or(errors.first())?;
    Some((chosen.clone(), matches!(chosen, Error::Invalid(_))))
}

fn next(
    states: &[ResourceState],
    contention: Option<&(ResourceReference, Contention)>,
    removals: &Removals,
    unready: Duration,
    is_told: bool,
) -> Next {
    if let Some(next_look) = removals.next_look() {
        return Next::CheckIn(next_look);
    }
    if contention.is_some() {
        return Next::CheckIn(PATIENCE);
    }
    // Where this process has the watch and sees pods and warnings, it wakes the instance when health, or the reason for it,
    // changes; only definitions of kinds bear no label that it could go by. Else looks at doubling distances find it.
    let is_ill = |(_, health): &&ResourceState| health.state != State::Healthy;
    if states.iter().filter(is_ill).all(|(reference, _)| is_told && !is_shared(reference)) {
        Next::Done
    } else {
        Next::CheckIn(unready.clamp(FIRST_LOOK, SLOW_LOOK))
    }
}

/// The instance's runtime by name, for messages about it.
pub fn runtime_of(context: &Context<impl Deployment>) -> &str {
    context.object.runtime()
}

fn has_condition(context: &Context<impl Deployment>, name: &str) -> bool {
    context.object.conditions().iter().any(|condition| condition.r#type == name)
}

/// How long the instance has not been ready.
pub fn unready_for(context: &Context<impl Deployment>) -> Duration {
    let unready =
        context.object.conditions().iter().find(|condition| condition.r#type == "Ready" && condition.status != "True");
    let since = unready.and_then(|condition| condition.last_transition_at).and_then(|at| SystemTime::try_from(at).ok());
    since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_tells_of_is_looked_at_again() {
        let state = |api_version: &str, kind: &str, health: Health| {
            let (api_version, kind) = (api_version.into(), kind.into());
            (ResourceReference { api_version, kind, ..ResourceReference::default() }, health)
        };
        let ill = || Health::reconciling("NotReady", "");
        let looks = |states: &[ResourceState], is_told| {
            next(states, None, &Removals::default(), Duration::from_mins(1), is_told)
        };
        let deployment = [state("apps/v1", "Deployment", ill())];
        assert_eq!(looks(&deployment, true), Next::Done);
        assert_eq!(looks(&deployment, false), Next::CheckIn(Duration::from_mins(1)));
        assert_eq!(looks(&[state("apps/v1", "Deployment", Health::healthy())], false), Next::Done);
        let definition = state("apiextensions.k8s.io/v1", "CustomResourceDefinition", ill());
        assert_eq!(looks(&[definition], true), Next::CheckIn(Duration::from_mins(1)));
    }
}
