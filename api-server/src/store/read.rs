//! Reads of single objects, and what a reader is told beside the row: the owner, and whether all its work is done.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::GenericClient;
use threeport::kind::Kind;
use threeport::v1::{self, ObjectReference};
use uuid::Uuid;

use super::{Row, Store, Visibility, row, statement};
use crate::error::{Error, Result};

impl Store {
    /// One object, as users see it.
    pub async fn get(&self, kind: &str, project: &str, name: &str) -> Result<v1::Object> {
        let kind = self.kind(kind).await?;
        let connection = self.pool.get().await?;
        let (row, is_settled) = find_standing(&connection, &kind, project, name).await?;
        let owner = references(&connection, row.owner_id.as_slice()).await?.into_values().next();
        self.object_of(&kind, &row, owner, is_settled, Visibility::Redacted)
    }

    /// Rows as users see them, in the same order.
    pub async fn objects<C: GenericClient + Sync>(&self, client: &C, rows: Vec<Row>) -> Result<Vec<v1::Object>> {
        let ids = rows.iter().map(|row| row.id).collect::<Vec<_>>();
        let unsettled = unsettled(client, &ids).await?;
        let owners = rows.iter().filter_map(|row| row.owner_id).collect::<Vec<_>>();
        let owners = references(client, &owners).await?;
        rows.iter()
            .map(|row| {
                let owner = row.owner_id.and_then(|id| owners.get(&id).cloned());
                self.object(row, owner, !unsettled.contains(&row.id), Visibility::Redacted)
            })
            .collect()
    }
}

pub fn not_found(kind: &Kind, name: &str) -> Error {
    Error::NotFound { kind: kind.name.clone(), name: name.to_owned() }
}

/// The row of this name.
pub async fn find<C: GenericClient + Sync>(client: &C, kind: &Kind, project: &str, name: &str) -> Result<Row> {
    Ok(Row::from(&named(client, "", kind, project, name).await?))
}

/// The row of this name, and whether it is settled: in one statement, or a Finish in between would show as done what the row
/// doesn't have yet.
async fn find_standing<C: GenericClient + Sync>(
    client: &C,
    kind: &Kind,
    project: &str,
    name: &str,
) -> Result<(Row, bool)> {
    let is_settled = format!(
        ", NOT EXISTS (
             WITH RECURSIVE closure (id) AS (
                 SELECT o.id
                 UNION ALL
                 SELECT child.id FROM closure c JOIN objects child ON child.owner_id = c.id
             )
             SELECT 1 FROM closure c WHERE {IS_UNDONE}) AS is_settled"
    );
    let found = named(client, &is_settled, kind, project, name).await?;
    Ok((Row::from(&found), found.get("is_settled")))
}

/// Selects the row of this name, and more of it.
async fn named<C: GenericClient + Sync>(
    client: &C,
    more: &str,
    kind: &Kind,
    project: &str,
    name: &str,
) -> Result<tokio_postgres::Row> {
    // Nothing that holds a NUL is stored, and the database refuses to look for it.
    if project.contains('\0') || name.contains('\0') {
        return Err(not_found(kind, &name.replace('\0', "")));
    }
    let columns = row::COLUMNS;
    let sql = format!("SELECT {columns}{more} FROM objects o WHERE o.kind = $1 AND o.project = $2 AND o.name = $3");
    let found = statement::query_opt(client, &sql, &[&kind.name, &project, &name]).await?;
    found.ok_or_else(|| not_found(kind, name))
}

/// The rows of these ids, in the order of ids.
pub async fn rows<C: GenericClient + Sync>(client: &C, ids: &[Uuid]) -> Result<Vec<Row>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {} FROM objects o WHERE o.id = ANY($1) ORDER BY o.id", row::COLUMNS);
    Ok(statement::query(client, &sql, &[&ids]).await?.iter().map(Row::from).collect())
}

/// Names of objects by id.
pub async fn references<C: GenericClient + Sync>(client: &C, ids: &[Uuid]) -> Result<HashMap<Uuid, ObjectReference>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT id, kind, project, name FROM objects WHERE id = ANY($1)";
    let rows = statement::query(client, sql, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get("id"), reference(row))).collect())
}

/// A reference from a query that selects `id, kind, project, name`.
pub fn reference(row: &tokio_postgres::Row) -> ObjectReference {
    ObjectReference {
        kind: row.get("kind"),
        project: row.get("project"),
        name: row.get("name"),
        id: row.get::<_, Uuid>("id").to_string(),
    }
}

/// Whether `c.id` has work of its own undone, or a wake of what it uses is still to come.
const IS_UNDONE: &str = "
    (EXISTS (SELECT 1 FROM work w WHERE w.object_id = c.id AND w.done <> w.wanted)
     OR EXISTS (SELECT 1 FROM fan_outs f JOIN object_refs r ON r.to_id = f.target_id WHERE r.from_id = c.id))";

/// Which of these objects have work undone: their own, that of what they own, or a wake of what they use that is still to
/// come.
pub async fn unsettled<C: GenericClient + Sync>(client: &C, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = format!(
        "WITH RECURSIVE closure (root, id) AS (
             SELECT id, id FROM unnest($1::uuid[]) id
             UNION ALL
             SELECT c.root, o.id FROM closure c JOIN objects o ON o.owner_id = c.id
         )
         SELECT DISTINCT c.root FROM closure c WHERE {IS_UNDONE}"
    );
    let rows = statement::query(client, &sql, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.get("root")).collect())
}
