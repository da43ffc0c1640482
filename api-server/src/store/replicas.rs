//! Replicas of controllers: one row that is renewed, whatever the replica holds. An expired id never comes back to life.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::v1::{RenewRequest, RenewResponse};
use uuid::Uuid;

use super::work::{Caller, parse_id};
use super::{Store, statement};
use crate::error::{Error, Result};

/// From the arrival of a renewal. Replicas count from before they sent it, so theirs ends first.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(4);
/// Looks without trust in hashes that follow a holder who may still act: one now, one after its calls have timed out.
pub const FULL_LOOKS: i16 = 2;

impl Store {
    /// Registers a replica, extends its lease, or ends it.
    pub async fn renew(&self, request: RenewRequest, caller: Caller<'_>) -> Result<RenewResponse> {
        for controller in &request.controllers {
            caller.check(Some(controller))?;
        }
        let replica = parse_id("replica", &request.replica)?;
        let is_alive = if request.leave {
            let identity: Arc<str> = caller.cause.actor.as_str().into();
            self.write(move |tx| {
                let identity = identity.clone();
                async move { leave(tx, replica, &identity).await }.boxed()
            })
            .await?;
            false
        } else {
            self.extend(replica, &caller.cause.actor).await?
        };
        Ok(RenewResponse {
            time_to_live: TIME_TO_LIVE.try_into().ok(),
            lost: !is_alive && !request.leave,
            control_plane_id: self.control_plane_id().await?.to_string(),
        })
    }

    /// Whether the replica is alive after this.
    async fn extend(&self, replica: Uuid, identity: &str) -> Result<bool> {
        let connection = self.lease_pool.get().await?;
        let statement = connection
            .prepare_cached(
                "INSERT INTO replicas AS r (id, identity, expires_at)
                 VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
                 ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
                 WHERE r.expires_at > clock_timestamp() AND r.identity = excluded.identity",
            )
            .await?;
        let renewed = connection.execute(&statement, &[&replica, &identity, &TIME_TO_LIVE.as_secs_f64()]).await?;
        Ok(renewed == 1)
    }

    /// The id that labels what this control plane makes.
    pub async fn control_plane_id(&self) -> Result<Uuid> {
        let connection = self.lease_pool.get().await?;
        let statement = connection.prepare_cached("SELECT id FROM control_plane").await?;
        Ok(connection.query_one(&statement, &[]).await?.get(0))
    }

    /// Makes due what expired replicas held.
    pub async fn sweep_replicas(&self) -> Result<()> {
        let connection = self.pool.get().await?;
        let expired = connection
            .query(
                "SELECT r.id FROM replicas r WHERE r.expires_at < clock_timestamp()
                   AND EXISTS (SELECT FROM work w WHERE w.holder = r.id)",
                &[],
            )
            .await?;
        drop(connection);
        for row in expired {
            let replica: Uuid = row.get(0);
            let released = self.write(move |tx| Box::pin(release(tx, replica))).await?;
            tracing::warn!(%replica, released, "a replica's lease ran out; others take its work");
        }
        Ok(())
    }
}

/// Finds the replica if it is alive and this identity's; keeps it from being swept before this transaction ends.
pub const ALIVE: &str =
    "SELECT FROM replicas WHERE id = $1 AND identity = $2 AND expires_at > clock_timestamp() FOR KEY SHARE";

/// Fails unless the replica is alive and this identity's, as [`ALIVE`] finds it.
pub async fn check_alive(tx: &Transaction<'_>, replica: Uuid, identity: &str) -> Result<()> {
    let found = statement::query_opt(tx, ALIVE, &[&replica, &identity]).await?;
    found.map(drop).ok_or_else(|| expired(replica))
}

pub fn expired(replica: Uuid) -> Error {
    let message = format!("the lease of replica `{replica}` has run out; renew under a new id");
    Error::Precondition { reason: "LeaseLost", message }
}

/// Ends a replica of this identity; another's goes on.
async fn leave(tx: &Transaction<'_>, replica: Uuid, identity: &str) -> Result<u64> {
    let sql = "UPDATE replicas SET expires_at = '-infinity' WHERE id = $1 AND identity = $2";
    let ended = tx.execute(sql, &[&replica, &identity]).await?;
    if ended == 0 { Ok(0) } else { release(tx, replica).await }
}

/// Makes due all that a dead replica held. Its row is locked first: no Begin is half-way.
async fn release(tx: &Transaction<'_>, replica: Uuid) -> Result<u64> {
    tx.query_opt("SELECT FROM replicas WHERE id = $1 FOR UPDATE", &[&replica]).await?;
    let released = tx
        .execute(
            "WITH locked AS (
                 SELECT object_id, controller FROM work WHERE holder = $1 ORDER BY object_id, controller FOR UPDATE)
             UPDATE work w SET holder = NULL, full_looks = $2, due_at = now()
             FROM locked l WHERE w.object_id = l.object_id AND w.controller = l.controller",
            &[&replica, &FULL_LOOKS],
        )
        .await?;
    Ok(released)
}
