//! Waking all who use an object: at once while they are few, else in batches afterwards.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::{Store, statement, work};
use crate::error::Result;

/// More users than this are woken afterwards.
const AT_ONCE: i64 = 100;
/// So many are woken in one transaction afterwards.
const BATCH: i64 = 500;

/// Some users of each target.
pub const USERS: &str = "SELECT t.id, r.from_id FROM UNNEST($1::uuid[]) AS t (id)
     CROSS JOIN LATERAL (SELECT from_id FROM object_refs WHERE to_id = t.id LIMIT $2) r";
/// So many of them: enough to tell that they are too many.
pub const MOST: i64 = AT_ONCE + 1;

/// The users of `targets` to wake now; those of a target with too many are left to a `fan_outs` row.
///
/// A project's edit wakes nobody: everything in it would run. The targets are locked first, so that a user who is being
/// added either waits for this transaction and reads what it wrote, or is seen by the second statement.
pub async fn users_of(tx: &Transaction<'_>, targets: &BTreeSet<Uuid>, traceparent: &str) -> Result<BTreeSet<Uuid>> {
    let targets = targets.iter().copied().collect::<Vec<_>>();
    let lock = "SELECT id FROM objects WHERE id = ANY($1) AND kind <> 'project' ORDER BY id FOR UPDATE";
    let (locked, rows) = statement::query_both(tx, (lock, &[&targets]), (USERS, &[&targets, &MOST])).await?;
    let mut now = BTreeSet::new();
    for target in locked.iter().map(|row| row.get::<_, Uuid>(0)) {
        let users = rows.iter().filter(|row| row.get::<_, Uuid>(0) == target).map(|row| row.get::<_, Uuid>(1));
        now.extend(now_or_later(tx, target, users.collect(), traceparent).await?);
    }
    Ok(now)
}

/// The users of a locked target to wake now: all that were found, unless there are too many.
pub async fn now_or_later(
    tx: &Transaction<'_>,
    target: Uuid,
    users: Vec<Uuid>,
    traceparent: &str,
) -> Result<Vec<Uuid>> {
    if i64::try_from(users.len()).unwrap_or(i64::MAX) <= AT_ONCE {
        return Ok(users);
    }
    let sql = "INSERT INTO fan_outs (id, target_id, traceparent) VALUES ($1, $2, $3)";
    statement::execute(tx, sql, &[&Uuid::now_v7(), &target, &traceparent]).await?;
    Ok(Vec::new())
}

impl Store {
    /// Wakes the next batch of users of the oldest fan-out; false when there is none.
    pub async fn expand_fan_out(&self) -> Result<bool> {
        let connection = self.pool.get().await?;
        let any = statement::query_one(&connection, "SELECT EXISTS (SELECT FROM fan_outs)", &[]).await?.get(0);
        drop(connection);
        // A transaction would ring the sequencer's bell, every time.
        if any { self.write(|tx| Box::pin(expand(tx))).await } else { Ok(false) }
    }
}

async fn expand(tx: &Transaction<'_>) -> Result<bool> {
    let next = tx
        .query_opt(
            "SELECT id, target_id, after_id, traceparent FROM fan_outs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
            &[],
        )
        .await?;
    let Some(next) = next else { return Ok(false) };
    let (id, target, after): (Uuid, Uuid, Uuid) = (next.get(0), next.get(1), next.get(2));
    let rows = tx
        .query(
            "SELECT from_id FROM object_refs WHERE to_id = $1 AND from_id > $2 ORDER BY from_id LIMIT $3",
            &[&target, &after, &BATCH],
        )
        .await?;
    let users = rows.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>();
    work::wake(tx, &users, next.get(3)).await?;
    match users.last() {
        Some(last) if i64::try_from(users.len()).unwrap_or(i64::MAX) == BATCH => {
            tx.execute("UPDATE fan_outs SET after_id = $2 WHERE id = $1", &[&id, last]).await?;
        }
        _ => {
            tx.execute("DELETE FROM fan_outs WHERE id = $1", &[&id]).await?;
        }
    }
    Ok(true)
}
