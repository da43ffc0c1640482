//! Holds the watch on one cluster for all replicas: follows kinds, compares suspects, wakes what differs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use threeport::object::Object;
use threeport::v1::{
    AcquireLeaseRequest, ControllerReference, HelmWorkloadInstance, InventoryEntry, WakeItem, WorkloadInstance,
};
use threeport_sdk::client::ControlClient;
use threeport_sdk::controller::LeaseGuard;
use tokio::task::JoinSet;

use super::following::Following;
use super::notices::Notices;
use super::suspects::Due;
use super::{Watch, locked};
use crate::clients::kubernetes::Clusters;

/// How soon a replica that doesn't hold the watch asks again.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How often a silent cluster is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
const HEARTBEAT_WHILE_AWAY: Duration = Duration::from_secs(1);
/// How often kinds that other replicas came to use are looked for.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How often a runtime is asked for its tombstone.
const ASK_WHETHER_DELETED: Duration = Duration::from_mins(1);
/// Instances compared at a time: with those woken no more than the server wakes at once.
const BATCH: usize = 500;

pub struct Holder {
    pub watch: Arc<Watch>,
    clusters: Clusters,
    pub control: ControlClient,
    pub lease: LeaseGuard,
    pub control_plane_id: String,
    pub notices: Notices,
    /// At most one, of leftovers; it ends with the holder.
    pub removals: JoinSet<()>,
    was_unreachable: bool,
    next_tombstone_check: Instant,
}

impl Holder {
    pub fn new(
        watch: Arc<Watch>,
        clusters: Clusters,
        control: ControlClient,
        lease: LeaseGuard,
        control_plane_id: String,
    ) -> Self {
        let (notices, next_tombstone_check) = (Notices::default(), Instant::now() + ASK_WHETHER_DELETED);
        Self {
            watch,
            clusters,
            control,
            lease,
            control_plane_id,
            notices,
            removals: JoinSet::new(),
            was_unreachable: false,
            next_tombstone_check,
        }
    }

    /// Runs for as long as the replica's lease lasts and the runtime isn't deleted.
    pub async fn run(mut self) {
        let lease = self.lease.clone();
        let is_deleted = Box::pin(lease.guard(self.hold())).await.is_ok();
        *locked(&self.watch.cache) = super::Cache::default();
        *locked(&self.watch.troubles) = super::Troubles::default();
        locked(&self.watch.suspects).release();
        if is_deleted {
            self.clusters.forget(self.watch.cluster.runtime_id());
            return;
        }
        // Whoever looks at the runtime next, here under a new lease or elsewhere, watches it again.
        let _ = self.control.wake(vec![runtime_item(self.watch.cluster.runtime_id())]).await;
    }

    /// Waits for its turn and watches; returns once the runtime is deleted.
    async fn hold(&mut self) {
        let request = AcquireLeaseRequest {
            replica: self.lease.replica().to_string(),
            name: format!("watch/{}", self.watch.cluster.runtime_id()),
            release: false,
        };
        loop {
            match self.control.acquire_lease(request.clone()).await {
                Ok(answer) if answer.held => break,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the lease on a watch can't be asked for"),
            }
            if self.is_deleted().await {
                return;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        tracing::info!(runtime = self.watch.cluster.runtime_id(), "watching a cluster");
        locked(&self.watch.suspects).hold();
        self.watch_all().await;
    }

    async fn watch_all(&mut self) {
        let mut following = Following::start(self.watch.clone(), self.control.clone(), self.control_plane_id.clone());
        let mut next_heartbeat = tokio::time::Instant::now() + HEARTBEAT;
        let mut next_catch_up = tokio::time::Instant::now();
        loop {
            following.add_wanted();
            let pause = self.compare_due().await;
            tokio::select! {
                () = tokio::time::sleep_until(next_heartbeat) => {
                    if self.is_deleted().await {
                        return;
                    }
                    let pause = self.heartbeat().await;
                    next_heartbeat = tokio::time::Instant::now() + pause;
                }
                () = tokio::time::sleep_until(next_catch_up) => {
                    if let Err(error) = following.catch_up().await {
                        tracing::warn!(%error, "the inventory of a runtime can't be listed; trying again");
                    }
                    next_catch_up = tokio::time::Instant::now() + CATCH_UP;
                }
                () = self.watch.nudge.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks now and then whether the runtime has a tombstone: its cleanup may have run in another replica.
    async fn is_deleted(&mut self) -> bool {
        if Instant::now() < self.next_tombstone_check {
            return false;
        }
        self.next_tombstone_check = Instant::now() + ASK_WHETHER_DELETED;
        let runtime_id = self.watch.cluster.runtime_id().to_owned();
        self.control.check_tombstones(vec![runtime_id]).await.is_ok_and(|tombstoned| !tombstoned.is_empty())
    }

    /// Compares what is due, or the first part of it, and wakes what differs; answers when to look again.
    async fn compare_due(&mut self) -> Duration {
        let Due { suspects, woken } = locked(&self.watch.suspects).take_due(Instant::now(), BATCH);
        let mut wakes = woken;
        if !suspects.is_empty() {
            match self.inventories(&suspects).await {
                Ok(inventories) => wakes.extend(self.findings(inventories).await),
                Err(error) => {
                    tracing::warn!(%error, "the inventory can't be read; comparing later");
                    self.watch.suspect(suspects, ASK_EVERY);
                }
            }
        }
        self.wake(wakes).await;
        let next = locked(&self.watch.suspects).next_due(Instant::now());
        next.map_or(HEARTBEAT, |next| next.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)))
    }

    /// What each instance should have: what its reconcile here is about to store, else what is stored.
    async fn inventories(&self, due: &[String]) -> Result<HashMap<String, Vec<InventoryEntry>>, threeport_sdk::Error> {
        let mut found = due.iter().map(|id| (id.clone(), Vec::new())).collect::<HashMap<_, Vec<_>>>();
        let mut asked = Vec::new();
        for id in due {
            match locked(&self.watch.suspects).expected(id) {
                Some(entries) => drop(found.insert(id.clone(), entries)),
                None => asked.push(id.clone()),
            }
        }
        if !asked.is_empty() {
            for entry in self.control.list_inventory(self.watch.cluster.runtime_id(), &asked).await? {
                found.entry(entry.instance_id.clone()).or_default().push(entry);
            }
        }
        Ok(found)
    }

    async fn wake(&self, instance_ids: Vec<String>) {
        if instance_ids.is_empty() {
            return;
        }
        // Of which kind an instance is only the server knows; waking what isn't there does nothing.
        for kind in [WorkloadInstance::KIND, HelmWorkloadInstance::KIND] {
            let item = |object_id: &String| wake_item(kind, object_id, true);
            if let Err(error) = self.control.wake(instance_ids.iter().map(item).collect()).await {
                tracing::warn!(%error, "instances can't be woken; trying again");
                // What woke them may show in no inventory, and be found by no comparing.
                tokio::time::sleep(ASK_EVERY).await;
                return self.watch.wake(instance_ids);
            }
        }
    }

    /// Asks whether the cluster is there; a change of the answer wakes its runtime.
    async fn heartbeat(&mut self) -> Duration {
        let is_away = self.watch.cluster.version().await.is_err() && self.watch.cluster.is_unreachable();
        if self.was_unreachable && !is_away {
            // Their connections may have died without a word.
            self.watch.restart.notify_waiters();
        }
        if is_away != self.was_unreachable {
            match self.control.wake(vec![runtime_item(self.watch.cluster.runtime_id())]).await {
                Ok(_) => self.was_unreachable = is_away,
                Err(error) => tracing::warn!(%error, "a runtime can't be woken; trying again"),
            }
        }
        if is_away { HEARTBEAT_WHILE_AWAY } else { HEARTBEAT }
    }
}

/// Wakes a runtime: its reconcile looks at the cluster and sees to its watch.
pub fn runtime_item(runtime_id: &str) -> WakeItem {
    wake_item("kubernetes-runtime-instance", runtime_id, false)
}

fn wake_item(kind: &str, object_id: &str, drift: bool) -> WakeItem {
    let controller = Some(ControllerReference { kind: kind.to_owned(), name: kind.to_owned() });
    WakeItem { controller, object_id: object_id.to_owned(), drift }
}
