//! Seeing what happens behind our back: one shared watch for each kind of resource and cluster, held by one replica.
//!
//! A holder lists, follows, and compares what it sees with the inventory of every instance there. What differs it wakes,
//! and does nothing else: the repair is the reconcile's.

mod cache;
mod compare;
mod follow;
mod holder;
mod leftovers;
mod start;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use threeport::v1::{InventoryEntry, ResourceReference};
use threeport_sdk::client::ControlClient;
use threeport_sdk::controller::LeaseGuard;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clients::kubernetes::Cluster;
use crate::workload_instance::plan::{Key, Live};
pub use cache::target;
pub use start::wake_runtimes;

use cache::Cache;

/// What a reconcile is about to store counts as stored for this long.
const EXPECTED_FOR: Duration = Duration::from_secs(2);

/// The watches of this process, by runtime. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watches {
    runtimes: Arc<Mutex<HashMap<String, Held>>>,
}

struct Held {
    watch: Arc<Watch>,
    lease: LeaseGuard,
    task: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The watch on one cluster.
pub struct Watch {
    pub cluster: Arc<Cluster>,
    cache: Mutex<Cache>,
    suspects: Mutex<Suspects>,
    nudge: Notify,
}

/// Instances to compare, and what their reconciles in this process are up to.
#[derive(Default)]
struct Suspects {
    due: HashMap<String, Instant>,
    in_flight: HashMap<String, u32>,
    expected: HashMap<String, (Instant, Vec<InventoryEntry>)>,
    /// Kinds that reconciles need followed.
    kinds: Vec<(String, String)>,
    /// Instances of which something came to be autoscaled, or no longer is.
    rescaled: BTreeSet<String>,
}

impl Watches {
    /// The watch on a cluster, started if this process has none under this lease.
    pub fn on(
        &self,
        cluster: &Arc<Cluster>,
        lease: &LeaseGuard,
        control: &ControlClient,
        control_plane_id: &str,
    ) -> Arc<Watch> {
        let mut runtimes = locked(&self.runtimes);
        if let Some(held) = runtimes.get(cluster.runtime_id())
            && held.lease.replica() == lease.replica()
            && Arc::ptr_eq(&held.watch.cluster, cluster)
            && !held.task.is_finished()
        {
            return held.watch.clone();
        }
        let watch = Arc::new(Watch {
            cluster: cluster.clone(),
            cache: Mutex::default(),
            suspects: Mutex::default(),
            nudge: Notify::new(),
        });
        let holder = holder::Holder::new(watch.clone(), control.clone(), lease.clone(), control_plane_id.to_owned());
        let task = tokio::spawn(holder.run());
        runtimes.insert(cluster.runtime_id().to_owned(), Held { watch: watch.clone(), lease: lease.clone(), task });
        watch
    }

    /// Ends the watch on a runtime that is gone.
    pub fn forget(&self, runtime_id: &str) {
        locked(&self.runtimes).remove(runtime_id);
    }
}

/// An instance being reconciled here: comparing waits until it ends.
pub struct InFlight {
    watch: Arc<Watch>,
    instance_id: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut suspects = locked(&self.watch.suspects);
        if let Some(count) = suspects.in_flight.get_mut(&self.instance_id) {
            *count -= 1;
            if *count == 0 {
                suspects.in_flight.remove(&self.instance_id);
            }
        }
        suspects.due.insert(self.instance_id.clone(), Instant::now());
        self.watch.nudge.notify_one();
    }
}

impl Watch {
    /// Marks a reconcile of the instance until the answer is dropped.
    pub fn begin(self: &Arc<Self>, instance_id: &str) -> InFlight {
        *locked(&self.suspects).in_flight.entry(instance_id.to_owned()).or_default() += 1;
        InFlight { watch: self.clone(), instance_id: instance_id.to_owned() }
    }

    /// What a reconcile leaves behind, before it is stored.
    pub fn expect(&self, instance_id: &str, entries: Vec<InventoryEntry>) {
        locked(&self.suspects).expected.insert(instance_id.to_owned(), (Instant::now() + EXPECTED_FOR, entries));
    }

    /// Sees to it that the kinds of these resources are followed.
    pub fn follow<'a>(&self, resources: impl IntoIterator<Item = &'a ResourceReference>) {
        let kinds = resources.into_iter().map(|found| (found.api_version.clone(), found.kind.clone()));
        locked(&self.suspects).kinds.extend(kinds);
        self.nudge.notify_one();
    }

    /// What the cluster has of an instance, if this process follows all of these kinds and is up to date.
    pub fn live<'a>(&self, instance_id: &str, kinds: impl IntoIterator<Item = &'a ResourceReference>) -> Option<Live> {
        locked(&self.cache).live(instance_id, kinds)
    }

    /// What all autoscalers of the cluster target, if this process follows them.
    pub fn autoscaled(&self) -> Option<Vec<Key>> {
        locked(&self.cache).autoscaled()
    }

    fn suspect(&self, instance_ids: impl IntoIterator<Item = String>, after: Duration) {
        let due = Instant::now() + after;
        let mut suspects = locked(&self.suspects);
        for instance_id in instance_ids {
            suspects.due.entry(instance_id).or_insert(due);
        }
        drop(suspects);
        self.nudge.notify_one();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
