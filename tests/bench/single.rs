//! One workload with nothing else going on: from `apply` to applied.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::app::{FIRST, Fleet};
use crate::follower::Follower;
use crate::latency::Latencies;
use crate::system::System;
use crate::{fleet, floor};

/// Applies the fleet's workloads one after the other, each after the one before has come to rest.
pub async fn measure(bench: &mut crate::bench::Bench, fleet: &Fleet) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for index in 0..fleet.count {
        latencies.add(one(&bench.system, fleet, index).await?);
        fleet::settled(bench, fleet).await?;
    }
    floor::count(&bench.system.cluster, fleet, fleet.count).await?;
    fleet::delete(bench, fleet).await?;
    Ok(latencies)
}

async fn one(system: &System, fleet: &Fleet, index: usize) -> Result<std::time::Duration> {
    let follower = Follower::start(&system.api).await?;
    let document = fleet.workload(index, FIRST);
    let began = Instant::now();
    let results = system.api.apply(&[document]).await.context("applying a workload")?;
    ensure!(results[0].outcome == "created", "the workload was {}", results[0].outcome);
    Ok(follower.applied(&fleet::generations(&results)?).await? - began)
}
