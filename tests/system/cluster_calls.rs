//! What the controllers ask of clusters, by their own count.

use std::collections::BTreeMap;

use super::System;

/// Calls by verb, kind and answer: `apply Deployment 201`.
pub type Calls = BTreeMap<String, u64>;

impl System {
    /// All calls about objects until now; watches, and what finds out whether a cluster is there, are left out.
    pub async fn cluster_calls(&mut self) -> Calls {
        let mut calls = Calls::new();
        for controllers in &mut self.controllers {
            let address = controllers.address().await;
            let response = reqwest::get(format!("http://{address}/metrics")).await.expect("the status port answers");
            let text = response.text().await.expect("metrics are text");
            for line in text.lines().filter_map(|line| line.strip_prefix("threeport_cluster_calls_total{")) {
                let (labels, count) = line.split_once("} ").expect("a sample has a value");
                let parts = labels.split(',').filter_map(|label| label.split('"').nth(1)).collect::<Vec<_>>();
                if !["watch", "version", "discover"].contains(&parts[0]) && parts[1] != "Node" {
                    *calls.entry(parts.join(" ")).or_default() += count.parse::<u64>().expect("counters are whole");
                }
            }
        }
        calls
    }
}

/// What came since `before`.
pub fn since(before: &Calls, now: &Calls) -> Calls {
    let more = now.iter().map(|(call, count)| (call.clone(), count - before.get(call).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}
