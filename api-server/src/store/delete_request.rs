//! Deletions that users ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use serde_json::json;
use threeport::kind::Kind;
use threeport::object::Object;
use threeport::v1::{
    self, DeleteManyRequest, DeleteObjectRequest, DeleteResponse, ObjectReference, ResourceReference, RetainedResource,
};
use uuid::Uuid;

use super::admit::MAX_OBJECTS;
use super::delete::{self, Remains};
use super::homes::{self, Residents};
use super::requests::Ticket;
use super::{Cause, Effects, Row, Store, effects, read, shared, statement};
use crate::error::{Error, Result};

/// Objects that are asked to go together.
struct Job {
    store: Store,
    roots: Vec<Root>,
    request: DeleteManyRequest,
    ticket: Ticket,
    cause: Cause,
}

struct Root {
    kind: Arc<Kind>,
    reference: ObjectReference,
    /// Only if the object still has this one; empty for any.
    etag: String,
}

impl Store {
    /// Asks for the deletion of an object and all it owns.
    pub async fn delete(&self, request: DeleteObjectRequest, cause: &Cause) -> Result<DeleteResponse> {
        let request_id = if request.validate_only { "" } else { request.request_id.as_str() };
        let ticket = Ticket::new(&self.secrets, cause, request_id, "delete", &request)?;
        let DeleteObjectRequest { kind, project, name, validate_only, etag, delete_data, orphan, .. } = request;
        let kind = self.kind(&kind).await?;
        let reference = ObjectReference { kind: kind.name.clone(), project, name, id: String::new() };
        let request = DeleteManyRequest { validate_only, delete_data, orphan, ..DeleteManyRequest::default() };
        self.delete_roots(vec![Root { kind, reference, etag }], request, ticket, cause).await
    }

    /// Asks for the deletion of many objects and all they own, all or none.
    pub async fn delete_many(&self, mut request: DeleteManyRequest, cause: &Cause) -> Result<DeleteResponse> {
        if request.objects.is_empty() || request.objects.len() > MAX_OBJECTS {
            return Err(Error::invalid("objects", format!("must name 1 to {MAX_OBJECTS} objects")));
        }
        let request_id = if request.validate_only { "" } else { request.request_id.as_str() };
        let ticket = Ticket::new(&self.secrets, cause, request_id, "delete-many", &request)?;
        let mut roots = Vec::new();
        for reference in std::mem::take(&mut request.objects) {
            let kind = self.kind(&reference.kind).await?;
            roots.push(Root { kind, reference, etag: String::new() });
        }
        self.delete_roots(roots, request, ticket, cause).await
    }

    async fn delete_roots(
        &self,
        roots: Vec<Root>,
        request: DeleteManyRequest,
        ticket: Ticket,
        cause: &Cause,
    ) -> Result<DeleteResponse> {
        let commits = !request.validate_only;
        let has_kind = roots.iter().any(|root| root.kind.name == v1::ObjectKind::KIND);
        let job = Arc::new(Job { store: self.clone(), roots, request, ticket, cause: cause.clone() });
        let response = self
            .transact(commits, |tx| {
                let job = Arc::clone(&job);
                async move { job.run(tx).await }.boxed()
            })
            .await?;
        if commits && has_kind {
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
        let (found, not_found) = self.find(tx).await?;
        let closure = delete::lock_closure(tx, &found.iter().map(|(_, id)| *id).collect::<Vec<_>>()).await?;
        let ids = closure.iter().map(|row| row.id).collect::<Vec<_>>();
        for (root, id) in &found {
            // It may have gone while the lock was waited for.
            let row = closure.iter().find(|row| row.id == *id);
            self.check(tx, row.ok_or_else(|| read::not_found(&root.kind, &root.reference.name))?, root, &ids).await?;
        }
        delete::refuse_if_used(tx, &closure).await?;
        self.refuse_referenced_kinds(tx, &closure).await?;
        let response = DeleteResponse {
            deleted: closure.iter().map(Row::reference).collect(),
            retained: retained(tx, &closure, self.request.delete_data).await?,
            not_found,
        };
        let mut effects = Effects::default();
        if self.request.orphan {
            orphan(tx, &closure, &ids, &mut effects).await?;
        } else {
            delete::mark(tx, &closure, self.request.delete_data, &mut effects).await?;
        }
        if !self.request.validate_only && !effects.is_empty() {
            effects::settle(tx, &self.cause, effects).await?;
        }
        self.ticket.remember(tx, &response).await?;
        Ok(response)
    }

    /// What is there, by id, and what isn't.
    async fn find(&self, tx: &Transaction<'_>) -> Result<(Vec<(&Root, Uuid)>, Vec<ObjectReference>)> {
        let (mut found, mut not_found) = (Vec::new(), Vec::new());
        for root in &self.roots {
            let ObjectReference { project, name, id, .. } = &root.reference;
            let row = read::find(tx, &root.kind, project, name).await;
            let is_meant = |row: &Row| id.is_empty() || id.eq_ignore_ascii_case(&row.id.to_string());
            match row {
                Ok(row) if is_meant(&row) => found.push((root, row.id)),
                Ok(_) | Err(Error::NotFound { .. }) => not_found.push(root.reference.clone()),
                Err(error) => return Err(error),
            }
        }
        match not_found.as_slice() {
            [] => {}
            _ if self.request.ignore_not_found => {}
            [only] => return Err(Error::NotFound { kind: only.kind.clone(), name: only.name.clone() }),
            many => return Err(Error::NotThere(many.iter().map(delete::describe).collect())),
        }
        Ok((found, not_found))
    }

    async fn check(&self, tx: &Transaction<'_>, row: &Row, root: &Root, going: &[Uuid]) -> Result<()> {
        let (kind, name) = (row.kind.clone(), row.full_name());
        if !root.etag.is_empty() && root.etag != format!("{}.{}", row.id, row.revision) {
            return Err(Error::Stale { kind, name });
        }
        let residents = if self.request.orphan { Residents::All } else { Residents::Staying };
        homes::refuse_if_populated(tx, row, going, residents).await?;
        let Some(owner) = row.owner_id.filter(|owner| !going.contains(owner)) else { return Ok(()) };
        let owner = read::references(tx, &[owner]).await?.remove(&owner).unwrap_or_default();
        Err(Error::Owned { kind, name, owner: delete::describe(&owner) })
    }

    /// Fails with the names of the kinds that stay and have fields for names of a kind that goes, or controllers that own some.
    async fn refuse_referenced_kinds(&self, tx: &Transaction<'_>, closure: &[Row]) -> Result<()> {
        let going = closure.iter().filter(|row| row.kind == v1::ObjectKind::KIND).collect::<Vec<_>>();
        if going.is_empty() {
            return Ok(());
        }
        // As for a write of a kind: one that refers to this one may be under way.
        statement::execute(tx, "SELECT 1 FROM control_plane FOR UPDATE", &[]).await?;
        let (registry, _) = crate::kinds::registry_of_sound(&self.store.kinds_with(tx, Vec::new()).await?);
        let stays = |kind: &&Arc<Kind>| !going.iter().any(|row| row.name == kind.name);
        for row in &going {
            let refers = |kind: &&Arc<Kind>| {
                let is_owned = || kind.controllers.iter().any(|controller| controller.owns.contains(&row.name));
                kind.references.iter().any(|reference| reference.kind == row.name) || is_owned()
            };
            let users = registry.kinds().filter(stays).filter(refers);
            let users = users.map(|kind| format!("{} `{}`", row.kind, kind.name)).collect::<Vec<_>>();
            if !users.is_empty() {
                return Err(Error::InUse { kind: row.kind.clone(), name: row.name.clone(), users });
            }
        }
        Ok(())
    }
}

/// What stays in the clusters: claims and what is marked retain.
async fn retained(tx: &Transaction<'_>, closure: &[Row], delete_data: bool) -> Result<Vec<RetainedResource>> {
    let keeping = closure.iter().filter(|row| !delete_data && !row.delete_data).map(|row| row.id).collect::<Vec<_>>();
    let rows = statement::query(
        tx,
        "SELECT i.instance_id, i.api_version, i.kind, i.namespace, i.name,
                coalesce(r.project || '/' || r.name, i.runtime_id::text) AS runtime
         FROM inventory i LEFT JOIN objects r ON r.id = i.runtime_id
         WHERE i.instance_id = ANY($1) AND i.retained ORDER BY i.instance_id, i.kind, i.namespace, i.name",
        &[&keeping],
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
    homes::let_go(tx, closure).await?;
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
            held.extend(left.iter().filter(|home| homes::is_home(home, row)).map(|home| home.id));
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
