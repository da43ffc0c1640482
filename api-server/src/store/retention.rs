//! What is dropped when it is old: status changes, events, request ids, tombstones, and long after, history and receipts.
//!
//! Status changes go in the order of their positions, with the commits that they leave empty, and `first_position` rises
//! in the same transaction. So positions from `first_position` on are without gaps, and whoever asks for an older one is
//! told so (`PositionGone`); below it, positions of kept commits serve history alone.

use std::time::Duration;

use deadpool_postgres::Transaction;
use futures::FutureExt;

use super::{Store, shared};
use crate::error::Result;

/// Rows dropped in one transaction.
const BATCH: i64 = 1000;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Status changes: as long as a watch may be away.
    pub status: Duration,
    /// All other changes, which are history and audit; none keeps them for ever.
    pub history: Option<Duration>,
    pub events: Duration,
    pub request_ids: Duration,
    /// Tombstones: longer than anybody may be late with a write in a cluster. What acts for an object holds a lease of
    /// seconds; a cluster restored from its own backup may bring back what was deleted since.
    pub tombstones: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            status: Duration::from_hours(1),
            history: Some(day * 3653),
            events: day * 7,
            request_ids: day,
            tombstones: day * 30,
        }
    }
}

/// A batch of rows that are older than `$1` seconds.
const EVENTS: &str = "DELETE FROM events WHERE id IN (
    SELECT id FROM events WHERE last_seen_at < now() - $1 * interval '1 second' ORDER BY last_seen_at LIMIT $2)";
const REQUEST_IDS: &str = "DELETE FROM request_ids WHERE (identity, request_id) IN (
    SELECT identity, request_id FROM request_ids WHERE at < now() - $1 * interval '1 second' ORDER BY at LIMIT $2)";
const TOMBSTONES: &str = "DELETE FROM tombstones WHERE object_id IN (
    SELECT object_id FROM tombstones WHERE deleted_at < now() - $1 * interval '1 second' ORDER BY deleted_at LIMIT $2)";
const RECEIPTS: &str = "DELETE FROM receipts WHERE object_id IN (
    SELECT object_id FROM receipts WHERE at < now() - $1 * interval '1 second' ORDER BY at LIMIT $2)";
const REPLICAS: &str = "DELETE FROM replicas WHERE id IN (
    SELECT r.id FROM replicas r WHERE r.expires_at < now() - $1 * interval '1 second'
      AND NOT EXISTS (SELECT FROM work w WHERE w.holder = r.id) LIMIT $2)";

impl Store {
    /// Drops all that is too old, in batches.
    pub async fn enforce(&self, retention: &Retention) -> Result<()> {
        let status = retention.status.as_secs_f64();
        while self.write(move |tx| async move { prune_status(tx, status).await }.boxed()).await? {}
        if let Some(history) = retention.history {
            let history = history.as_secs_f64();
            while self.write(move |tx| async move { prune_history(tx, history).await }.boxed()).await? {}
        }
        let aged = [
            (EVENTS, Some(retention.events)),
            (REQUEST_IDS, Some(retention.request_ids)),
            (TOMBSTONES, Some(retention.tombstones)),
            // What was left behind on purpose is told for as long as history.
            (RECEIPTS, retention.history),
            (REPLICAS, Some(retention.request_ids)),
        ];
        for (delete, age) in aged.into_iter().filter_map(|(delete, age)| Some((delete, age?))) {
            while self.drop_aged(delete, age).await? {}
        }
        while self.write(move |tx| async move { shared::forget_orphaned(tx, BATCH).await }.boxed()).await? {}
        Ok(())
    }

    async fn drop_aged(&self, delete: &str, age: Duration) -> Result<bool> {
        let connection = self.pool.get().await?;
        let dropped = connection.execute(delete, &[&age.as_secs_f64(), &BATCH]).await?;
        Ok(i64::try_from(dropped).unwrap_or(i64::MAX) == BATCH)
    }
}

/// Prunes the oldest batch of positions; whether there may be more.
async fn prune_status(tx: &Transaction<'_>, age: f64) -> Result<bool> {
    let rows = tx
        .query(
            "SELECT p.position, p.commit_id, c.at < now() - $1 * interval '1 second'
             FROM positions p JOIN commits c ON c.id = p.commit_id
             WHERE p.position >= (SELECT first_position FROM sequencer) ORDER BY p.position LIMIT $2",
            &[&age, &BATCH],
        )
        .await?;
    let old = rows.iter().take_while(|row| row.get::<_, bool>(2)).collect::<Vec<_>>();
    let Some(last) = old.last() else { return Ok(false) };
    let commits = old.iter().map(|row| row.get::<_, i64>(1)).collect::<Vec<_>>();
    // First the watermark: whoever reads afterwards is told, whoever reads before has a snapshot with all of it.
    tx.execute("UPDATE sequencer SET first_position = GREATEST(first_position, $1)", &[&(last.get::<_, i64>(0) + 1)])
        .await?;
    tx.execute("DELETE FROM changes WHERE commit_id = ANY($1) AND type = 'status'", &[&commits]).await?;
    tx.execute(
        "DELETE FROM commits c WHERE id = ANY($1) AND NOT EXISTS (SELECT FROM changes h WHERE h.commit_id = c.id)",
        &[&commits],
    )
    .await?;
    Ok(i64::try_from(old.len()).unwrap_or(i64::MAX) == BATCH)
}

/// Drops the oldest batch of history that watches no longer need; whether there may be more.
async fn prune_history(tx: &Transaction<'_>, age: f64) -> Result<bool> {
    let dropped = tx
        .execute(
            "DELETE FROM commits WHERE id IN (
                 SELECT c.id FROM (SELECT id, at FROM commits ORDER BY id LIMIT $2) c
                 JOIN positions p ON p.commit_id = c.id
                 WHERE c.at < now() - $1 * interval '1 second' AND p.position < (SELECT first_position FROM sequencer))",
            &[&age, &BATCH],
        )
        .await?;
    Ok(i64::try_from(dropped).unwrap_or(i64::MAX) == BATCH)
}
