//! One round of a reconcile: what surrounds the applies, and what is reported of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use threeport::v1::{InventoryEntry, ResourceReference, SharedResource, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, EventType, Next};
use tokio::time::Instant;

use super::plan::{self, Step};
use super::removal::{Removal, Removals};
use super::repairs::{Contention, PATIENCE};
use super::report::{self, ResourceState, Verdict};
use super::work::Outcome;
use super::{Desired, SLOW_LOOK, Watch, claims, diagnosis, not_ready, volume_claims};
use crate::clients::kubernetes::{Cluster, Error};
use crate::health::{Health, State};
use crate::resource::is_same;

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
    /// No new step is begun after this.
    pub until: Instant,
}

impl Round {
    /// Namespaces or CRDs that this instance may not use, or not yet.
    pub async fn not_granted(
        &self,
        context: &mut Context<WorkloadInstance>,
        refused: &[SharedResource],
    ) -> Result<Next, Failure> {
        if let Some(denied) = refused.iter().find(|refused| refused.reason != "BeingDeleted") {
            return Err(self.denied(context, denied));
        }
        let mut removals = Removals::default();
        let released = claims::finish_releases(context, &self.cluster, &self.manager, &self.wanted, refused).await?;
        removals.note_released(released);
        let names = refused.iter().map(|one| format!("{} `{}`", one.kind, one.name)).collect::<Vec<_>>().join(", ");
        let message = match (removals.failed.first(), removals.going.first()) {
            (Some((_, error)), _) => format!("{names} is being deleted: {error}"),
            (None, Some(going)) => format!("is made again once it is gone: {}", going.why),
            (None, None) => format!("{names} has just been deleted and is made again"),
        };
        let mut status = self.status.clone();
        status["health"] = json!("Reconciling");
        context.set_status(status);
        context.condition("Ready", false, "BeingDeleted", message);
        Ok(Next::CheckIn(removals.next_look().unwrap_or(FIRST_LOOK)))
    }

    fn denied(&self, context: &mut Context<WorkloadInstance>, denied: &SharedResource) -> Failure {
        let SharedResource { kind, name, project, .. } = denied;
        let (reason, message, needs_edit) = match denied.reason.as_str() {
            "Reserved" => {
                ("NamespaceReserved", format!("{kind} `{name}` is reserved for the cluster; use another one"), true)
            }
            "OtherProject" => (
                "NamespaceTaken",
                format!("{kind} `{name}` belongs to project `{project}` on this runtime; use another one"),
                true,
            ),
            other => ("ClaimRefused", format!("{kind} `{name}` can't be used now ({other}); trying again"), false),
        };
        not_ready(context, &self.status, reason, &message, needs_edit)
    }

    pub fn unreachable(&self, context: &mut Context<WorkloadInstance>, error: &Error) -> Failure {
        let message = format!("runtime `{}`: {error}", runtime_of(context));
        not_ready(context, &self.status, error.reason(), &message, false)
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
            removals.note_released(claims::release(context, &self.cluster, &self.manager, &releases).await?);
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
        let is_cut_short = outcomes.len() < self.wanted.len() && Instant::now() >= self.until;
        let next = if is_cut_short {
            Next::CheckIn(Duration::ZERO)
        } else {
            next(&states, contention.as_ref(), &removals, unready)
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
        let (theirs, ours): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Outcome::is_others);
        let kept = ours.into_iter().map(|outcome| outcome.entry).chain(removals.kept).chain(claims).collect::<Vec<_>>();
        let mut gone = removals.gone;
        gone.extend(theirs.into_iter().filter_map(|outcome| outcome.entry.resource));
        gone.extend(superseded(context.inventory(), &kept));
        let changed = kept.into_iter().filter(|entry| !context.inventory().contains(entry)).collect::<Vec<_>>();
        let is_replaced = |entry: &InventoryEntry| {
            let same = |other: &InventoryEntry| other.resource == entry.resource;
            changed.iter().any(same) || entry.resource.as_ref().is_some_and(|known| gone.contains(known))
        };
        now.retain(|entry| !is_replaced(entry));
        now.extend(changed.iter().cloned());
        if let Some(meta) = &context.object.meta {
            self.watch.expect(&meta.id, now);
        }
        context.keep_inventory(changed);
        context.forget_inventory(gone);
    }
}

/// References by another version of the API to what is known by a new one.
fn superseded(inventory: &[InventoryEntry], kept: &[InventoryEntry]) -> Vec<ResourceReference> {
    let known = inventory.iter().filter_map(|entry| entry.resource.as_ref());
    let is_superseded = |known: &&ResourceReference| {
        let mut now = kept.iter().filter_map(|entry| entry.resource.as_ref());
        now.any(|now| is_same(now, known) && now != *known)
    };
    known.filter(is_superseded).cloned().collect()
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
    if let Some(next_look) = removals.next_look() {
        return Next::CheckIn(next_look);
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
fn unready_for(context: &Context<WorkloadInstance>) -> Duration {
    let conditions = context.object.status.iter().flat_map(|status| &status.conditions);
    let unready = conditions.into_iter().find(|condition| condition.r#type == "Ready" && condition.status != "True");
    let since = unready.and_then(|condition| condition.last_transition_at).and_then(|at| SystemTime::try_from(at).ok());
    since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(api_version: &str, name: &str) -> InventoryEntry {
        let resource = ResourceReference {
            api_version: api_version.into(),
            kind: "HorizontalPodAutoscaler".into(),
            namespace: "n".into(),
            name: name.into(),
        };
        InventoryEntry { resource: Some(resource), uid: "u".into(), ..Default::default() }
    }

    #[test]
    fn a_new_version_of_the_api_replaces_the_entry_of_the_old_one() {
        let before = [entry("autoscaling/v1", "a"), entry("autoscaling/v1", "b")];
        assert_eq!(superseded(&before, &[entry("autoscaling/v2", "a")]), [before[0].resource.clone().unwrap()]);
        assert_eq!(superseded(&before, &[entry("autoscaling/v1", "a")]), []);
    }
}
