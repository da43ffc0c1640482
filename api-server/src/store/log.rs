//! The log: commits with their changes, appended by every write transaction. Positions come later (see `sequencer`).

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use serde_json::{Value, json};
use threeport::json::to_json;
use threeport::v1::ObjectReference;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::{Cause, Change, ChangeType, Row};
use crate::error::Result;

/// Owners by id.
pub type Owners = HashMap<Uuid, ObjectReference>;

/// The statement that appends, prepared.
pub struct Append(Statement);

/// Prepares to append.
pub async fn prepare(tx: &Transaction<'_>) -> Result<Append> {
    // Nothing here waits for a row: drawn beside an UPDATE, the id could be drawn before that waits for its lock, and two
    // writers of one object would get ids against the order of their revisions.
    let sql = "WITH drawn AS MATERIALIZED (SELECT nextval('commit_ids') AS id),
         entry AS (INSERT INTO commits (id, actor, reason, traceparent) SELECT id, $1, $2, $3 FROM drawn),
         waiting AS (INSERT INTO unpositioned (commit_id) SELECT id FROM drawn)
         INSERT INTO changes (commit_id, ordinal, object_id, kind, project, name, type, meta, before, spec, status)
         SELECT d.id, c.ordinal::integer, c.object_id, c.kind, c.project, c.name, c.type, c.meta, c.before, c.spec, c.status
         FROM drawn d, UNNEST($4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[], $10::jsonb[],
                     $11::jsonb[], $12::jsonb[])
              WITH ORDINALITY AS c (object_id, kind, project, name, type, meta, before, spec, status, ordinal)";
    Ok(Append(tx.prepare_cached(sql).await?))
}

impl Append {
    /// Appends one commit with its changes: the last statement of its transaction.
    pub async fn run(&self, tx: &Transaction<'_>, cause: &Cause, changes: &[Change], owners: &Owners) -> Result<()> {
        let columns = Columns::of(changes, owners);
        tx.execute(
            &self.0,
            &[
                &cause.actor,
                &cause.reason,
                &cause.traceparent,
                &columns.ids,
                &columns.kinds,
                &columns.projects,
                &columns.names,
                &columns.types,
                &columns.metas,
                &columns.befores,
                &columns.specs,
                &columns.statuses,
            ],
        )
        .await?;
        metrics::counter!("threeport_commits_total").increment(1);
        Ok(())
    }
}

/// The changes in columns, for one multi-row insert.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    kinds: Vec<&'a str>,
    projects: Vec<&'a str>,
    names: Vec<&'a str>,
    types: Vec<&'static str>,
    metas: Vec<Value>,
    befores: Vec<Option<Value>>,
    specs: Vec<Option<&'a Value>>,
    statuses: Vec<Option<&'a Value>>,
}

impl<'a> Columns<'a> {
    fn of(changes: &'a [Change], owners: &HashMap<Uuid, ObjectReference>) -> Self {
        let mut columns = Columns::default();
        for change in changes {
            let row = &change.after;
            columns.ids.push(row.id);
            columns.kinds.push(&row.kind);
            columns.projects.push(&row.project);
            columns.names.push(&row.name);
            columns.types.push(change.change_type.name());
            columns.metas.push(to_json(&row.meta(owner_of(row, owners))));
            columns.befores.push(change.before.as_ref().map(|before| filterable(before, owners)));
            let has_spec = matches!(change.change_type, ChangeType::Created | ChangeType::Spec);
            columns.specs.push(has_spec.then_some(&row.spec));
            let has_status = matches!(change.change_type, ChangeType::Created | ChangeType::Status);
            columns.statuses.push(has_status.then_some(&row.status));
        }
        columns
    }
}

/// What filters see of an object.
fn filterable(row: &Row, owners: &HashMap<Uuid, ObjectReference>) -> Value {
    json!({ "labels": row.labels, "owner": owner_of(row, owners).map(|owner| to_json(&owner)) })
}

fn owner_of(row: &Row, owners: &HashMap<Uuid, ObjectReference>) -> Option<ObjectReference> {
    owners.get(&row.owner_id?).cloned()
}

/// The owners of changed objects by id, known ones among them. An owner may be gone from the table already, removed by the
/// same transaction.
pub async fn owners_of(tx: &Transaction<'_>, changes: &[Change], known: &Owners) -> Result<Owners> {
    let mut owners = known.clone();
    for change in changes {
        owners.insert(change.after.id, change.after.reference());
    }
    let rows = changes.iter().flat_map(|change| change.before.iter().chain([&change.after]));
    let mut missing = rows.filter_map(|row| row.owner_id).filter(|id| !owners.contains_key(id)).collect::<Vec<_>>();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let select = tx.prepare_cached("SELECT id, kind, project, name FROM objects WHERE id = ANY($1)").await?;
        for row in tx.query(&select, &[&missing]).await? {
            let id: Uuid = row.get(0);
            let reference =
                ObjectReference { kind: row.get(1), project: row.get(2), name: row.get(3), id: id.to_string() };
            owners.insert(id, reference);
        }
    }
    Ok(owners)
}
