//! Named leases of replicas, such as the watch on a cluster: held for as long as the replica lives.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::v1::{AcquireLeaseRequest, AcquireLeaseResponse};
use uuid::Uuid;

use super::work::parse_id;
use super::{Store, replicas};
use crate::error::{Error, Result};

/// Longest name of a lease.
const MAX_NAME: usize = 200;

impl Store {
    /// Takes a named lease, extends it, or gives it back.
    pub async fn acquire_lease(&self, request: AcquireLeaseRequest) -> Result<AcquireLeaseResponse> {
        let replica = parse_id("replica", &request.replica)?;
        if request.name.is_empty() || request.name.len() > MAX_NAME || request.name.contains('\0') {
            return Err(Error::invalid("name", format!("must have 1 to {MAX_NAME} characters")));
        }
        let name: Arc<str> = request.name.into();
        let is_release = request.release;
        let epoch = self
            .write(move |tx| {
                let name = name.clone();
                let outcome = async move {
                    if is_release { release(tx, &name, replica).await } else { acquire(tx, &name, replica).await }
                };
                outcome.boxed()
            })
            .await?;
        Ok(AcquireLeaseResponse { held: epoch.is_some() && !is_release, epoch: epoch.unwrap_or_default() })
    }
}

/// The epoch, if the lease is this replica's now.
async fn acquire(tx: &Transaction<'_>, name: &str, replica: Uuid) -> Result<Option<i64>> {
    replicas::check_alive(tx, replica).await?;
    let statement = tx
        .prepare_cached(
            "INSERT INTO leases AS l (name, holder, epoch) VALUES ($1, $2, 1)
             ON CONFLICT (name) DO UPDATE
             SET holder = excluded.holder, epoch = l.epoch + (l.holder <> excluded.holder)::integer
             WHERE l.holder = excluded.holder
                OR NOT EXISTS (SELECT FROM replicas r WHERE r.id = l.holder AND r.expires_at > clock_timestamp())
             RETURNING epoch",
        )
        .await?;
    Ok(tx.query_opt(&statement, &[&name, &replica]).await?.map(|row| row.get(0)))
}

/// The row stays, with a holder that never lives: epochs go on counting.
async fn release(tx: &Transaction<'_>, name: &str, replica: Uuid) -> Result<Option<i64>> {
    let row = tx
        .query_opt(
            "UPDATE leases SET holder = $3 WHERE name = $1 AND holder = $2 RETURNING epoch",
            &[&name, &replica, &Uuid::nil()],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}
