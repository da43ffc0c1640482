//! Gives positions to commits: one elected process appends them, in batches, without gaps.
//!
//! The lease row carries holder and epoch; each batch locks the row and checks both, so that a holder that was stopped past
//! its lease can't append beside the next one. What has no position stands in `unpositioned`: a writer that stalls before
//! COMMIT is neither passed nor lost, its row just appears later.

use std::time::Duration;

use deadpool_postgres::Transaction;
use threeport::failpoint;
use uuid::Uuid;

use super::Store;
use crate::error::{Error, Result};

/// Commits positioned in one transaction.
const BATCH: i64 = 500;
/// How long a holder that has died keeps others waiting.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(3);

/// How often the lease is renewed while nothing is written.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// The right to give positions, until somebody else has a higher epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    pub holder: Uuid,
    pub epoch: i64,
}

impl Store {
    /// Takes the sequencer's lease if it is free.
    pub async fn stand_for_election(&self, holder: Uuid) -> Result<Option<Term>> {
        let connection = self.pool.get().await?;
        let row = connection
            .query_opt(
                "UPDATE sequencer SET holder = $1, epoch = epoch + 1, expires_at = clock_timestamp() + $2 * interval '1 second'
                 WHERE expires_at < clock_timestamp() RETURNING epoch",
                &[&holder, &TIME_TO_LIVE.as_secs_f64()],
            )
            .await?;
        Ok(row.map(|row| Term { holder, epoch: row.get(0) }))
    }

    /// Whether any commit waits for its position.
    pub async fn has_unpositioned(&self) -> Result<bool> {
        let connection = self.pool.get().await?;
        let statement = connection.prepare_cached("SELECT EXISTS (SELECT FROM unpositioned)").await?;
        Ok(connection.query_one(&statement, &[]).await?.get(0))
    }

    /// Gives positions to the next commits and renews the lease; none if the term is over.
    pub async fn position_batch(&self, term: Term) -> Result<Option<u64>> {
        let mut connection = self.pool.get().await?;
        let tx = connection.transaction().await?;
        let Some(last) = lock_term(&tx, term).await? else { return Ok(None) };
        let statement = tx
            .prepare_cached(
                "WITH batch AS MATERIALIZED (SELECT commit_id FROM unpositioned ORDER BY commit_id LIMIT $2),
                 positioned AS (DELETE FROM unpositioned u USING batch b WHERE u.commit_id = b.commit_id),
                 appended AS (
                     INSERT INTO positions (position, commit_id)
                     SELECT $1 + row_number() OVER (ORDER BY commit_id), commit_id FROM batch)
                 UPDATE sequencer
                 SET last_position = last_position + (SELECT count(*) FROM batch),
                     expires_at = clock_timestamp() + $3 * interval '1 second'
                 RETURNING last_position - $1",
            )
            .await?;
        let appended: i64 = tx.query_one(&statement, &[&last, &BATCH, &TIME_TO_LIVE.as_secs_f64()]).await?.get(0);
        if appended > 0 {
            failpoint::pass("sequencer.positioning").await.map_err(|_| Error::Conflict)?;
        }
        tx.commit().await?;
        if appended > 0 {
            failpoint::pass("sequencer.positioned").await.map_err(|_| Error::Conflict)?;
        }
        let appended = appended.unsigned_abs();
        metrics::counter!("threeport_positions_total").increment(appended);
        Ok(Some(appended))
    }

    /// Gives the lease back, so that the next process needn't wait for it to run out.
    pub async fn resign(&self, term: Term) -> Result<()> {
        let connection = self.pool.get().await?;
        connection
            .execute(
                "UPDATE sequencer SET expires_at = '-infinity' WHERE holder = $1 AND epoch = $2",
                &[&term.holder, &term.epoch],
            )
            .await?;
        Ok(())
    }
}

/// The last position, under the row's lock; none if another term has begun.
async fn lock_term(tx: &Transaction<'_>, term: Term) -> Result<Option<i64>> {
    // A position that watchers saw must survive a crash of the server.
    tx.batch_execute("SET LOCAL synchronous_commit = on").await?;
    let lock =
        tx.prepare_cached("SELECT last_position FROM sequencer WHERE holder = $1 AND epoch = $2 FOR UPDATE").await?;
    Ok(tx.query_opt(&lock, &[&term.holder, &term.epoch]).await?.map(|row| row.get(0)))
}

/// Whether a batch was full, so that more may be waiting.
pub fn is_full(appended: u64) -> bool {
    i64::try_from(appended).is_ok_and(|appended| appended >= BATCH)
}
