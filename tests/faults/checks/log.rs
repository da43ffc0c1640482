//! The log: no gap, no lost commit, each object's revisions in order, and the same to everybody who watched.

use crate::system::Database;
use crate::watcher::{Seen, logged};

/// Checks the whole log, and what was seen of it from the position `start` up to `end`.
pub async fn log_is_sound(database: &Database, watchers: &[Seen], start: i64, end: i64) {
    let gaps = "SELECT max(position) - count(*) FROM positions";
    assert_eq!(database.number(gaps).await, 0, "positions have gaps");
    let lost = "SELECT count(*) FROM commits c WHERE NOT EXISTS (SELECT FROM positions p WHERE p.commit_id = c.id)";
    assert_eq!(database.number(lost).await, 0, "commits without position");
    let order = |revision: &str, types: &str| {
        format!(
            "SELECT count(*) FROM (
                 SELECT (c.meta ->> '{revision}')::bigint - lag((c.meta ->> '{revision}')::bigint)
                     OVER (PARTITION BY c.object_id ORDER BY p.position, c.ordinal) AS step
                 FROM positions p JOIN changes c USING (commit_id) WHERE c.type IN ({types})) steps WHERE step <> 1"
        )
    };
    let disorder = database.number(&order("revision", "'created', 'spec', 'meta', 'deleting'")).await;
    assert_eq!(disorder, 0, "revisions are not in the order of the log");
    let disorder = database.number(&order("status_revision", "'created', 'status'")).await;
    assert_eq!(disorder, 0, "revisions of statuses are not in the order of the log");
    let log = logged(database, start).await;
    for (index, seen) in watchers.iter().enumerate() {
        let positions = log.keys().chain(seen.keys()).filter(|position| **position <= end);
        let differing = positions.into_iter().find(|position| log.get(position) != seen.get(position));
        if let Some(position) = differing {
            panic!("watcher {index} saw {:?} at {position}, where {:?} is", seen.get(position), log.get(position));
        }
    }
}
