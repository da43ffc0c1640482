//! Named leases of replicas, such as the watch on a cluster: held for as long as the replica lives.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::v1::{AcquireLeaseRequest, AcquireLeaseResponse, ControllerReference};
use uuid::Uuid;

use super::work::{Caller, parse_id};
use super::{Store, replicas};
use crate::error::{Error, Result};

/// Longest name of a lease.
const MAX_NAME: usize = 200;

impl Store {
    /// Takes a named lease, extends it, or gives it back.
    pub async fn acquire_lease(
        &self,
        request: AcquireLeaseRequest,
        caller: Caller<'_>,
    ) -> Result<AcquireLeaseResponse> {
        let replica = parse_id("replica", &request.replica)?;
        if request.name.is_empty() || request.name.len() > MAX_NAME || request.name.contains('\0') {
            return Err(Error::invalid("name", format!("must have 1 to {MAX_NAME} characters")));
        }
        check_owner(&request.name, caller)?;
        let name: Arc<str> = request.name.into();
        let identity: Arc<str> = caller.cause.actor.as_str().into();
        let is_release = request.release;
        let epoch = self
            .write(move |tx| {
                let (name, identity) = (name.clone(), identity.clone());
                let outcome = async move {
                    if is_release {
                        release(tx, &name, replica, &identity).await
                    } else {
                        acquire(tx, &name, replica, &identity).await
                    }
                };
                outcome.boxed()
            })
            .await?;
        Ok(AcquireLeaseResponse { held: epoch.is_some() && !is_release, epoch: epoch.unwrap_or_default() })
    }
}

/// `watch/<runtime>` is for who looks after workloads there; all others begin with the kind and name of their controller.
fn check_owner(name: &str, caller: Caller<'_>) -> Result<()> {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("watch"), Some(_), None) => caller.check_workloads(),
        (Some(kind), Some(controller), Some(_)) => {
            caller.check(Some(&ControllerReference { kind: kind.into(), name: controller.into() }))
        }
        _ => Err(Error::invalid("name", "must be `watch/<runtime id>` or begin with `<kind>/<controller>/`")),
    }
}

/// The epoch, if the lease is this replica's now.
async fn acquire(tx: &Transaction<'_>, name: &str, replica: Uuid, identity: &str) -> Result<Option<i64>> {
    replicas::check_alive(tx, replica, identity).await?;
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
async fn release(tx: &Transaction<'_>, name: &str, replica: Uuid, identity: &str) -> Result<Option<i64>> {
    let row = tx
        .query_opt(
            "UPDATE leases SET holder = $3 WHERE name = $1 AND holder = $2
               AND EXISTS (SELECT FROM replicas r WHERE r.id = $2 AND r.identity = $4) RETURNING epoch",
            &[&name, &replica, &Uuid::nil(), &identity],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}
