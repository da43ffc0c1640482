//! Watchers that are killed and go on from the last position that they saw whole.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use threeport::v1::{WatchEvent, WatchRequest, WatchResponse};

use crate::random::Random;
use crate::system::{Api, Database};

pub const WATCHERS: usize = 8;

/// How long a silent connection is kept.
const SILENCE: Duration = Duration::from_millis(700);

/// The events of each position, as `type kind/name revision.status_revision`.
pub type Seen = BTreeMap<i64, Vec<String>>;

/// Watches all that comes after the position `start` until it has seen `last`, and panics at the first disorder.
pub async fn watch(apis: Vec<Api>, mut random: Random, start: i64, last: Arc<OnceLock<i64>>) -> Seen {
    let (mut seen, mut position) = (Seen::new(), start);
    while last.get().is_none_or(|last| position < *last) {
        let request = WatchRequest { from_position: position, ..Default::default() };
        let watch = random.pick(&apis).client.clone().watch(request).await;
        let Ok(stream) = watch else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut stream = stream.into_inner();
        for _ in 0..random.below(40) {
            let Ok(Ok(Some(commit))) = tokio::time::timeout(SILENCE, stream.message()).await else { break };
            if !commit.events.is_empty() {
                assert!(commit.position > position, "{} came after {position}", commit.position);
                seen.insert(commit.position, lines(&commit));
            }
            position = position.max(commit.position);
        }
    }
    seen
}

fn lines(commit: &WatchResponse) -> Vec<String> {
    let line = |event: &WatchEvent| {
        let object = event.object.as_ref().expect("events carry objects");
        let meta = object.meta.as_ref().expect("objects carry meta");
        format!("{} {}/{} {}.{}", event.r#type, object.kind, meta.name, meta.revision, meta.status_revision)
    };
    commit.events.iter().map(line).collect()
}

/// The log as the database has it, after the position `start`.
pub async fn logged(database: &Database, start: i64) -> Seen {
    let query = format!(
        "SELECT p.position, c.type || ' ' || c.kind || '/' || c.name || ' ' || coalesce(c.meta->>'revision', '0')
             || '.' || coalesce(c.meta->>'status_revision', '0')
         FROM positions p JOIN changes c USING (commit_id) WHERE p.position > {start} ORDER BY p.position, c.ordinal"
    );
    let mut log = Seen::new();
    for row in database.rows(&query).await {
        log.entry(row.get(0)).or_default().push(row.get(1));
    }
    log
}
