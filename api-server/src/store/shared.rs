//! Namespaces and CRDs that workloads of a cluster share: who may use them, and who deletes them.
//!
//! The first project to use a namespace on a runtime owns it; CRDs belong to no project. The last user deletes what we
//! made, and nobody else does: what it looks at before it deletes must not be claimed meanwhile.

use deadpool_postgres::Transaction;
use threeport::v1::SharedResource;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::statement;
use crate::error::{Error, Result};

const NAMESPACE: &str = "Namespace";
const CUSTOM_RESOURCE_DEFINITION: &str = "CustomResourceDefinition";
/// Namespaces that Kubernetes keeps for itself.
const RESERVED_PREFIX: &str = "kube-";

/// Who claims and releases.
pub struct User {
    pub runtime: Uuid,
    pub instance: Uuid,
    pub project: String,
}

/// A row of `shared_resources`.
struct Stored {
    uid: String,
    made_by_us: bool,
    project: String,
    /// The instance that was told to delete it.
    releasing_by: Option<Uuid>,
}

/// Locks the rows of all that a Record names, in one order.
pub async fn lock_all(tx: &Transaction<'_>, runtime: Uuid, named: [&Vec<SharedResource>; 4]) -> Result<()> {
    let named = named.into_iter().flatten().collect::<Vec<_>>();
    if named.is_empty() {
        return Ok(());
    }
    for resource in &named {
        if !matches!(resource.kind.as_str(), NAMESPACE | CUSTOM_RESOURCE_DEFINITION) {
            let kind = &resource.kind;
            return Err(Error::invalid(
                "claims.kind",
                format!("`{kind}` must be {NAMESPACE} or {CUSTOM_RESOURCE_DEFINITION}"),
            ));
        }
    }
    let kinds = named.iter().map(|resource| resource.kind.as_str()).collect::<Vec<_>>();
    let names = named.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>();
    let statement = tx
        .prepare_cached(
            "SELECT FROM shared_resources WHERE runtime_id = $1
                AND (kind, name) IN (SELECT * FROM UNNEST($2::text[], $3::text[])) ORDER BY kind, name FOR UPDATE",
        )
        .await?;
    tx.query(&statement, &[&runtime, &kinds, &names]).await?;
    Ok(())
}

const FIND: &str = "SELECT uid, made_by_us, project, releasing_by FROM shared_resources
     WHERE runtime_id = $1 AND kind = $2 AND name = $3 FOR UPDATE";

impl From<&Row> for Stored {
    fn from(row: &Row) -> Self {
        Self {
            uid: row.get("uid"),
            made_by_us: row.get("made_by_us"),
            project: row.get("project"),
            releasing_by: row.get("releasing_by"),
        }
    }
}

/// Makes the instance a user of the resource, if its project may use it.
pub async fn claim(tx: &Transaction<'_>, user: &User, resource: &SharedResource) -> Result<SharedResource> {
    let is_namespace = resource.kind == NAMESPACE;
    let project = if is_namespace { user.project.as_str() } else { "" };
    if is_namespace && resource.name.starts_with(RESERVED_PREFIX) {
        return Ok(refused(resource, "Reserved", ""));
    }
    // Two first users: the second waits here for the first and then finds its row.
    let insert = "INSERT INTO shared_resources (runtime_id, kind, name, project) VALUES ($1, $2, $3, $4)
                  ON CONFLICT DO NOTHING";
    let new: [&(dyn ToSql + Sync); 4] = [&user.runtime, &resource.kind, &resource.name, &project];
    let (_, found) = statement::query_both(tx, (insert, &new), (FIND, &new[..3])).await?;
    // Its last user has gone in between.
    let stored = found.first().map(Stored::from).ok_or(Error::Conflict)?;
    if let Some(releaser) = stored.releasing_by {
        if releaser != user.instance && is_at_work(tx, releaser).await? {
            return Ok(refused(resource, "BeingDeleted", &stored.project));
        }
        return take_back(tx, user, resource, project).await;
    }
    if stored.project != project {
        return Ok(refused(resource, "OtherProject", &stored.project));
    }
    add_user(tx, user, resource).await?;
    Ok(answer(resource, stored, true))
}

/// Whether somebody acts for the instance, or is about to: not if it is gone, paused or given up.
async fn is_at_work(tx: &Transaction<'_>, instance: Uuid) -> Result<bool> {
    let select = tx
        .prepare_cached("SELECT FROM work WHERE object_id = $1 AND (holder IS NOT NULL OR due_at IS NOT NULL) LIMIT 1")
        .await?;
    Ok(tx.query_opt(&select, &[&instance]).await?.is_some())
}

/// Ends a release whose releaser wants the resource again or does nothing more about it. Whatever becomes of the one that was to be deleted,
/// the next one is told by `made`.
async fn take_back(
    tx: &Transaction<'_>,
    user: &User,
    resource: &SharedResource,
    project: &str,
) -> Result<SharedResource> {
    let reset = tx
        .prepare_cached(
            "UPDATE shared_resources SET releasing_by = NULL, uid = '', made_by_us = false, project = $4
             WHERE runtime_id = $1 AND kind = $2 AND name = $3",
        )
        .await?;
    tx.execute(&reset, &[&user.runtime, &resource.kind, &resource.name, &project]).await?;
    add_user(tx, user, resource).await?;
    let stored = Stored { uid: String::new(), made_by_us: false, project: project.to_owned(), releasing_by: None };
    Ok(answer(resource, stored, true))
}

async fn add_user(tx: &Transaction<'_>, user: &User, resource: &SharedResource) -> Result<()> {
    let add = tx
        .prepare_cached(
            "INSERT INTO shared_resource_users (runtime_id, kind, name, instance_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .await?;
    tx.execute(&add, &[&user.runtime, &resource.kind, &resource.name, &user.instance]).await?;
    Ok(())
}

fn refused(resource: &SharedResource, reason: &str, project: &str) -> SharedResource {
    SharedResource {
        kind: resource.kind.clone(),
        name: resource.name.clone(),
        reason: reason.into(),
        project: project.into(),
        ..Default::default()
    }
}

fn answer(resource: &SharedResource, stored: Stored, granted: bool) -> SharedResource {
    SharedResource {
        kind: resource.kind.clone(),
        name: resource.name.clone(),
        uid: stored.uid,
        made_by_us: stored.made_by_us,
        granted,
        reason: String::new(),
        project: stored.project,
    }
}

/// Notes that the resource exists, as which uid and whether we made it, if a user says so or the one that is to delete it.
/// Of one uid, who made it is said once and stays: another instance that found it there doesn't undo it.
pub async fn made(tx: &Transaction<'_>, user: &User, resource: &SharedResource) -> Result<()> {
    let update = tx
        .prepare_cached(
            "UPDATE shared_resources s SET made_by_us = $5 OR (uid = $4 AND made_by_us), uid = $4
             WHERE runtime_id = $1 AND kind = $2 AND name = $3
               AND (releasing_by = $6
                    OR EXISTS (SELECT FROM shared_resource_users u
                               WHERE u.runtime_id = s.runtime_id AND u.kind = s.kind AND u.name = s.name AND u.instance_id = $6))",
        )
        .await?;
    let SharedResource { kind, name, uid, made_by_us, .. } = resource;
    tx.execute(&update, &[&user.runtime, kind, name, uid, made_by_us, &user.instance]).await?;
    Ok(())
}

/// Ends the instance's use. Granted to the last user of what we made: it is to delete it, and until `gone` nobody may
/// claim it but the one that was told. Repeating it repeats the answer; who never used it decides nothing.
pub async fn release(tx: &Transaction<'_>, user: &User, resource: &SharedResource) -> Result<SharedResource> {
    let key: [&(dyn ToSql + Sync); 3] = [&user.runtime, &resource.kind, &resource.name];
    let Some(stored) = statement::query_opt(tx, FIND, &key).await?.as_ref().map(Stored::from) else {
        return Ok(refused(resource, "", ""));
    };
    let remove = tx
        .prepare_cached(
            "DELETE FROM shared_resource_users WHERE runtime_id = $1 AND kind = $2 AND name = $3 AND instance_id = $4",
        )
        .await?;
    let was_user = tx.execute(&remove, &[key[0], key[1], key[2], &user.instance]).await? > 0;
    if !was_user && stored.releasing_by != Some(user.instance) {
        return Ok(answer(resource, stored, false));
    }
    let others = tx
        .prepare_cached("SELECT FROM shared_resource_users WHERE runtime_id = $1 AND kind = $2 AND name = $3 LIMIT 1")
        .await?;
    if tx.query_opt(&others, &key).await?.is_some() {
        return Ok(answer(resource, stored, false));
    }
    if !stored.made_by_us {
        let forget =
            tx.prepare_cached("DELETE FROM shared_resources WHERE runtime_id = $1 AND kind = $2 AND name = $3").await?;
        tx.execute(&forget, &key).await?;
        return Ok(answer(resource, stored, false));
    }
    let mark = tx
        .prepare_cached(
            "UPDATE shared_resources SET releasing_by = $4 WHERE runtime_id = $1 AND kind = $2 AND name = $3",
        )
        .await?;
    tx.execute(&mark, &[key[0], key[1], key[2], &user.instance]).await?;
    Ok(answer(resource, stored, true))
}

/// Forgets a released resource that its releaser has proved gone, or leaves where it is.
pub async fn gone(tx: &Transaction<'_>, user: &User, resource: &SharedResource) -> Result<()> {
    let delete = tx
        .prepare_cached(
            "DELETE FROM shared_resources s WHERE runtime_id = $1 AND kind = $2 AND name = $3 AND releasing_by = $4
               AND NOT EXISTS (SELECT FROM shared_resource_users u
                               WHERE u.runtime_id = s.runtime_id AND u.kind = s.kind AND u.name = s.name)",
        )
        .await?;
    tx.execute(&delete, &[&user.runtime, &resource.kind, &resource.name, &user.instance]).await?;
    Ok(())
}

/// Before instances are given up: what they leave in a namespace is not to be deleted with it, whoever uses it last.
pub async fn keep_used(tx: &Transaction<'_>, instances: &[Uuid]) -> Result<()> {
    let keep = tx
        .prepare_cached(
            "UPDATE shared_resources s SET made_by_us = false FROM shared_resource_users u
             WHERE u.instance_id = ANY($1) AND u.runtime_id = s.runtime_id AND u.kind = s.kind AND u.name = s.name",
        )
        .await?;
    tx.execute(&keep, &[&instances]).await?;
    Ok(())
}

/// Forgets a batch of what nobody uses any more and nobody will come back for: its runtime is gone, or the one that was told
/// to delete it. Says whether there may be more. Locked first and looked at then: a claim may be under way.
pub async fn forget_orphaned(tx: &Transaction<'_>, batch: i64) -> Result<bool> {
    const IS_ORPHANED: &str = "NOT EXISTS (SELECT FROM shared_resource_users u
               WHERE u.runtime_id = s.runtime_id AND u.kind = s.kind AND u.name = s.name)
           AND (NOT EXISTS (SELECT FROM objects o WHERE o.id = s.runtime_id)
                OR (s.releasing_by IS NOT NULL AND NOT EXISTS (SELECT FROM objects o WHERE o.id = s.releasing_by)))";
    let lock = format!(
        "SELECT runtime_id, kind, name FROM shared_resources s WHERE {IS_ORPHANED}
         ORDER BY runtime_id, kind, name LIMIT $1 FOR UPDATE SKIP LOCKED"
    );
    let locked = tx.query(&lock, &[&batch]).await?;
    let runtimes = locked.iter().map(|row| row.get("runtime_id")).collect::<Vec<Uuid>>();
    let column = |name: &str| locked.iter().map(|row| row.get(name)).collect::<Vec<String>>();
    let delete = format!(
        "DELETE FROM shared_resources s WHERE {IS_ORPHANED}
           AND (runtime_id, kind, name) IN (SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[]))"
    );
    tx.execute(&delete, &[&runtimes, &column("kind"), &column("name")]).await?;
    Ok(i64::try_from(locked.len()).unwrap_or(i64::MAX) == batch)
}

/// Forgets what nobody uses and nobody is to delete, such as what [`keep_used`] left: another project may have the name.
pub async fn forget_unused(tx: &Transaction<'_>) -> Result<()> {
    let delete = tx
        .prepare_cached(
            "DELETE FROM shared_resources s WHERE NOT made_by_us AND releasing_by IS NULL
               AND NOT EXISTS (SELECT FROM shared_resource_users u
                               WHERE u.runtime_id = s.runtime_id AND u.kind = s.kind AND u.name = s.name)",
        )
        .await?;
    tx.execute(&delete, &[]).await?;
    Ok(())
}
