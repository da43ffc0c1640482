//! Holds the watch on one cluster for all replicas: follows kinds, compares suspects, wakes what differs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use threeport::v1::{AcquireLeaseRequest, ControllerReference, InventoryEntry, WakeItem};
use threeport_sdk::client::ControlClient;
use threeport_sdk::controller::LeaseGuard;
use tokio::task::JoinSet;

use super::cache::KindKey;
use super::compare::{Finding, compare};
use super::follow::{Subject, follow};
use super::{Watch, leftovers, locked};

/// How soon a replica that doesn't hold the watch asks again.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How often a silent cluster is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
const HEARTBEAT_WHILE_AWAY: Duration = Duration::from_secs(1);
/// Drift must last this long: a reconcile in another replica may be about to store what it did.
const SECOND_LOOK: Duration = Duration::from_millis(250);
/// The same finding wakes an instance again only after this long: its reconcile knows, and backs off by itself.
const SAME_AGAIN: Duration = Duration::from_secs(30);
/// Objects that no inventory knows may get one, or a tombstone.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(5);

/// Followed even where no inventory names them: a late write may come after the instance and its inventory have gone.
const ALWAYS: &[(&str, &str)] = &[
    ("v1", "Namespace"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("networking.k8s.io/v1", "Ingress"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
];

pub struct Holder {
    watch: Arc<Watch>,
    control: ControlClient,
    lease: LeaseGuard,
    control_plane_id: String,
    followed: HashSet<KindKey>,
    /// Findings that wait for a second look, or that have woken their instance.
    noticed: HashMap<String, Noticed>,
    was_unreachable: bool,
}

struct Noticed {
    finding: String,
    woken_at: Option<Instant>,
}

impl Holder {
    pub fn new(watch: Arc<Watch>, control: ControlClient, lease: LeaseGuard, control_plane_id: String) -> Self {
        let (followed, noticed) = (HashSet::new(), HashMap::new());
        Self { watch, control, lease, control_plane_id, followed, noticed, was_unreachable: false }
    }

    /// Runs for as long as the replica's lease lasts.
    pub async fn run(mut self) {
        let lease = self.lease.clone();
        let _ = Box::pin(lease.guard(self.hold())).await;
        *locked(&self.watch.cache) = super::Cache::default();
        // Whoever looks at the runtime next, here under a new lease or elsewhere, watches it again.
        let _ = self.control.wake(vec![runtime_item(self.watch.cluster.runtime_id())]).await;
    }

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
            tokio::time::sleep(ASK_EVERY).await;
        }
        tracing::info!(runtime = self.watch.cluster.runtime_id(), "watching a cluster");
        self.watch_all().await;
    }

    async fn watch_all(&mut self) {
        let mut followers = JoinSet::new();
        followers.spawn(follow(self.watch.clone(), Subject::Autoscalers));
        for (api_version, kind) in ALWAYS {
            self.follow(&mut followers, ((*api_version).into(), (*kind).into()));
        }
        self.follow_all_known(&mut followers).await;
        let mut next_heartbeat = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            let wanted = std::mem::take(&mut locked(&self.watch.suspects).kinds);
            for kind in wanted {
                self.follow(&mut followers, kind);
            }
            let pause = self.compare_due().await;
            tokio::select! {
                () = self.watch.nudge.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = tokio::time::sleep_until(next_heartbeat) => {
                    let pause = self.heartbeat().await;
                    next_heartbeat = tokio::time::Instant::now() + pause;
                }
            }
        }
    }

    fn follow(&mut self, followers: &mut JoinSet<()>, kind: KindKey) {
        if self.followed.insert(kind.clone()) {
            let control_plane_id = self.control_plane_id.clone();
            followers.spawn(follow(self.watch.clone(), Subject::Ours { kind, control_plane_id }));
        }
    }

    /// A new holder compares all instances there: what happened while nobody watched is drift too.
    async fn follow_all_known(&mut self, followers: &mut JoinSet<()>) {
        let entries = loop {
            match self.control.list_inventory(self.watch.cluster.runtime_id(), &[]).await {
                Ok(entries) => break entries,
                Err(error) => tracing::warn!(%error, "the inventory of a runtime can't be listed; trying again"),
            }
            tokio::time::sleep(ASK_EVERY).await;
        };
        for reference in entries.iter().filter_map(|entry| entry.resource.as_ref()) {
            self.follow(followers, (reference.api_version.clone(), reference.kind.clone()));
        }
        self.watch.suspect(entries.into_iter().map(|entry| entry.instance_id), SECOND_LOOK);
    }

    /// Compares what is due and wakes what differs; answers when to look again.
    async fn compare_due(&mut self) -> Duration {
        let (due, rescaled) = self.take_due();
        let mut wakes = rescaled;
        if !due.is_empty() {
            match self.inventories(&due).await {
                Ok(inventories) => wakes.extend(self.findings(inventories).await),
                Err(error) => {
                    tracing::warn!(%error, "the inventory can't be read; comparing later");
                    self.watch.suspect(due, ASK_EVERY);
                }
            }
        }
        self.wake(wakes).await;
        let next = locked(&self.watch.suspects).due.values().min().copied();
        next.map_or(HEARTBEAT, |next| next.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)))
    }

    /// Suspects whose time has come and that nobody here is reconciling.
    fn take_due(&self) -> (Vec<String>, Vec<String>) {
        let mut suspects = locked(&self.watch.suspects);
        let now = Instant::now();
        suspects.expected.retain(|_, (until, _)| *until > now);
        let in_flight = suspects.in_flight.keys().cloned().collect::<HashSet<_>>();
        // The end of a reconcile makes its instance a suspect again.
        suspects.due.retain(|instance_id, _| !in_flight.contains(instance_id));
        let due = suspects.due.iter().filter(|(_, due)| **due <= now).map(|(id, _)| id.clone()).collect::<Vec<_>>();
        for id in &due {
            suspects.due.remove(id);
        }
        (due, std::mem::take(&mut suspects.rescaled).into_iter().collect())
    }

    /// What each instance should have: what its reconcile here is about to store, else what is stored.
    async fn inventories(&self, due: &[String]) -> Result<HashMap<String, Vec<InventoryEntry>>, threeport_sdk::Error> {
        let mut found = due.iter().map(|id| (id.clone(), Vec::new())).collect::<HashMap<_, Vec<_>>>();
        let mut asked = Vec::new();
        for id in due {
            match locked(&self.watch.suspects).expected.get(id) {
                Some((_, entries)) => drop(found.insert(id.clone(), entries.clone())),
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

    async fn findings(&mut self, inventories: HashMap<String, Vec<InventoryEntry>>) -> Vec<String> {
        let (mut wakes, mut unknown) = (Vec::new(), Vec::new());
        for (id, inventory) in inventories {
            let finding = {
                let cache = locked(&self.watch.cache);
                compare(&inventory, &cache.of(&id), |reference| cache.is_synced(reference))
            };
            match finding {
                Finding::Same => drop(self.noticed.remove(&id)),
                Finding::Unknown => unknown.push(id),
                Finding::Health(what) => wakes.extend(self.notice(id, what, true)),
                Finding::Drift(what) => wakes.extend(self.notice(id, what, false)),
            }
        }
        self.settle_unknown(unknown).await;
        wakes
    }

    /// Whether the finding is to wake its instance now.
    fn notice(&mut self, id: String, finding: String, at_once: bool) -> Option<String> {
        let noticed = self.noticed.get(&id).filter(|noticed| noticed.finding == finding);
        let (is_first, woken_at) = (noticed.is_none(), noticed.and_then(|noticed| noticed.woken_at));
        let wakes = match woken_at {
            Some(woken_at) => woken_at.elapsed() >= SAME_AGAIN,
            None => at_once || !is_first,
        };
        let woken_at = if wakes { Some(Instant::now()) } else { woken_at };
        self.noticed.insert(id.clone(), Noticed { finding, woken_at });
        if !wakes {
            let again = if woken_at.is_some() { SAME_AGAIN } else { SECOND_LOOK };
            self.watch.suspect([id.clone()], again);
        }
        wakes.then_some(id)
    }

    /// Objects that no inventory knows: of a deleted instance they go.
    async fn settle_unknown(&self, unknown: Vec<String>) {
        if unknown.is_empty() {
            return;
        }
        match self.control.check_tombstones(unknown.clone()).await {
            Ok(tombstoned) => {
                let found = {
                    let cache = locked(&self.watch.cache);
                    tombstoned.into_iter().map(|id| (id.clone(), cache.of(&id))).collect::<BTreeMap<_, _>>()
                };
                leftovers::remove(&self.watch.cluster, &self.lease, found).await;
            }
            Err(error) => tracing::warn!(%error, "tombstones can't be read; looking again"),
        }
        self.watch.suspect(unknown, UNKNOWN_AGAIN);
    }

    async fn wake(&self, instance_ids: Vec<String>) {
        if instance_ids.is_empty() {
            return;
        }
        let item = |object_id: &String| wake_item("workload-instance", object_id, true);
        if let Err(error) = self.control.wake(instance_ids.iter().map(item).collect()).await {
            tracing::warn!(%error, "instances can't be woken; trying again");
            self.watch.suspect(instance_ids, ASK_EVERY);
        }
    }

    /// Asks whether the cluster is there; a change of the answer wakes its runtime.
    async fn heartbeat(&mut self) -> Duration {
        let is_away = self.watch.cluster.version().await.is_err() && self.watch.cluster.is_unreachable();
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
