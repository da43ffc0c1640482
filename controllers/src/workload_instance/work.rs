//! Doing what the plan says: each write under the lease, bounded in number, phase by phase.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use threeport::v1::{Adoption, InventoryEntry, SharedResource};
use threeport_sdk::controller::{Error as Failure, EventType, LeaseGuard};
use tokio::time::Instant;

use super::desired::Desired;
use super::names::Names;
use super::plan::{Live, Observed, Step, entry, key};
use super::repairs::Contention;
use crate::clients::kubernetes::{Cluster, Error};
use crate::health::{self, Health, State};

/// Independent resources of one instance are applied this many at a time.
const AT_ONCE: usize = 8;
/// A reconcile lasts at most 10 s: what is not begun by then is for the next one.
const BEGIN_WITHIN: Duration = Duration::from_secs(8);

/// When a reconcile that begins now begins nothing more.
pub fn step_end() -> Instant {
    Instant::now() + BEGIN_WITHIN
}

/// What every step of one reconcile needs.
pub struct Work<'a> {
    pub cluster: &'a Cluster,
    pub lease: &'a LeaseGuard,
    pub names: Names<'a>,
    pub manager: &'a str,
    pub control_plane_id: &'a str,
    pub instance_id: &'a str,
    pub adopt: &'a [Adoption],
    pub inventory: &'a [InventoryEntry],
    /// Claimed for the first time, and seen in the cluster by other instances.
    pub seen_by_others: &'a [SharedResource],
    pub live: &'a Live,
    pub desired: &'a [Desired],
    /// No new step is begun after this.
    pub until: Instant,
}

/// Something to report.
#[derive(Clone, Debug)]
pub struct Note {
    pub event_type: EventType,
    pub reason: &'static str,
    pub text: String,
}

/// What became of one desired resource.
pub struct Outcome {
    pub index: usize,
    /// As the inventory should have it now.
    pub entry: InventoryEntry,
    pub health: Health,
    /// The object as the cluster answered it, if it was asked.
    pub object: Option<Value>,
    pub is_created: bool,
    pub has_written: bool,
    pub notes: Vec<Note>,
    pub contention: Option<Contention>,
    pub error: Option<Error>,
}

impl Outcome {
    /// Whether it turned out to be somebody else's: the inventory has no place for it.
    pub fn is_others(&self) -> bool {
        matches!(self.error, Some(Error::Conflict { .. })) && self.entry.uid.is_empty()
    }
}

impl Work<'_> {
    /// Runs a call that changes the cluster, for as long as the lease is held.
    pub async fn under_lease<T>(&self, call: impl Future<Output = T>) -> Result<T, Failure> {
        self.lease.guard(call).await
    }

    /// Creates, changes, inspects and keeps, phase by phase, until the time is up. Later phases go on
    /// after a failure, except of the first: nothing can be in a namespace, or of a kind, that isn't there.
    pub async fn apply(&self, steps: &[Step]) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        for phase in 0..=4 {
            let of_phase = steps.iter().filter(|step| self.phase(step) == Some(phase)).collect::<Vec<_>>();
            let running = of_phase.into_iter().map(|step| self.step_in_time(step)).collect::<Vec<_>>();
            let results = futures::stream::iter(running).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
            let results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
            outcomes.extend(results.into_iter().flatten());
            if phase == 0 && outcomes.iter().any(|outcome| outcome.error.is_some()) {
                break;
            }
            if phase == 0 {
                self.wait_for_definitions(&mut outcomes).await?;
            }
        }
        outcomes.sort_by_key(|outcome| outcome.index);
        Ok(outcomes)
    }

    fn phase(&self, step: &Step) -> Option<u8> {
        match step {
            Step::Create(index) | Step::Change(index) | Step::Inspect(index) | Step::Keep(index) => {
                Some(self.desired[*index].phase)
            }
            Step::Prune(_) | Step::Retain(_) | Step::Release(_) => None,
        }
    }

    /// None if it is too late to begin.
    async fn step_in_time(&self, step: &Step) -> Result<Option<Outcome>, Failure> {
        let is_late = Instant::now() >= self.until && !matches!(step, Step::Keep(_));
        if is_late { Ok(None) } else { self.step(step).await.map(Some) }
    }

    async fn step(&self, step: &Step) -> Result<Outcome, Failure> {
        match step {
            Step::Create(index) => self.create(*index).await,
            Step::Change(index) => self.change(*index).await,
            Step::Inspect(index) => self.inspect(*index).await,
            Step::Keep(index) => Ok(self.keep(*index)),
            Step::Prune(_) | Step::Retain(_) | Step::Release(_) => unreachable!("removals have no phase"),
        }
    }

    /// As we left it; what the watch or list said of its health holds.
    fn keep(&self, index: usize) -> Outcome {
        let one = &self.desired[index];
        let mut outcome = self.outcome(index);
        outcome.health = self.live.get(&key(&one.reference)).map_or_else(Health::healthy, |seen| seen.health.clone());
        outcome.entry.health = outcome.health.summary();
        outcome
    }

    /// An outcome in which nothing has happened yet.
    pub fn outcome(&self, index: usize) -> Outcome {
        let one = &self.desired[index];
        let known = entry(self.inventory, &one.reference).cloned().unwrap_or_default();
        let resource = Some(one.reference.clone());
        // Anybody may mark what is to be kept, in the cluster alone.
        let retained = one.is_retained || self.live.get(&key(&one.reference)).is_some_and(|seen| seen.is_retained);
        Outcome {
            index,
            entry: InventoryEntry { resource, retained, observed: false, ..known },
            health: Health::healthy(),
            object: None,
            is_created: false,
            has_written: false,
            notes: Vec::new(),
            contention: None,
            error: None,
        }
    }

    /// Notes what an apply or read answered.
    pub fn note_object(&self, outcome: &mut Outcome, object: Value) {
        let seen = Observed::of(&object, self.manager);
        outcome.entry.uid = seen.uid;
        outcome.entry.managed_hash = seen.managed_hash;
        outcome.entry.retained = self.desired[outcome.index].is_retained || seen.is_retained;
        outcome.health = health::of(&object);
        outcome.entry.health = outcome.health.summary();
        outcome.object = Some(object);
    }

    /// Notes why a resource could not be brought where it should be.
    pub fn note_error(outcome: &mut Outcome, error: Error) {
        outcome.health = Health::new(State::Error, error.reason(), error.to_string());
        outcome.entry.health = outcome.health.summary();
        outcome.error = Some(error);
    }
}
