//! Reads, and what rest costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use threeport::v1;

use crate::bench::{Bench, Cost};
use crate::latency::Latencies;

/// Lists so many workload instances with their status, many times.
pub async fn list(bench: &Bench, count: usize, tries: usize) -> Result<Latencies> {
    let request = v1::ListObjectsRequest {
        kind: "workload-instance".into(),
        project: "default".into(),
        page_size: i32::try_from(count)?,
        ..Default::default()
    };
    let mut latencies = Latencies::default();
    for _ in 0..tries {
        let began = Instant::now();
        let page = bench.system.api.client.clone().list(request.clone()).await.context("listing instances")?;
        latencies.add(began.elapsed());
        let items = page.into_inner().items;
        let is_whole = items.len() == count && items.iter().all(|item| item.status.is_some());
        ensure!(is_whole, "the list has {} of {count} instances, or some without status", items.len());
    }
    Ok(latencies)
}

/// Does nothing for a while and sees what that costs.
pub async fn idle(bench: &mut Bench, time: Duration) -> Result<Cost> {
    // The last echo of what was done before.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mark = bench.mark().await?;
    tokio::time::sleep(time).await;
    bench.cost("idle", &mark).await
}
