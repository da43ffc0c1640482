//! One change at a time: how long after its commit the cluster has it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::app::{Fleet, SHARED_NAMESPACE};
use crate::latency::Latencies;
use crate::system::{Cluster, System};

/// Between two changes, so that one doesn't wait for the end of another.
const PAUSE: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(30);

/// How long changes took until a watch on the cluster showed them.
#[derive(Default)]
pub struct Changes {
    pub from_request: Latencies,
    pub from_commit: Latencies,
}

/// Changes one application after another, spread over the fleet.
pub async fn measure(system: &System, fleet: &Fleet, tries: usize) -> Result<Changes> {
    let mut colors = Colors::watch(&system.cluster, fleet.name);
    let mut changes = Changes::default();
    let run = uuid::Uuid::new_v4().simple().to_string();
    for number in 0..tries {
        // 7919 is prime, so that every application has its turn.
        let index = number * 7919 % fleet.count;
        let color = format!("{run}-{number}");
        let document = fleet.workload(index, &color);
        let asked = Instant::now();
        system.api.apply(&[document]).await.context("changing a workload")?;
        let committed = Instant::now();
        let seen = colors.seen(&color).await?;
        changes.from_request.add(seen - asked);
        // The cluster may have it before the client has its answer.
        changes.from_commit.add(seen.saturating_duration_since(committed));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(changes)
}

/// The colors of config maps as a watch on the cluster shows them.
pub struct Colors {
    seen: HashMap<String, Instant>,
    news: UnboundedReceiver<(String, Instant)>,
    watching: JoinHandle<()>,
}

impl Colors {
    pub fn watch(cluster: &Cluster, label: &str) -> Self {
        let (sender, news) = unbounded_channel();
        let cluster = cluster.clone();
        let path = format!("/api/v1/namespaces/{SHARED_NAMESPACE}/configmaps?watch=true&labelSelector=bench={label}");
        let watching = tokio::spawn(async move {
            let mut maps = std::pin::pin!(cluster.watch(&path).await);
            while let Some(map) = maps.next().await {
                let color = map["data"]["color"].as_str().unwrap_or_default().to_owned();
                if sender.send((color, Instant::now())).is_err() {
                    return;
                }
            }
        });
        Self { seen: HashMap::new(), news, watching }
    }

    /// When a config map of this color was seen.
    pub async fn seen(&mut self, color: &str) -> Result<Instant> {
        loop {
            if let Some(at) = self.seen.remove(color) {
                return Ok(at);
            }
            let news = tokio::time::timeout(LIMIT, self.news.recv()).await;
            let news = news.with_context(|| format!("a change is not in the cluster after {LIMIT:?}"))?;
            let (color, at): (String, Instant) = news.context("the watch on the cluster ended")?;
            self.seen.insert(color, at);
        }
    }
}

impl Drop for Colors {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
