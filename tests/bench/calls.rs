//! How often controllers have called clusters, from their metrics.

use anyhow::{Context, Result};

/// Counts the calls of a process of controllers so far, all verbs and kinds together.
pub async fn count(address: &str) -> Result<u64> {
    let url = format!("http://{address}/metrics");
    let text = reqwest::get(&url).await.with_context(|| format!("reading {url}"))?.text().await?;
    let lines = text.lines().filter(|line| line.starts_with("threeport_cluster_calls_total{"));
    lines
        .map(|line| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok()).context(line.to_owned()))
        .sum()
}
