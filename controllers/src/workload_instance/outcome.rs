//! One round of a reconcile: what surrounds the applies, and what is reported of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use threeport::v1::{InventoryEntry, ResourceReference, SharedResource, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, EventType, Next};

use super::plan::{self, Step};
use super::removal::{Removal, Removals};
use super::repairs::{Contention, PATIENCE};
use super::report::{self, ResourceState, Verdict};
use super::work::Outcome;
use super::{Desired, SLOW_LOOK, Watch, claims, diagnosis, not_ready, status_of_error, volume_claims};
use crate::clients::kubernetes::{Cluster, Error};
use crate::health::{Health, State};

/// What is going takes a moment.
const GOING_LOOK: Duration = Duration::from_secs(1);
/// The first look after a change; the time between looks doubles from here.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What one reconcile works with.
pub struct Round {
    pub cluster: Arc<Cluster>,
    pub watch: Arc<Watch>,
    pub wanted: Vec<Desired>,
    pub manager: String,
    pub is_simulated: bool,
    /// What the status says of the source.
    pub status: Value,
}

impl Round {
    /// A namespace or CRD that this instance may not use.
    pub fn refused(context: &mut Context<WorkloadInstance>, refused: &SharedResource) -> Failure {
        let SharedResource { kind, name, project, .. } = refused;
        let (reason, message, needs_edit) = match refused.reason.as_str() {
            "Reserved" => {
                ("NamespaceReserved", format!("{kind} `{name}` is reserved for the cluster; use another one"), true)
            }
            "OtherProject" => (
                "NamespaceTaken",
                format!("{kind} `{name}` belongs to project `{project}` on this runtime; use another one"),
                true,
            ),
            other => ("BeingDeleted", format!("{kind} `{name}` is being deleted ({other}); trying again"), false),
        };
        context.set_status(status_of_error("Error"));
        not_ready(context, reason, &message, needs_edit)
    }

    pub fn unreachable(context: &mut Context<WorkloadInstance>, error: &Error) -> Failure {
        let message = format!("runtime `{}`: {error}", runtime_of(context));
        not_ready(context, error.reason(), &message, false)
    }

    /// Takes away what is no longer wanted, then what only that had used.
    pub async fn remove(&self, context: &Context<WorkloadInstance>, steps: &[Step]) -> Result<Removals, Failure> {
        let mut removals = Removals::default();
        let instance_id = context.object.meta.as_ref().map(|meta| meta.id.clone()).unwrap_or_default();
        let removal = Removal {
            cluster: &self.cluster,
            lease: context.lease(),
            manager: &self.manager,
            instance_id: &instance_id,
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
            let released = claims::release(context, &self.cluster, &self.manager, &releases).await?;
            removals.gone.extend(released.forgotten);
            removals.going.extend(released.waiting.into_iter().map(|why| (ResourceReference::default(), why)));
            removals.notes.extend(released.kept);
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

    /// Asks the cluster why something is not healthy, once it has had a moment.
    pub async fn explain(&self, context: &Context<WorkloadInstance>, outcomes: &mut [Outcome]) -> Result<(), Failure> {
        if outcomes.iter().any(|outcome| outcome.has_written) || unready_for(context) < FIRST_LOOK {
            return Ok(());
        }
        let is_ill = |outcome: &&mut Outcome| outcome.error.is_none() && !outcome.health.is_healthy();
        for outcome in outcomes.iter_mut().filter(is_ill) {
            let one = &self.wanted[outcome.index];
            let explained = diagnosis::explain(&self.cluster, &one.value, &one.reference, &outcome.health);
            if let Ok(explained) = context.lease().guard(explained).await? {
                outcome.health = explained;
            }
        }
        Ok(())
    }

    /// Stores inventory, status, conditions and events, and says when to look again.
    pub async fn report(
        &self,
        context: &mut Context<WorkloadInstance>,
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
        let next = next(&states, contention.as_ref(), &removals, unready);
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

    fn report_events(&self, context: &mut Context<WorkloadInstance>, outcomes: &[Outcome], removals: &Removals) {
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
        context: &mut Context<WorkloadInstance>,
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

    /// Claims that stateful sets have made, looked for whenever one of those has changed.
    async fn volume_claims(
        &self,
        outcomes: &[Outcome],
        context: &Context<WorkloadInstance>,
    ) -> Result<Vec<InventoryEntry>, Failure> {
        let mut claims = Vec::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.error.is_none()) {
            let one = &self.wanted[outcome.index];
            let before = plan::entry(context.inventory(), &one.reference).map(|entry| entry.health.clone());
            if volume_claims::has_templates(&one.value) && before.as_ref() != Some(&outcome.entry.health) {
                // What can't be listed now is listed at the next change, and again when the instance goes.
                let found = context.lease().guard(volume_claims::of(&self.cluster, &one.value)).await?;
                claims.extend(found.unwrap_or_default());
            }
        }
        Ok(claims)
    }

    /// Leaves the inventory as it is now, with the store and with the watch.
    fn store(
        &self,
        context: &mut Context<WorkloadInstance>,
        outcomes: Vec<Outcome>,
        removals: Removals,
        claims: Vec<InventoryEntry>,
    ) {
        let mut now = context.inventory().to_vec();
        let kept =
            outcomes.into_iter().map(|outcome| outcome.entry).chain(removals.kept).chain(claims).collect::<Vec<_>>();
        let changed = kept.into_iter().filter(|entry| !context.inventory().contains(entry)).collect::<Vec<_>>();
        let is_replaced = |entry: &InventoryEntry| {
            let same = |other: &InventoryEntry| other.resource == entry.resource;
            changed.iter().any(same) || entry.resource.as_ref().is_some_and(|known| removals.gone.contains(known))
        };
        now.retain(|entry| !is_replaced(entry));
        now.extend(changed.iter().cloned());
        if let Some(meta) = &context.object.meta {
            self.watch.expect(&meta.id, now);
        }
        context.keep_inventory(changed);
        context.forget_inventory(removals.gone);
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
) -> Next {
    if !removals.going.is_empty() {
        return Next::CheckIn(GOING_LOOK);
    }
    if contention.is_some() {
        return Next::CheckIn(PATIENCE);
    }
    // The watch tells of most changes. Pods that fail change nothing that is watched: looks at doubling distances find those.
    if report::worst(states) == State::Healthy {
        Next::Done
    } else {
        Next::CheckIn(unready.clamp(FIRST_LOOK, SLOW_LOOK))
    }
}

/// The instance's runtime by name, for messages about it.
fn runtime_of(context: &Context<WorkloadInstance>) -> &str {
    context.object.spec.as_ref().map_or("", |spec| &spec.runtime)
}

fn has_condition(context: &Context<WorkloadInstance>, name: &str) -> bool {
    let conditions = context.object.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.r#type == name)
}

/// How long the instance has not been ready.
pub fn unready_for(context: &Context<WorkloadInstance>) -> Duration {
    let conditions = context.object.status.iter().flat_map(|status| &status.conditions);
    let unready = conditions.into_iter().find(|condition| condition.r#type == "Ready" && condition.status != "True");
    let since = unready.and_then(|condition| condition.last_transition_at).and_then(|at| SystemTime::try_from(at).ok());
    since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default()
}
