//! Objects, log and queue in Postgres. Architecture invariant: SQL is here and nowhere else.
//!
//! Every write goes through [`Store::write`]: one transaction that changes rows (objects by id, then work rows by id),
//! gathers its [`Effects`], and hands them to [`effects::settle`] last, which wakes work and appends to the log.

pub mod admit;
pub mod apply;
pub mod background;
pub mod begin;
pub mod cascade;
mod children;
mod circles;
pub mod condition;
pub mod connect;
pub mod controllers;
pub mod delete;
pub mod delete_request;
pub mod differences;
pub mod draft;
pub mod due;
pub mod effects;
pub mod ending;
pub mod events;
pub mod events_write;
mod expansion;
pub mod fan_out;
pub mod filter;
pub mod finish;
pub mod held;
pub mod history;
mod homes;
pub mod inventory;
pub mod kinds;
pub mod leases;
pub mod list;
pub mod log;
pub mod mask;
pub mod next_look;
pub mod nudges;
pub mod orphan;
mod page;
pub mod pins;
pub mod plan;
pub mod read;
pub mod reading;
pub mod record;
pub mod references;
pub mod register;
pub mod render;
pub mod replicas;
pub mod requests;
pub mod results;
pub mod retention;
mod rotation;
pub mod row;
pub mod secrets;
pub mod sequencer;
pub mod shared;
pub mod statement;
pub mod statistics;
pub mod status;
mod unknown;
pub mod view;
pub mod wait;
pub mod watch;
pub mod work;
pub mod write;

use std::sync::Arc;

use arc_swap::ArcSwap;
use deadpool_postgres::{Pool, Transaction};
use futures::future::BoxFuture;
use threeport::failpoint;
use threeport::registry::Registry;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Result};

pub use apply::WriteOptions;
pub use effects::{Change, ChangeType, Effects};
pub use row::Row;
pub use secrets::Keyring;
pub use view::Visibility;

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
    /// For leases alone: they must be renewed however many requests wait for the pool.
    lease_pool: Pool,
    /// The kinds in force; replaced whole when an `ObjectKind` is written.
    registry: Arc<ArcSwap<Registry>>,
    /// What the kinds in force were read from.
    kinds_read: Arc<ArcSwap<kinds::Signature>>,
    secrets: Arc<Keyring>,
    /// Rung after every commit: the sequencer has something to position.
    committed: Arc<Notify>,
    bells: Arc<background::Bells>,
    /// The log's end as this process's watchers follow it.
    live: Arc<watch::Live>,
}

impl Store {
    pub fn new(pool: Pool, lease_pool: Pool, secrets: Keyring) -> Self {
        Self {
            pool,
            lease_pool,
            registry: Arc::new(ArcSwap::from_pointee(Registry::built_in().clone())),
            kinds_read: Arc::default(),
            secrets: Arc::new(secrets),
            committed: Arc::new(Notify::new()),
            bells: Arc::default(),
            live: Arc::default(),
        }
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
        self.transact(true, work).await
    }

    /// As [`Store::write`], but rolls back unless `commits`: what `validate_only` asks for.
    pub async fn transact<T, F>(&self, commits: bool, work: F) -> Result<T>
    where
        T: Send,
        F: for<'a> Fn(&'a Transaction<'a>) -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let mut attempt = 1;
        loop {
            let mut connection = self.pool.get().await?;
            let tx = connection.transaction().await?;
            let outcome = match work(&tx).await {
                Ok(value) if commits => commit(tx).await.map(|()| value),
                outcome => tx.rollback().await.map_err(Error::from).and(outcome),
            };
            match outcome {
                Ok(value) => {
                    if commits {
                        self.committed.notify_one();
                    }
                    return Ok(value);
                }
                Err(error) if attempt < ATTEMPTS && is_retryable(&error) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

async fn commit(tx: Transaction<'_>) -> Result<()> {
    if failpoint::pass("store.committing").await.is_err() {
        tx.batch_execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$").await?;
    }
    tx.commit().await?;
    failpoint::pass("store.committed").await.map_err(|_| Error::Timeout)
}

fn is_retryable(error: &Error) -> bool {
    match error {
        Error::Conflict => true,
        Error::Database(error) => {
            matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
        }
        _ => false,
    }
}
