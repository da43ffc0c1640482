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

/// The users of `targets` to wake now; those of a target with too many are left to a `fan_outs` row.
///
/// A project's edit wakes nobody: everything in it would run. The targets are locked first, so that a user who is being
/// added either waits for this transaction and reads what it wrote, or is seen by the second statement.
pub async fn users_of(tx: &Transaction<'_>, targets: &BTreeSet<Uuid>, traceparent: &str) -> Result<BTreeSet<Uuid>> {
    let targets = targets.iter().copied().collect::<Vec<_>>();
    let lock = "SELECT id FROM objects WHERE id = ANY($1) AND kind <> 'project' ORDER BY id FOR UPDATE";
    let select = "SELECT t.id, r.from_id FROM UNNEST($1::uuid[]) AS t (id)
                  CROSS JOIN LATERAL (SELECT from_id FROM object_refs WHERE to_id = t.id LIMIT $2) r";
    let most = AT_ONCE + 1;
    let (locked, rows) = statement::query_both(tx, (lock, &[&targets]), (select, &[&targets, &most])).await?;
    let targets = locked.iter().map(|row| row.get::<_, Uuid>(0)).collect::<Vec<_>>();
    let mut now = BTreeSet::new();
    for target in targets {
        let users = rows.iter().filter(|row| row.get::<_, Uuid>(0) == target).map(|row| row.get::<_, Uuid>(1));
        let users = users.collect::<Vec<_>>();
        if i64::try_from(users.len()).unwrap_or(i64::MAX) > AT_ONCE {
            let id = Uuid::now_v7();
            tx.execute(
                "INSERT INTO fan_outs (id, target_id, traceparent) VALUES ($1, $2, $3)",
                &[&id, &target, &traceparent],
            )
            .await?;
        } else {
            now.extend(users);
        }
    }
    Ok(now)
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
