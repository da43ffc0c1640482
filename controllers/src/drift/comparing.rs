//! What the holder of a watch makes of instances that may not be as they were left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use threeport::v1::InventoryEntry;

use super::compare::{Finding, Word, compare};
use super::holder::Holder;
use super::notices::{Next, Urgency};
use super::{Told, leftovers, locked};
use crate::clients::kubernetes::Error;
use crate::health::mark;
use crate::workload_instance::plan::{Live, Observed};

/// How soon an instance is looked at again whose reconcile in another replica hasn't finished.
const UNFINISHED: Duration = Duration::from_secs(1);
/// Objects that no inventory knows may get one, or a tombstone.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(5);

impl Holder {
    /// Compares each instance with what it should have; answers those to wake.
    pub async fn findings(&mut self, inventories: HashMap<String, Vec<InventoryEntry>>) -> Vec<String> {
        self.look_for_served(inventories.values().flatten()).await;
        let (mut wakes, mut unknown) = (Vec::new(), Vec::new());
        for (id, inventory) in inventories {
            match self.compare(&id, &inventory) {
                Finding::Same => self.notices.is_same(&id, Instant::now()),
                Finding::Unknown => unknown.push(id),
                Finding::Unfinished => {
                    let again = self.notices.is_unsettled(&id, UNFINISHED, Instant::now());
                    self.watch.suspect([id], again);
                }
                Finding::Health(what) => wakes.extend(self.notice(id, what, Urgency::AtOnce)),
                Finding::Drift(what) => wakes.extend(self.notice(id, what, Urgency::Lasting)),
                Finding::Trouble(what) => wakes.extend(self.notice(id, what, Urgency::Paced)),
            }
        }
        self.settle_unknown(unknown).await;
        wakes
    }

    fn compare(&self, id: &str, inventory: &[InventoryEntry]) -> Finding {
        let cache = locked(&self.watch.cache);
        let trouble = |seen: &Observed| match self.watch.explain(id, seen) {
            Told::Unknown => None,
            Told::Nothing => Some(Word { told: String::new(), said: mark(&seen.health.message) }),
            Told::Better(better) => Some(Word { told: better.health.reason, said: mark(&better.said) }),
        };
        compare(inventory, &cache.of(id), |reference| cache.shows_absence(reference), trouble)
    }

    /// Of a kind that wasn't served a reconcile may just have made its definition: then absence means nothing yet.
    async fn look_for_served(&self, entries: impl Iterator<Item = &InventoryEntry>) {
        let unserved = locked(&self.watch.cache).unserved();
        let named = entries.filter_map(|entry| entry.resource.as_ref());
        let named = named.map(|found| (found.api_version.clone(), found.kind.clone())).collect::<HashSet<_>>();
        for kind in unserved.into_iter().filter(|kind| named.contains(kind)) {
            if !matches!(self.watch.cluster.resource_type(&kind.0, &kind.1).await, Err(Error::UnknownKind { .. })) {
                locked(&self.watch.cache).note_served(&kind);
            }
        }
    }

    /// Whether the finding is to wake its instance now.
    fn notice(&mut self, id: String, finding: String, urgency: Urgency) -> Option<String> {
        match self.notices.differs(&id, finding, urgency, Instant::now()) {
            Next::Wake => Some(id),
            Next::LookAgain(after) => {
                self.watch.suspect([id], after);
                None
            }
        }
    }

    /// Objects that no inventory knows: of a deleted instance they go.
    async fn settle_unknown(&mut self, unknown: Vec<String>) {
        if unknown.is_empty() {
            return;
        }
        match self.control.check_tombstones(unknown.clone()).await {
            Ok(tombstoned) => {
                let found = {
                    let cache = locked(&self.watch.cache);
                    tombstoned.into_iter().map(|id| (id.clone(), cache.of(&id))).collect::<BTreeMap<_, _>>()
                };
                self.remove_leftovers(found);
            }
            Err(error) => tracing::warn!(%error, "tombstones can't be read; looking again"),
        }
        for id in unknown {
            let again = self.notices.is_unsettled(&id, UNKNOWN_AGAIN, Instant::now());
            self.watch.suspect([id], again);
        }
    }

    /// Apart from comparing, which must not wait for it. What comes while this runs is found at the next look.
    fn remove_leftovers(&mut self, found: BTreeMap<String, Live>) {
        while self.removals.try_join_next().is_some() {}
        if self.removals.is_empty() {
            let (cluster, lease) = (self.watch.cluster.clone(), self.lease.clone());
            self.removals.spawn(leftovers::remove(cluster, lease, self.control_plane_id.clone(), found));
        }
    }
}
