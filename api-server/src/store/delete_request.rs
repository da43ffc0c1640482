//! Deletions that users ask for.

use std::collections::HashSet;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::json::Violation;
use threeport::kind::Kind;
use threeport::object::Object;
use threeport::v1::{
    self, DeleteManyRequest, DeleteObjectRequest, DeleteResponse, ObjectReference, ResourceReference, RetainedResource,
};
use uuid::Uuid;

use super::admit::MAX_OBJECTS;
use super::delete;
use super::homes::{self, Residents};
use super::requests::Ticket;
use super::{Cause, Effects, Row, Store, cascade, effects, orphan, read, statement};
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
        let violations = violations(&request.objects);
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
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
        let (found, mut not_found) = self.find(tx).await?;
        let mut roots = found.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        if self.request.cascade {
            roots = cascade::with_users(tx, &roots).await?;
        }
        let closure = delete::lock_closure(tx, &roots).await?;
        let ids = closure.iter().map(|row| row.id).collect::<Vec<_>>();
        for (root, id) in &found {
            match closure.iter().find(|row| row.id == *id) {
                Some(row) => self.check(tx, row, root, &ids).await?,
                // It went while the lock was waited for.
                None => not_found.push(root.reference.clone()),
            }
        }
        self.refuse_missing(&not_found)?;
        delete::refuse_if_used(tx, &closure).await?;
        self.refuse_referenced_kinds(tx, &closure).await?;
        let response = DeleteResponse {
            deleted: closure.iter().map(Row::reference).collect(),
            retained: retained(tx, &closure, self.request.delete_data, self.request.orphan).await?,
            not_found,
        };
        let mut effects = Effects::default();
        if self.request.orphan {
            orphan::give_up(tx, &closure, &response.retained, &self.cause.actor, &mut effects).await?;
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
        self.refuse_missing(&not_found)?;
        Ok((found, not_found))
    }

    fn refuse_missing(&self, not_found: &[ObjectReference]) -> Result<()> {
        match not_found {
            [] => Ok(()),
            _ if self.request.ignore_not_found => Ok(()),
            [only] => Err(Error::NotFound { kind: only.kind.clone(), name: only.name.clone() }),
            many => Err(Error::NotThere(many.iter().map(delete::describe).collect())),
        }
    }

    async fn check(&self, tx: &Transaction<'_>, row: &Row, root: &Root, going: &[Uuid]) -> Result<()> {
        let (kind, name) = (row.kind.clone(), row.full_name());
        if !root.etag.is_empty() && !row.has_etag(&root.etag) {
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
            let users = registry.kinds().filter(stays).filter_map(|kind| {
                let owner = kind.controllers.iter().find(|controller| controller.owns.contains(&row.name));
                // Two kinds may own each other: deleting the other first isn't always a way out.
                let by_owner =
                    owner.map(|owner| format!(" (its controller `{}` owns some: take it out of `owns`)", owner.name));
                let refers = by_owner.is_some() || kind.references.iter().any(|reference| reference.kind == row.name);
                refers.then(|| format!("{} `{}`{}", row.kind, kind.name, by_owner.unwrap_or_default()))
            });
            let users = users.collect::<Vec<_>>();
            if !users.is_empty() {
                return Err(Error::InUse { kind: row.kind.clone(), name: row.name.clone(), users });
            }
        }
        Ok(())
    }
}

/// What can't be meant: an id that is none, and one object named twice.
fn violations(objects: &[ObjectReference]) -> Vec<Violation> {
    let (mut violations, mut seen) = (Vec::new(), HashSet::new());
    for (index, object) in objects.iter().enumerate() {
        let ObjectReference { kind, project, name, id } = object;
        if !id.is_empty() && Uuid::parse_str(id).is_err() {
            let wanted = format!("{id:?} is no UUID; leave it out to mean whatever has the name");
            violations.push(Violation::new(format!("objects[{index}].id"), wanted));
        }
        if !seen.insert((kind, project, name)) {
            let twice = format!("{kind} `{name}` is named twice in this request");
            violations.push(Violation::new(format!("objects[{index}].name"), twice));
        }
    }
    violations
}

/// What stays in the clusters: claims and what is marked retain; all there is when nothing is to be looked for.
async fn retained(
    tx: &Transaction<'_>,
    closure: &[Row],
    delete_data: bool,
    orphan: bool,
) -> Result<Vec<RetainedResource>> {
    let keeping =
        closure.iter().filter(|row| orphan || (!delete_data && !row.delete_data)).map(|row| row.id).collect::<Vec<_>>();
    let rows = statement::query(
        tx,
        "SELECT i.instance_id, i.api_version, i.kind, i.namespace, i.name,
                coalesce(r.project || '/' || r.name, i.runtime_id::text) AS runtime
         FROM inventory i LEFT JOIN objects r ON r.id = i.runtime_id
         WHERE i.instance_id = ANY($1) AND (i.retained OR $2) ORDER BY i.instance_id, i.kind, i.namespace, i.name",
        &[&keeping, &orphan],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_meant_is_said_at_once() {
        let object = |name: &str, id: &str| ObjectReference {
            kind: "workload".into(),
            project: "default".into(),
            name: name.into(),
            id: id.into(),
        };
        let id = Uuid::now_v7().to_string();
        let found = violations(&[object("a", &id), object("b", "7"), object("a", "")]);
        let fields = found.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>();
        assert_eq!(fields, ["objects[1].id", "objects[2].name"]);
    }
}
