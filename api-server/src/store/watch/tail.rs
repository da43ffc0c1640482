//! Reading the log by position: the one tail of the process, and pages for who is behind its ring.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use threeport::v1::Object;
use tokio::time::timeout;
use uuid::Uuid;

use super::commit::{COLUMNS, Commit};
use crate::error::{Chain, Error, Result};
use crate::store::{Row, Store, Visibility, row};

/// Commits that the tail reads at once.
const PAGE: usize = 500;
/// How long a position waits for watchers when every nudge is lost.
const POLL: Duration = Duration::from_millis(200);
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The positions that the log has whole.
#[derive(Clone, Copy, Debug)]
pub struct LogSpan {
    first: i64,
    pub last: i64,
}

impl LogSpan {
    /// Fails unless a watch can go on from here.
    pub fn check(self, position: i64) -> Result<()> {
        if position.saturating_add(1) < self.first {
            return Err(Error::PositionGone { position, first: self.first });
        }
        if position > self.last {
            return Err(Error::PositionAhead { position, last: self.last });
        }
        Ok(())
    }
}

impl Store {
    pub async fn log_span(&self) -> Result<LogSpan> {
        let connection = self.pool.get().await?;
        let statement = connection.prepare_cached("SELECT first_position, last_position FROM sequencer").await?;
        let row = connection.query_one(&statement, &[]).await?;
        Ok(LogSpan { first: row.get(0), last: row.get(1) })
    }

    /// Up to `limit` whole commits after a position, in order; fails when retention has taken some of them.
    pub async fn read_log(&self, position: i64, limit: usize) -> Result<Vec<Arc<Commit>>> {
        let connection = self.pool.get().await?;
        // One statement, one snapshot: what the watermark says holds for the rows.
        let statement = connection
            .prepare_cached(&format!(
                "SELECT s.first_position, {COLUMNS} FROM sequencer s
                 LEFT JOIN (positions p JOIN commits c ON c.id = p.commit_id JOIN changes h ON h.commit_id = c.id)
                     ON p.position > $1 AND p.position <= $2
                 ORDER BY p.position, h.ordinal"
            ))
            .await?;
        let last = position + i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = connection.query(&statement, &[&position, &last]).await?;
        drop(connection);
        let mut commits: Vec<Commit> = Vec::new();
        for row in &rows {
            let first: i64 = row.get("first_position");
            if position + 1 < first {
                return Err(Error::PositionGone { position, first });
            }
            let Some(position) = row.get::<_, Option<i64>>("position") else { break };
            if commits.last().is_none_or(|commit| commit.position != position) {
                commits.push(Commit::of(row));
            }
            if let Some(commit) = commits.last_mut() {
                commit.add(self, row).await?;
            }
        }
        Ok(commits.into_iter().map(Arc::new).collect())
    }

    /// The object as it is now, redacted.
    pub async fn present_object(&self, id: Uuid) -> Result<Option<Object>> {
        let connection = self.pool.get().await?;
        let statement = connection
            .prepare_cached(&format!(
                "SELECT {}, p.kind AS owner_kind, p.project AS owner_project, p.name AS owner_name
                 FROM objects o LEFT JOIN objects p ON p.id = o.owner_id WHERE o.id = $1",
                row::COLUMNS
            ))
            .await?;
        let Some(stored) = connection.query_opt(&statement, &[&id]).await? else { return Ok(None) };
        let row = Row::from(&stored);
        let owner = row::owner(&row, &stored);
        self.object(&row, owner, false, Visibility::Redacted).map(Some)
    }

    /// Feeds the ring for ever.
    pub async fn tail_log(&self) {
        let mut position = self.start_of_tail().await;
        self.live.ring.restart(position);
        loop {
            match self.read_log(position, PAGE).await {
                Ok(commits) if commits.is_empty() => {
                    let _ = timeout(POLL, self.bells.positioned.notified()).await;
                }
                Ok(commits) => {
                    if let Some(newest) = commits.last() {
                        position = newest.position;
                        let lag = SystemTime::now().duration_since(newest.at).unwrap_or_default();
                        metrics::histogram!("threeport_watch_lag_seconds").record(lag.as_secs_f64());
                    }
                    self.live.ring.push(commits);
                }
                Err(Error::PositionGone { .. }) => {
                    tracing::warn!(position, "the tail fell behind the log's retention; starting at its end");
                    position = self.start_of_tail().await;
                    self.live.ring.restart(position);
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "tailing the log failed; retrying");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// The log's end, however long the database takes to say it.
    async fn start_of_tail(&self) -> i64 {
        loop {
            match self.log_span().await {
                Ok(span) => return span.last,
                Err(error) => tracing::warn!(error = %Chain(&error), "finding the log's end failed; retrying"),
            }
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}
