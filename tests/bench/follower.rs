//! Follows workload instances through the log, as any client can, to know when they are applied.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use threeport::json::from_struct;
use threeport::v1::{WatchEvent, WatchRequest, WatchResponse};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::system::{Api, condition};

/// What takes longer is broken.
const LIMIT: Duration = Duration::from_mins(10);

/// The generation of its definition that each instance is to run, by name.
pub type Wanted = HashMap<String, i64>;

/// Knows which generation of its definition each instance runs.
pub struct Follower {
    seen: Arc<Seen>,
    following: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// The generation that is Ready, and since when; 0 for one that isn't.
    running: Mutex<HashMap<String, (i64, Instant)>>,
    news: Notify,
}

impl Follower {
    /// Follows from now on.
    pub async fn start(api: &Api) -> Result<Self> {
        let request = WatchRequest { kinds: vec!["workload-instance".into()], ..Default::default() };
        let log = api.client.clone().watch(request).await.context("watching instances")?.into_inner();
        let seen = Arc::new(Seen::default());
        Ok(Self { following: tokio::spawn(follow(log, seen.clone())), seen })
    }

    /// Waits until all of them are Ready with that generation; the time when the last one was.
    pub async fn applied(&self, wanted: &Wanted) -> Result<Instant> {
        let began = Instant::now();
        loop {
            let news = self.seen.news.notified();
            let applied = self.count(wanted);
            if let (true, Some(last)) = (applied.len() == wanted.len(), applied.iter().max()) {
                return Ok(*last);
            }
            let (found, count) = (applied.len(), wanted.len());
            let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
            ensure!(!self.following.is_finished(), "the watch ended with {found} of {count} instances applied");
            ensure!(began.elapsed() < LIMIT, "{found} of {count} instances are applied after {LIMIT:?}");
        }
    }

    fn count(&self, wanted: &Wanted) -> Vec<Instant> {
        let running = self.seen.running.lock().expect("nobody panics while holding it");
        let applied = wanted.iter().filter_map(|(name, wanted)| {
            running.get(name).filter(|(generation, _)| generation >= wanted).map(|(_, since)| *since)
        });
        applied.collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(mut log: Streaming<WatchResponse>, seen: Arc<Seen>) {
    while let Ok(Some(commit)) = log.message().await {
        for event in commit.events {
            seen.note(event);
        }
        seen.news.notify_one();
    }
}

impl Seen {
    fn note(&self, event: WatchEvent) {
        let Some(object) = event.object else { return };
        let Some(status) = object.status.map(from_struct) else { return };
        let is_ready = condition(&json!({ "status": status }), "Ready")["status"] == "True";
        let generation = status["definition_generation"].as_str().and_then(|text| text.parse().ok());
        let generation = generation.filter(|_| is_ready).unwrap_or(0);
        let mut running = self.running.lock().expect("nobody panics while holding it");
        let known = running.entry(object.meta.unwrap_or_default().name).or_insert((0, Instant::now()));
        if known.0 != generation {
            *known = (generation, Instant::now());
        }
    }
}
