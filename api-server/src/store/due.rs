//! Tells the broker what is due: read from the queue's index, never from the log, so that nothing is due unheard of.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Store;
use crate::error::{Chain, Result};
use crate::hints::{self, Hint};

/// All that is due is looked at this often; in between, only what became due since.
const FULL_LOOK: Duration = Duration::from_secs(1);
/// Rows read at once.
const PAGE: i64 = 1000;
/// `due_at` is the start of the transaction that set it, which may commit later.
const OVERLAP: Duration = Duration::from_secs(2);
/// Bells are coalesced for this long, so that a storm of commits costs few queries: the longer, the more there was to read.
const COALESCE: Duration = Duration::from_millis(1);
const COALESCE_ROW: Duration = Duration::from_micros(200);
const COALESCE_MOST: Duration = Duration::from_millis(50);

/// Where a read of the index goes on.
#[derive(Clone, Copy)]
struct Place {
    due_at: SystemTime,
    object_id: Uuid,
}

/// Offers due work as hints, on every bell, at the next due time and every second.
pub async fn announce(store: &Store, mut hints: hints::Sender) {
    let mut next_full = Instant::now();
    loop {
        let full = Instant::now() >= next_full;
        let from = if full { SystemTime::UNIX_EPOCH } else { SystemTime::now() - OVERLAP };
        if full {
            next_full = Instant::now() + FULL_LOOK;
            hints.expire();
        }
        let (read, pause) = match announce_due(store, &mut hints, from).await {
            Ok((read, next_due)) => (read, next_due.min(next_full.saturating_duration_since(Instant::now()))),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "reading due work failed; retrying");
                (0, FULL_LOOK)
            }
        };
        tokio::time::sleep((COALESCE + COALESCE_ROW * read).min(COALESCE_MOST)).await;
        let _ = timeout(pause, store.bells.due.notified()).await;
    }
}

/// Offers what has been due since `from`; returns how many rows that were, and how long until the next one is due.
async fn announce_due(store: &Store, hints: &mut hints::Sender, from: SystemTime) -> Result<(u32, Duration)> {
    let mut place = Place { due_at: from, object_id: Uuid::nil() };
    let mut due = 0;
    loop {
        let page = read_page(store, place).await?;
        due += page.len();
        let last = page.last().map(|hint| Place { due_at: hint.due_at, object_id: hint.object_id });
        let is_last = i64::try_from(page.len()).unwrap_or(i64::MAX) < PAGE;
        for hint in page {
            // A full queue is the broker's trouble: what wasn't taken is offered again at the next look.
            hints.offer(hint);
        }
        match last {
            Some(last) if !is_last => place = last,
            _ => break,
        }
    }
    if from == SystemTime::UNIX_EPOCH {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("threeport_work_due").set(due as f64);
    }
    Ok((u32::try_from(due).unwrap_or(u32::MAX), until_next(store).await?))
}

async fn read_page(store: &Store, from: Place) -> Result<Vec<Hint>> {
    let connection = store.pool.get().await?;
    let statement = connection
        .prepare_cached(
            "SELECT object_id, kind, controller, wanted, due_at FROM work
             WHERE holder IS NULL AND due_at IS NOT NULL AND due_at <= now() AND due_at >= $1
               AND (due_at, object_id) > ($1, $2)
             ORDER BY due_at, object_id LIMIT $3",
        )
        .await?;
    let rows = connection.query(&statement, &[&from.due_at, &from.object_id, &PAGE]).await?;
    let hint = |row: &tokio_postgres::Row| Hint {
        object_id: row.get(0),
        kind: row.get(1),
        controller: row.get(2),
        wanted: row.get(3),
        due_at: row.get(4),
    };
    Ok(rows.iter().map(hint).collect())
}

async fn until_next(store: &Store) -> Result<Duration> {
    let connection = store.pool.get().await?;
    let statement = connection
        .prepare_cached(
            "SELECT EXTRACT(EPOCH FROM min(due_at) - clock_timestamp())::float8 FROM work
             WHERE holder IS NULL AND due_at > now()",
        )
        .await?;
    let seconds: Option<f64> = connection.query_one(&statement, &[]).await?.get(0);
    Ok(seconds.map_or(FULL_LOOK, |seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1.0))))
}
