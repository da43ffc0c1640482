//! Objects, log and queue in Postgres. Architecture invariant: SQL is here and nowhere else.
//!
//! Every write goes through [`Store::write`]: one transaction that changes rows (objects by id, then work rows by id),
//! gathers its [`Effects`], and hands them to [`effects::settle`] last, which wakes work and appends to the log.

pub mod effects;
pub mod row;

use std::sync::Arc;

use arc_swap::ArcSwap;
use deadpool_postgres::{Pool, Transaction};
use futures::future::BoxFuture;
use threeport::registry::Registry;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Result};

pub use effects::{Change, ChangeType, Effects};
pub use row::Row;

/// Serialization failures and deadlocks are retried this often before the caller hears of them.
const ATTEMPTS: u32 = 10;

/// Who writes, why, and as part of which trace.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    /// `user:bootstrap`, `controller:workload-instance`.
    pub actor: String,
    pub reason: String,
    /// W3C; empty when nothing is traced.
    pub traceparent: String,
}

#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// The kinds in force; replaced whole when an ObjectKind is written.
    registry: Arc<ArcSwap<Registry>>,
    /// Rung after every commit: the sequencer has something to position.
    committed: Arc<Notify>,
}

impl Store {
    pub fn new(pool: Pool, registry: Arc<ArcSwap<Registry>>) -> Self {
        Self { pool, registry, committed: Arc::new(Notify::new()) }
    }

    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Runs `work` in a transaction and commits; runs it again after a serialization failure or a deadlock.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send,
        F: for<'a> Fn(&'a Transaction<'a>) -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let mut attempt = 1;
        loop {
            let mut connection = self.pool.get().await?;
            let tx = connection.transaction().await?;
            let outcome = match work(&tx).await {
                Ok(value) => tx.commit().await.map(|()| value).map_err(Error::from),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => {
                    self.committed.notify_one();
                    return Ok(value);
                }
                Err(error) if attempt < ATTEMPTS && is_retryable(&error) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_retryable(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}
