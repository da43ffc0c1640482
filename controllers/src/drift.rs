//! Seeing what happens behind our back: one shared watch for each kind of resource and cluster, held by one replica.
//!
//! A holder lists, follows, and compares what it sees with the inventory of every instance there. What differs it wakes,
//! and does nothing else: the repair is the reconcile's.

mod autoscalers;
mod cache;
mod compare;
mod comparing;
mod follow;
mod following;
mod holder;
mod leftovers;
mod notices;
mod pace;
mod start;
mod suspects;
mod troubles;
mod warnings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use threeport::v1::{InventoryEntry, ResourceReference};
use threeport_sdk::client::ControlClient;
use threeport_sdk::controller::LeaseGuard;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clients::kubernetes::{Cluster, Clusters};
use crate::workload_instance::plan::{Key, Live, Observed, key};
pub use autoscalers::target;
pub use start::wake_runtimes;

use cache::Cache;
use holder::Holder;
use suspects::Suspects;
pub use troubles::{Told, Troubles};

/// The watches of this process, by runtime. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watches {
    clusters: Clusters,
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
    troubles: Mutex<Troubles>,
    suspects: Mutex<Suspects>,
    nudge: Notify,
    /// Something was seen of what is ours.
    news: Notify,
    /// Asks all followers to begin their watches again.
    restart: Notify,
}

impl Watches {
    /// No watches yet, on these clusters.
    pub fn new(clusters: Clusters) -> Self {
        Self { clusters, runtimes: Arc::default() }
    }

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
            troubles: Mutex::default(),
            suspects: Mutex::default(),
            nudge: Notify::new(),
            news: Notify::new(),
            restart: Notify::new(),
        });
        runtimes.retain(|_, held| !held.task.is_finished());
        let (clusters, control_plane_id) = (self.clusters.clone(), control_plane_id.to_owned());
        let holder = Holder::new(watch.clone(), clusters, control.clone(), lease.clone(), control_plane_id);
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
        locked(&self.watch.suspects).end(&self.instance_id, Instant::now());
        self.watch.nudge.notify_one();
    }
}

impl Watch {
    /// Marks a reconcile of the instance until the answer is dropped.
    pub fn begin(self: &Arc<Self>, instance_id: &str) -> InFlight {
        locked(&self.suspects).begin(instance_id);
        InFlight { watch: self.clone(), instance_id: instance_id.to_owned() }
    }

    /// What a reconcile leaves behind, before it is stored.
    pub fn expect(&self, instance_id: &str, entries: Vec<InventoryEntry>) {
        locked(&self.suspects).expect(instance_id, entries, Instant::now());
    }

    /// Sees to it that the kinds of these resources are followed.
    pub fn follow<'a>(&self, resources: impl IntoIterator<Item = &'a ResourceReference>) {
        let kinds = resources.into_iter().map(|found| (found.api_version.clone(), found.kind.clone()));
        locked(&self.suspects).want_kinds(kinds);
        self.nudge.notify_one();
    }

    /// What the cluster has of an instance, if this process follows all of these kinds and is up to date.
    pub fn live<'a>(&self, instance_id: &str, kinds: impl IntoIterator<Item = &'a ResourceReference>) -> Option<Live> {
        locked(&self.cache).live(instance_id, kinds)
    }

    /// Waits until the object is seen healthy as this entry says that it was left; false at once if this process doesn't
    /// follow its kind.
    pub async fn is_taken_up(&self, instance_id: &str, left: &InventoryEntry) -> bool {
        let Some(reference) = &left.resource else { return false };
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            let is_healthy = locked(&self.cache).is_healthy(instance_id, reference, left);
            match is_healthy {
                Some(true) => return true,
                Some(false) => news.await,
                None => return false,
            }
        }
    }

    /// What all autoscalers of the cluster target, if this process follows them.
    pub fn autoscaled(&self) -> Option<Vec<Key>> {
        locked(&self.cache).autoscalers.targets()
    }

    /// Whether this process sees all that could tell why something isn't healthy, and so wakes it when that changes. What
    /// others have seen it may not compare in time: their word is no more than their last look.
    pub fn tells_troubles(&self) -> bool {
        locked(&self.troubles).are_complete()
    }

    /// A better word on what isn't healthy.
    pub fn explain(&self, instance_id: &str, seen: &Observed) -> Told {
        let troubles = locked(&self.troubles);
        if troubles.are_complete() { troubles.explain(instance_id, seen) } else { Told::Unknown }
    }

    /// Takes changes that the cluster tells of.
    fn touch(&self, instance_ids: impl IntoIterator<Item = String>) {
        let now = Instant::now();
        let mut suspects = locked(&self.suspects);
        for instance_id in instance_ids {
            suspects.touch(&instance_id, now);
        }
        drop(suspects);
        self.nudge.notify_one();
    }

    fn suspect(&self, instance_ids: impl IntoIterator<Item = String>, after: Duration) {
        let due = Instant::now() + after;
        let mut suspects = locked(&self.suspects);
        for instance_id in instance_ids {
            suspects.suspect(&instance_id, due);
        }
        drop(suspects);
        self.nudge.notify_one();
    }

    fn wake(&self, instance_ids: impl IntoIterator<Item = String>) {
        locked(&self.suspects).wake(instance_ids);
        self.nudge.notify_one();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
