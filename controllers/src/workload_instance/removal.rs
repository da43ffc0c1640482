//! Taking single resources away: by uid, with proof of their absence.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use threeport::v1::{InventoryEntry, ResourceReference};
use threeport_sdk::controller::{Error as Failure, LeaseGuard};
use tokio::time::Instant;

use super::claims::{Released, why_it_stays};
use super::kept;
use super::plan::{Observed, Step};
use super::report::ResourceState;
use crate::clients::kubernetes::{Cluster, Deletion, Error, Result};
use crate::health::{Health, State};
use crate::resource::{APPLIED_HASH, CONTROL_PLANE_LABEL, INSTANCE_LABEL, is_namespace, label, manager_of, text};

/// What is going is looked at at doubling distances, for finalizers may take long.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(30);
/// The watch tells when a namespace is gone, which takes 5 s at least.
const NAMESPACE_LOOK: Duration = Duration::from_secs(8);

/// Who removes.
pub struct Removal<'a> {
    pub cluster: &'a Cluster,
    pub lease: &'a LeaseGuard,
    pub manager: &'a str,
    pub instance_id: &'a str,
    /// Nothing new is begun after this.
    pub until: Instant,
}

/// What became of a resource.
pub enum Removed {
    /// Proved absent, or never ours.
    Gone,
    /// Kept, and no longer marked as ours.
    Kept,
    Going(Going),
    Failed(Error),
    /// Not tried: this step has lasted long enough.
    Postponed,
}

/// Something that is still there, though marked as deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    pub reference: ResourceReference,
    pub why: String,
    /// How long it has been going.
    pub age: Duration,
}

impl Going {
    pub fn of(object: &Value, reference: &ResourceReference) -> Self {
        Self { reference: reference.clone(), why: why_it_stays(object, reference), age: age(object, SystemTime::now()) }
    }

    /// After as long as it has been going.
    pub fn next_look(&self) -> Duration {
        let first = if is_namespace(&self.reference) { NAMESPACE_LOOK } else { FIRST_LOOK };
        self.age.clamp(first, LAST_LOOK)
    }
}

/// How long an object has been terminating; the mark of a pod lies ahead by its grace period.
fn age(object: &Value, now: SystemTime) -> Duration {
    let since = text(&object["metadata"]["deletionTimestamp"]).parse::<prost_types::Timestamp>().ok();
    let since = since.and_then(|since| SystemTime::try_from(since).ok());
    since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default()
}

impl Removal<'_> {
    /// Deletes what the entry stands for.
    pub async fn delete(&self, entry: &InventoryEntry) -> std::result::Result<Removed, Failure> {
        let Some(reference) = &entry.resource else { return Ok(Removed::Gone) };
        if Instant::now() >= self.until {
            return Ok(Removed::Postponed);
        }
        let deleted = self.lease.guard(self.delete_ours(reference, &entry.uid)).await?;
        Ok(match deleted {
            Ok(Deletion::Gone) => Removed::Gone,
            Ok(Deletion::Going(object)) => Removed::Going(Going::of(&object, reference)),
            Err(error) => Removed::Failed(error),
        })
    }

    async fn delete_ours(&self, reference: &ResourceReference, uid: &str) -> Result<Deletion> {
        match self.uid_of_ours(reference, uid).await? {
            Some(uid) => self.cluster.delete(reference, &uid).await,
            None => Ok(Deletion::Gone),
        }
    }

    /// An entry without uid may stand for something that a reconcile made just before it died.
    async fn uid_of_ours(&self, reference: &ResourceReference, uid: &str) -> Result<Option<String>> {
        if !uid.is_empty() {
            return Ok(Some(uid.to_owned()));
        }
        let live = self.cluster.get(reference).await?.filter(|live| label(live, INSTANCE_LABEL) == self.instance_id);
        let observe = |live: Value| Observed::of(&live, &manager_of(&live, self.instance_id));
        let seen = live.map(observe).filter(Observed::is_ours);
        Ok(seen.map(|seen| seen.uid))
    }

    /// Takes our marks off something that outlives its instance, so that nothing later takes it for ours.
    pub async fn let_go(&self, entry: &InventoryEntry) -> std::result::Result<Removed, Failure> {
        let Some(reference) = &entry.resource else { return Ok(Removed::Gone) };
        if Instant::now() >= self.until {
            return Ok(Removed::Postponed);
        }
        let uid = match self.lease.guard(self.uid_of_ours(reference, &entry.uid)).await? {
            Ok(Some(uid)) => uid,
            Ok(None) => return Ok(Removed::Gone),
            Err(error) => return Ok(Removed::Failed(error)),
        };
        let patch = json!({ "metadata": {
            "labels": { CONTROL_PLANE_LABEL: null, INSTANCE_LABEL: null },
            "annotations": { APPLIED_HASH: null },
        }});
        let patched = self.lease.guard(self.cluster.merge(reference, &uid, &patch, self.manager)).await?;
        Ok(match patched {
            Ok(_) => Removed::Kept,
            // Gone, or another one has the name now.
            Err(Error::NotFound(_) | Error::Stale(_) | Error::UnknownKind { .. }) => Removed::Gone,
            Err(error) => Removed::Failed(error),
        })
    }
}

/// What became of what is no longer wanted.
#[derive(Default)]
pub struct Removals {
    pub gone: Vec<ResourceReference>,
    pub kept: Vec<InventoryEntry>,
    /// Still there.
    pub going: Vec<Going>,
    pub failed: Vec<(ResourceReference, Error)>,
    pub notes: Vec<String>,
    /// To go once all that is wanted is applied: what replaces something comes before what it replaces goes.
    pub put_off: Vec<ResourceReference>,
    /// Some were not even tried.
    pub is_cut_short: bool,
}

impl Removals {
    /// Nothing is removed yet of what these steps would remove.
    pub fn put_off(steps: &[Step]) -> Self {
        let removed = steps.iter().filter_map(|step| match step {
            Step::Prune(entry) | Step::Retain(entry) | Step::Release(entry) => entry.resource.clone(),
            Step::Create(_) | Step::Change(_) | Step::Inspect(_) | Step::Keep(_) => None,
        });
        Self { put_off: removed.collect(), ..Self::default() }
    }

    pub fn note(&mut self, entry: &InventoryEntry, removed: Removed) {
        let reference = entry.resource.clone().unwrap_or_default();
        match removed {
            Removed::Gone => self.gone.push(reference),
            Removed::Kept => self.kept.push(kept(entry)),
            Removed::Going(going) => self.going.push(going),
            Removed::Failed(error) => self.failed.push((reference, error)),
            Removed::Postponed => self.is_cut_short = true,
        }
    }

    /// Adds what became of namespaces and CRDs.
    pub fn note_released(&mut self, released: Released) {
        self.gone.extend(released.forgotten);
        self.going.extend(released.waiting);
        self.failed.extend(released.failed);
        self.notes.extend(released.kept);
        self.is_cut_short |= released.is_cut_short;
    }

    /// Whether nothing is still to go.
    pub fn are_over(&self) -> bool {
        self.going.is_empty() && self.failed.is_empty() && self.put_off.is_empty() && !self.is_cut_short
    }

    /// When to look again: as long after the last that began to go as it has been going; none if nothing is.
    pub fn next_look(&self) -> Option<Duration> {
        if self.is_cut_short {
            return Some(Duration::ZERO);
        }
        self.going.iter().map(Going::next_look).min()
    }

    pub fn states(&self) -> Vec<ResourceState> {
        let going = self
            .going
            .iter()
            .map(|going| (going.reference.clone(), Health::reconciling("Removing", going.why.clone())));
        let failed = self.failed.iter().map(|(reference, error)| {
            (reference.clone(), Health::new(State::Error, error.reason(), error.to_string()))
        });
        let waiting = |reference: &ResourceReference| {
            let message = "goes once all that is wanted is applied";
            (reference.clone(), Health::reconciling("RemovalWaits", message))
        };
        going.chain(failed).chain(self.put_off.iter().map(waiting)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn going(age: u64) -> Going {
        Going { reference: ResourceReference::default(), why: String::new(), age: Duration::from_secs(age) }
    }

    #[test]
    fn what_goes_slowly_is_looked_at_ever_more_seldom() {
        let looks = |ages: &[u64]| {
            let removals = Removals { going: ages.iter().copied().map(going).collect(), ..Removals::default() };
            removals.next_look().map(|look| look.as_secs())
        };
        assert_eq!(looks(&[]), None);
        assert_eq!(looks(&[0]), Some(1));
        assert_eq!(looks(&[8]), Some(8));
        assert_eq!(looks(&[3600]), Some(30));
        assert_eq!(looks(&[3600, 2]), Some(2), "the last to begin decides");
    }

    #[test]
    fn the_age_counts_from_the_mark_of_deletion() {
        let object = json!({ "metadata": { "deletionTimestamp": "1970-01-01T00:01:00Z" } });
        let at = |seconds| age(&object, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).as_secs();
        assert_eq!((at(100), at(30)), (40, 0));
    }

    #[test]
    fn what_is_put_off_is_told_and_not_over() {
        let reference = ResourceReference { name: "old".into(), ..ResourceReference::default() };
        let entry = InventoryEntry { resource: Some(reference.clone()), ..InventoryEntry::default() };
        let removals = Removals::put_off(&[Step::Keep(0), Step::Prune(entry)]);
        assert!(!removals.are_over());
        assert_eq!(removals.states()[0].0, reference);
        assert_eq!(removals.next_look(), None, "the failure says when to try again");
    }

    #[test]
    fn removals_that_were_cut_short_are_not_over() {
        let mut removals = Removals::default();
        assert!(removals.are_over());
        removals.note(&InventoryEntry::default(), Removed::Postponed);
        assert!(!removals.are_over());
        assert_eq!(removals.next_look(), Some(Duration::ZERO));
    }
}
