//! All applications at once: submitted, changed, deleted, and each time proved in the API and in the cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use threeport::v1::ApplyResult;

use crate::app::{FIRST, Fleet, Mode};
use crate::bench::Bench;
use crate::floor;
use crate::follower::{Follower, Wanted};
use crate::system::condition;

/// Workloads of one transaction; a transaction holds at most 2,000 objects, children included.
const CHUNK: usize = 100;
/// Between two looks whether all is done.
const LOOK: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_mins(10);

/// How long a change of all took.
pub struct Took {
    /// Until the last instance was applied.
    pub applied: Duration,
    /// Until nothing was left to do, roll-up of workloads included.
    pub settled: Duration,
}

/// Submits all workloads at once and waits until they are applied.
pub async fn submit(bench: &Bench, fleet: &Fleet, color: &str) -> Result<Took> {
    let api = &bench.system.api;
    let follower = Follower::start(api).await?;
    let documents = fleet.workloads(color);
    let began = Instant::now();
    let mut wanted = Wanted::new();
    for chunk in documents.chunks(CHUNK) {
        wanted.extend(generations(&api.apply(chunk).await.context("submitting workloads")?)?);
    }
    let applied = follower.applied(&wanted).await? - began;
    settled(bench, fleet).await?;
    let settled = began.elapsed();
    prove(bench, fleet, color).await?;
    Ok(Took { applied, settled })
}

/// The generation of its definition that the one instance of each applied workload is to run.
pub fn generations(results: &[ApplyResult]) -> Result<Wanted> {
    let each = results.iter().map(|result| {
        let children = result.children.iter().filter_map(|child| child.object.as_ref());
        let definition =
            children.filter(|child| child.kind == "workload-definition").find_map(|child| child.meta.as_ref());
        let definition = definition.context("a workload has no definition")?;
        Ok((format!("{}-main", definition.name), definition.generation))
    });
    each.collect()
}

/// Deploys all workloads where they aren't yet, for phases that need them.
pub async fn ensure(bench: &mut Bench, fleet: &Fleet) -> Result<()> {
    if !bench.deployed.contains(&fleet.name) {
        submit(bench, fleet, FIRST).await?;
        bench.deployed.push(fleet.name);
    }
    Ok(())
}

/// Deletes all workloads; ends when neither cluster nor tables have anything of them.
pub async fn delete(bench: &mut Bench, fleet: &Fleet) -> Result<Duration> {
    let system = &bench.system;
    let began = Instant::now();
    let ask = async |index| {
        system.api.delete("workload", &fleet.app(index)).await.expect("workloads can be deleted");
    };
    floor::over_all(fleet, ask).await;
    let left = format!(
        "SELECT (SELECT count(*) FROM objects WHERE name LIKE '{0}-%') + (SELECT count(*) FROM inventory i
           WHERE i.name LIKE '{0}-%') + (SELECT count(*) FROM shared_resources WHERE name LIKE '{0}-%')",
        fleet.name
    );
    loop {
        let count = system.database.number(&left).await;
        if count == 0 {
            break;
        }
        ensure!(began.elapsed() < LIMIT, "{count} rows of `{}` are left after {LIMIT:?}", fleet.name);
        tokio::time::sleep(LOOK).await;
    }
    floor::gone(&system.cluster, fleet.name).await?;
    if fleet.mode == Mode::Separate {
        let ours = format!("labelSelector=threeport.io/control-plane={}", system.control_plane().await);
        floor::empty(&system.cluster, &format!("/api/v1/namespaces?{ours}")).await?;
    }
    let took = began.elapsed();
    bench.deployed.retain(|name| *name != fleet.name);
    Ok(took)
}

/// Waits until no work is left on the fleet's objects.
pub async fn settled(bench: &Bench, fleet: &Fleet) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM work w JOIN objects o ON o.id = w.object_id
         WHERE o.name LIKE '{}-%' AND (w.done <> w.wanted OR w.holder IS NOT NULL)",
        fleet.name
    );
    let began = Instant::now();
    loop {
        let count = bench.system.database.number(&sql).await;
        if count == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "{count} objects of `{}` are not settled after {LIMIT:?}", fleet.name);
        tokio::time::sleep(LOOK).await;
    }
}

/// Fails unless the API calls all workloads settled and Ready and the cluster has all that they consist of.
async fn prove(bench: &Bench, fleet: &Fleet, color: &str) -> Result<()> {
    let found = bench.list_all("workload", &format!("{}-", fleet.name)).await?;
    ensure!(found.len() == fleet.count, "the API lists {} workloads instead of {}", found.len(), fleet.count);
    for workload in &found {
        let is_done = workload["meta"]["settled"] == true && condition(workload, "Ready")["status"] == "True";
        ensure!(is_done, "a workload was applied but is not settled and Ready: {workload}");
    }
    floor::count(&bench.system.cluster, fleet, fleet.count).await?;
    let list = format!("/api/v1/configmaps?labelSelector=bench={}", fleet.name);
    let maps = bench.system.cluster.list(&list).await;
    let others = maps.iter().filter(|map| map["data"]["color"] != color).count();
    ensure!(others == 0, "{others} config maps do not have the color {color}");
    Ok(())
}
