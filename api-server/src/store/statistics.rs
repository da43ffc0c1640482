//! Keeps the planner's statistics fit for tables that grow fast: plans are made once for each connection, when tables may
//! still be empty, and the database's own statistics come a minute late.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{Store, statement};
use crate::error::Result;

/// Fewer commits than this fit any plan.
const LEAST: i64 = 64;
/// Statistics are taken again when the log is so many times longer.
const GROWTH: i64 = 4;
/// The tables that grow with use.
const TABLES: &str = "objects, object_refs, work, inventory, changes, commits, positions, unpositioned, events,
                      shared_resources, shared_resource_users, tombstones, request_ids";

/// The log's length when statistics were taken last.
#[derive(Debug, Default)]
pub struct Statistics(AtomicI64);

impl Store {
    /// Takes statistics if the log has grown much since the last time; all plans are then made anew.
    pub async fn refresh_statistics(&self, last: &Statistics) -> Result<()> {
        let connection = self.pool.get().await?;
        let sql = "SELECT last_position FROM sequencer";
        let length: i64 = statement::query_one(&connection, sql, &[]).await?.get(0);
        if is_outgrown(last.0.load(Ordering::Relaxed), length) {
            connection.batch_execute(&format!("ANALYZE {TABLES}")).await?;
            last.0.store(length, Ordering::Relaxed);
            tracing::debug!(length, "took statistics");
        }
        Ok(())
    }
}

fn is_outgrown(last: i64, length: i64) -> bool {
    length >= LEAST.max(last.saturating_mul(GROWTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_taken_seldom_however_long_the_log() {
        let (mut last, mut taken) = (0, 0);
        for length in 0..100_000 {
            if is_outgrown(last, length) {
                (last, taken) = (length, taken + 1);
            }
        }
        assert_eq!((last, taken), (65_536, 6));
        assert!(!is_outgrown(i64::MAX / 2, i64::MAX - 1));
    }
}
