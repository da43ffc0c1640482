//! The floor: the same objects applied and deleted by a bare loop over 8 connections, without any control plane.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::app::{COLLECTIONS, FIRST, Fleet, Mode, path};
use crate::system::Cluster;

/// More gain nothing: what limits it lies inside the API server.
const CONNECTIONS: usize = 8;
/// Between two looks at what is still there.
const LOOK: Duration = Duration::from_millis(50);
/// What takes longer is broken.
const LIMIT: Duration = Duration::from_mins(10);
const MANAGER: &str = "floor";

/// What the bare loop took.
pub struct Floor {
    pub create: Duration,
    pub change: Duration,
    pub delete: Duration,
}

/// Creates, changes one object of each, and deletes until all is gone.
pub async fn measure(cluster: &Cluster, fleet: &Fleet) -> Result<Floor> {
    let began = Instant::now();
    over_all(fleet, async |index| create(cluster, fleet, index).await).await;
    let create = began.elapsed();
    count(cluster, fleet, fleet.count).await?;

    let began = Instant::now();
    over_all(fleet, async |index| change(cluster, fleet, index).await).await;
    let change = began.elapsed();

    let began = Instant::now();
    over_all(fleet, async |index| delete(cluster, fleet, index).await).await;
    gone(cluster, fleet.name).await?;
    if fleet.mode == Mode::Separate {
        empty(cluster, &format!("/api/v1/namespaces?labelSelector=bench={}", fleet.name)).await?;
    }
    Ok(Floor { create, change, delete: began.elapsed() })
}

async fn create(cluster: &Cluster, fleet: &Fleet, index: usize) {
    let namespace = fleet.namespace(index);
    if fleet.mode == Mode::Separate {
        let labels = json!({ "bench": fleet.name });
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": labels } });
        cluster.apply(&format!("/api/v1/namespaces/{namespace}"), MANAGER, &object).await;
    }
    for (collection, object) in fleet.objects(index, FIRST) {
        cluster.apply(&path(collection, &namespace, &fleet.app(index)), MANAGER, &object).await;
    }
}

async fn change(cluster: &Cluster, fleet: &Fleet, index: usize) {
    let changed = fleet.objects(index, "changed").into_iter().find(|(collection, _)| *collection == "configmaps");
    let (collection, object) = changed.expect("every application has a config map");
    cluster.apply(&path(collection, &fleet.namespace(index), &fleet.app(index)), MANAGER, &object).await;
}

async fn delete(cluster: &Cluster, fleet: &Fleet, index: usize) {
    let namespace = fleet.namespace(index);
    if fleet.mode == Mode::Separate {
        cluster.delete(&format!("/api/v1/namespaces/{namespace}")).await;
        return;
    }
    for (collection, _) in fleet.objects(index, FIRST) {
        cluster.delete(&path(collection, &namespace, &fleet.app(index))).await;
    }
}

/// Does something with every application, 8 at a time.
pub async fn over_all(fleet: &Fleet, act: impl AsyncFn(usize)) {
    let next = AtomicUsize::new(0);
    let lanes = (0..CONNECTIONS).map(|_| async {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= fleet.count {
                return;
            }
            act(index).await;
        }
    });
    futures::future::join_all(lanes).await;
}

/// Fails unless the cluster has so many of each object.
pub async fn count(cluster: &Cluster, fleet: &Fleet, wanted: usize) -> Result<()> {
    for (collection, _) in fleet.objects(0, FIRST) {
        let found = cluster.list(&everywhere(collection, fleet.name)).await.len();
        ensure!(found == wanted, "the cluster has {found} {collection} of `{}` instead of {wanted}", fleet.name);
    }
    Ok(())
}

/// Waits until nothing with the label is left.
pub async fn gone(cluster: &Cluster, label: &str) -> Result<()> {
    for (_, collection) in COLLECTIONS {
        empty(cluster, &everywhere(collection, label)).await?;
    }
    Ok(())
}

/// Waits until a list is empty.
pub async fn empty(cluster: &Cluster, list: &str) -> Result<()> {
    let began = Instant::now();
    let one = format!("{list}&limit=1");
    while !cluster.list(&one).await.is_empty() {
        ensure!(began.elapsed() < LIMIT, "{list} is not empty after {LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn everywhere(collection: &str, label: &str) -> String {
    let (group, _) = COLLECTIONS.iter().find(|(_, known)| *known == collection).expect("it is one of ours");
    format!("{group}/{collection}?labelSelector=bench={label}")
}
