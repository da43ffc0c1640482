//! Record: notes under the lease, before the cluster is touched, what a reconcile is about to make, and settles who may use
//! and who deletes what is shared.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::v1::{CheckTombstonesRequest, CheckTombstonesResponse, RecordRequest, RecordResponse, SharedResource};
use uuid::Uuid;

use super::Store;
use super::inventory::InventoryWrite;
use super::shared::{self, User};
use super::work::{Caller, lease_lost, parse_id};
use crate::error::{Error, Result};

/// At most this many ids are looked up by one request.
const MAX_IDS: usize = 10_000;

/// What a Record says.
struct Note {
    replica: Uuid,
    object: Uuid,
    controller: String,
    /// The controller's kind.
    kind: String,
    epoch: i64,
    runtime: Uuid,
    inventory: InventoryWrite,
    claims: Vec<SharedResource>,
    made: Vec<SharedResource>,
    releases: Vec<SharedResource>,
    gone: Vec<SharedResource>,
}

impl Store {
    /// Stores the notes in one transaction; refused when the lease is no longer this replica's.
    pub async fn record(&self, request: RecordRequest, caller: Caller<'_>) -> Result<RecordResponse> {
        caller.check(request.lease.as_ref().and_then(|lease| lease.controller.as_ref()))?;
        let note = Arc::new(Note::parse(request)?);
        self.write(move |tx| {
            let note = note.clone();
            async move { note.store(tx).await }.boxed()
        })
        .await
    }

    /// Tells which of the ids are those of deleted objects.
    pub async fn check_tombstones(
        &self,
        request: CheckTombstonesRequest,
        caller: Caller<'_>,
    ) -> Result<CheckTombstonesResponse> {
        caller.check_workloads()?;
        if request.ids.len() > MAX_IDS {
            return Err(Error::TooMuch(format!("{} ids; send at most {MAX_IDS} at a time", request.ids.len())));
        }
        // Labels are copied and edited: what isn't an id is nobody's.
        let ids = request.ids.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect::<Vec<_>>();
        let connection = self.pool.get().await?;
        let statement = connection.prepare_cached("SELECT object_id FROM tombstones WHERE object_id = ANY($1)").await?;
        let rows = connection.query(&statement, &[&ids]).await?;
        Ok(CheckTombstonesResponse { tombstoned: rows.iter().map(|row| row.get::<_, Uuid>(0).to_string()).collect() })
    }
}

impl Note {
    fn parse(request: RecordRequest) -> Result<Self> {
        let lease = request.lease.unwrap_or_default();
        let controller = lease.controller.unwrap_or_default();
        Ok(Self {
            replica: parse_id("replica", &request.replica)?,
            object: parse_id("lease.object_id", &lease.object_id)?,
            controller: controller.name,
            kind: controller.kind,
            epoch: lease.epoch,
            runtime: parse_id("runtime_id", &request.runtime_id)?,
            inventory: InventoryWrite::parse(&request.runtime_id, request.entries, request.removed)?,
            claims: request.claims,
            made: request.made,
            releases: request.releases,
            gone: request.gone,
        })
    }

    async fn store(&self, tx: &Transaction<'_>) -> Result<RecordResponse> {
        let named = [&self.claims, &self.made, &self.releases, &self.gone];
        // On one round trip: what a lost lease has written is rolled back.
        let (project, (), ()) = tokio::try_join!(
            self.check_lease(tx),
            self.inventory.store(tx, self.object),
            shared::lock_all(tx, self.runtime, named)
        )?;
        let user = User { runtime: self.runtime, instance: self.object, project };
        for resource in &self.made {
            shared::made(tx, &user, resource).await?;
        }
        for resource in &self.gone {
            shared::gone(tx, &user, resource).await?;
        }
        let mut response = RecordResponse::default();
        for resource in &self.releases {
            response.releases.push(shared::release(tx, &user, resource).await?);
        }
        for resource in &self.claims {
            response.claims.push(shared::claim(tx, &user, resource).await?);
        }
        Ok(response)
    }

    /// The object's project, if the lease stands; its row is locked until the end.
    async fn check_lease(&self, tx: &Transaction<'_>) -> Result<String> {
        let statement = tx
            .prepare_cached(
                "SELECT o.project FROM work w JOIN objects o ON o.id = w.object_id
                 WHERE w.object_id = $1 AND w.controller = $2 AND w.holder = $3 AND w.epoch = $4
                   AND w.kind = $5 FOR UPDATE OF w",
            )
            .await?;
        let row =
            tx.query_opt(&statement, &[&self.object, &self.controller, &self.replica, &self.epoch, &self.kind]).await?;
        row.map(|row| row.get(0)).ok_or_else(|| lease_lost(self.object))
    }
}
