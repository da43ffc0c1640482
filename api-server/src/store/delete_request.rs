//! Deletions that users ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use serde_json::json;
use threeport::kind::Kind;
use threeport::object::Object;
use threeport::v1::{self, DeleteObjectRequest, DeleteResponse, ResourceReference, RetainedResource};
use uuid::Uuid;

use super::delete::{self, Remains};
use super::requests::Ticket;
use super::{Cause, Effects, Row, Store, effects, read, shared, statement};
use crate::error::{Error, Result};

struct Job {
    store: Store,
    kind: Arc<Kind>,
    request: DeleteObjectRequest,
    ticket: Ticket,
    cause: Cause,
}

impl Store {
    /// Asks for the deletion of an object and all it owns.
    pub async fn delete(&self, request: DeleteObjectRequest, cause: &Cause) -> Result<DeleteResponse> {
        let kind = self.kind(&request.kind).await?;
        let commits = !request.validate_only;
        let request_id = if commits { request.request_id.as_str() } else { "" };
        let ticket = Ticket::new(&self.secrets, cause, request_id, "delete", &request)?;
        let is_kind = kind.name == v1::ObjectKind::KIND;
        let job = Arc::new(Job { store: self.clone(), kind, request, ticket, cause: cause.clone() });
        let response = self
            .transact(commits, |tx| {
                let job = Arc::clone(&job);
                async move { job.run(tx).await }.boxed()
            })
            .await?;
        if commits && is_kind {
            self.refresh_kinds().await?;
        }
        Ok(response)
    }
}

impl Job {
    async fn run(&self, tx: &Transaction<'_>) -> Result<DeleteResponse> {
        if let Some(answer) = self.ticket.recall(tx).await? {
            return Ok(answer);
        }
        let root = read::find(tx, &self.kind, &self.request.project, &self.request.name).await?;
        let closure = delete::lock_closure(tx, &[root.id]).await?;
        // It may have gone while the lock was waited for.
        let root = closure.first().ok_or_else(|| read::not_found(&self.kind, &root.name))?;
        self.check(tx, root).await?;
        delete::refuse_if_used(tx, &closure).await?;
        refuse_if_populated(tx, root).await?;
        if self.kind.name == v1::ObjectKind::KIND {
            self.refuse_if_referenced(tx, root).await?;
        }
        let ids = closure.iter().map(|row| row.id).collect::<Vec<_>>();
        let delete_data = self.request.delete_data || root.delete_data;
        let retained = if delete_data { Vec::new() } else { retained(tx, &closure, &ids).await? };
        let response = DeleteResponse { deleted: closure.iter().map(Row::reference).collect(), retained };
        let mut effects = Effects::default();
        if self.request.orphan {
            orphan(tx, &closure, &ids, &mut effects).await?;
        } else {
            delete::mark(tx, &closure, self.request.delete_data, &mut effects).await?;
        }
        if self.kind.name == v1::ObjectKind::KIND {
            super::controllers::write_controllers(tx, &root.name, &[]).await?;
        }
        if !self.request.validate_only && !effects.is_empty() {
            effects::settle(tx, &self.cause, effects).await?;
        }
        self.ticket.remember(tx, &response).await?;
        Ok(response)
    }

    async fn check(&self, tx: &Transaction<'_>, root: &Row) -> Result<()> {
        let (kind, name) = (root.kind.clone(), root.full_name());
        if !self.request.etag.is_empty() && self.request.etag != format!("{}.{}", root.id, root.revision) {
            return Err(Error::Stale { kind, name });
        }
        let Some(owner) = root.owner_id else { return Ok(()) };
        let owner = read::references(tx, &[owner]).await?.remove(&owner).unwrap_or_default();
        Err(Error::Owned { kind, name, owner: delete::describe(&owner) })
    }

    /// Fails with the names of the kinds that have fields for names of this kind's objects, or whose controllers own some.
    async fn refuse_if_referenced(&self, tx: &Transaction<'_>, root: &Row) -> Result<()> {
        // As for a write of a kind: one that refers to this one may be under way.
        statement::execute(tx, "SELECT 1 FROM control_plane FOR UPDATE", &[]).await?;
        let (registry, _) = crate::kinds::registry_of_sound(&self.store.kinds_with(tx, Vec::new()).await?);
        let refers = |kind: &&Arc<Kind>| {
            let is_owned = || kind.controllers.iter().any(|controller| controller.owns.contains(&root.name));
            kind.name != root.name && (kind.references.iter().any(|r| r.kind == root.name) || is_owned())
        };
        let users = registry.kinds().filter(refers).map(|kind| format!("{} `{}`", root.kind, kind.name));
        let users = users.collect::<Vec<_>>();
        if users.is_empty() {
            return Ok(());
        }
        Err(Error::InUse { kind: root.kind.clone(), name: root.name.clone(), users })
    }
}

/// Fails with the names of what lives in a project, or is of a kind, that is to go.
async fn refuse_if_populated(tx: &Transaction<'_>, root: &Row) -> Result<()> {
    let sql = match root.kind.as_str() {
        "project" => "SELECT id, kind, project, name FROM objects WHERE project = $1 ORDER BY kind, name",
        "object-kind" => "SELECT id, kind, project, name FROM objects WHERE kind = $1 ORDER BY project, name",
        _ => return Ok(()),
    };
    let rows = statement::query(tx, sql, &[&root.name]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let users = rows.iter().map(|row| delete::describe(&read::reference(row))).collect();
    Err(Error::InUse { kind: root.kind.clone(), name: root.name.clone(), users })
}

/// What stays in the clusters: claims and what is marked retain.
async fn retained(tx: &Transaction<'_>, closure: &[Row], ids: &[Uuid]) -> Result<Vec<RetainedResource>> {
    let rows = statement::query(
        tx,
        "SELECT i.instance_id, i.api_version, i.kind, i.namespace, i.name,
                coalesce(r.project || '/' || r.name, i.runtime_id::text) AS runtime
         FROM inventory i LEFT JOIN objects r ON r.id = i.runtime_id
         WHERE i.instance_id = ANY($1) AND i.retained ORDER BY i.instance_id, i.kind, i.namespace, i.name",
        &[&ids],
    )
    .await?;
    let instance = |id: Uuid| closure.iter().find(|row| row.id == id).map(Row::reference);
    let resource = |row: &tokio_postgres::Row| RetainedResource {
        instance: instance(row.get("instance_id")),
        resource: Some(ResourceReference {
            api_version: row.get("api_version"),
            kind: row.get("kind"),
            namespace: row.get("namespace"),
            name: row.get("name"),
        }),
        runtime: row.get("runtime"),
    };
    Ok(rows.iter().map(resource).collect())
}

/// Gives up what can't be reached: the objects go now, with a receipt of what may be left behind and without a tombstone,
/// which would claim that its absence was proved.
async fn orphan(tx: &Transaction<'_>, closure: &[Row], ids: &[Uuid], effects: &mut Effects) -> Result<()> {
    refuse_deleting_users(tx, closure, ids).await?;
    shared::keep_used(tx, ids).await?;
    let mut freed = BTreeSet::new();
    for row in in_order_of_removal(tx, closure).await? {
        write_receipt(tx, &row).await?;
        freed.extend(delete::remove(tx, &row, effects, Remains::Receipt).await?);
    }
    shared::forget_unused(tx).await?;
    let freed = freed.into_iter().filter(|id| !ids.contains(id)).collect();
    delete::collect(tx, freed, effects).await
}

/// Users that are on their way out let an ordinary deletion wait; this one can't.
async fn refuse_deleting_users(tx: &Transaction<'_>, closure: &[Row], ids: &[Uuid]) -> Result<()> {
    let sql = "SELECT DISTINCT u.id, u.kind, u.project, u.name FROM object_refs r JOIN objects u ON u.id = r.from_id
               WHERE r.to_id = ANY($1) AND u.id <> ALL($1) ORDER BY u.kind, u.project, u.name";
    let rows = statement::query(tx, sql, &[&ids]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let users = rows.iter().map(|row| delete::describe(&read::reference(row))).collect();
    Err(Error::InUse { kind: closure[0].kind.clone(), name: closure[0].full_name(), users })
}

/// Children before owners and users before what they use.
async fn in_order_of_removal(tx: &Transaction<'_>, closure: &[Row]) -> Result<Vec<Row>> {
    let (mut left, mut order) = (closure.to_vec(), Vec::new());
    while !left.is_empty() {
        let mut held = BTreeSet::new();
        for row in &left {
            held.extend(row.owner_id);
            held.extend(delete::targets_of(tx, &[row.id]).await?);
        }
        let (free, rest): (Vec<Row>, Vec<Row>) = left.into_iter().partition(|row| !held.contains(&row.id));
        if free.is_empty() {
            return Err(Error::Corrupt(format!("{} objects use each other in a circle", rest.len())));
        }
        order.extend(free);
        left = rest;
    }
    Ok(order)
}

async fn write_receipt(tx: &Transaction<'_>, row: &Row) -> Result<()> {
    let sql =
        "SELECT coalesce(jsonb_agg(to_jsonb(i) - 'instance_id' - 'applied_hash' - 'managed_hash' - 'repairs'), '[]')
                   AS left_behind FROM inventory i WHERE i.instance_id = $1";
    let left_behind: serde_json::Value = statement::query_one(tx, sql, &[&row.id]).await?.get("left_behind");
    let receipt = json!({ "resources": left_behind, "status": row.status });
    statement::execute(
        tx,
        "INSERT INTO receipts (object_id, kind, project, name, left_behind) VALUES ($1, $2, $3, $4, $5)",
        &[&row.id, &row.kind, &row.project, &row.name, &receipt],
    )
    .await?;
    Ok(())
}
