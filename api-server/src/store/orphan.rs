//! Deletions with `--orphan`: objects whose remains can't be reached go at once, and a receipt stays.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use serde_json::json;
use threeport::bounded::listed;
use threeport::v1::{NewEvent, ResourceReference, RetainedResource};
use uuid::Uuid;

use super::delete::{self, Remains};
use super::events_write::report;
use super::{Effects, Row, homes, read, shared, statement};
use crate::error::{Error, Result};

/// Gives up what can't be reached: the objects go now, with a receipt of what may be left behind and without a tombstone,
/// which would claim that its absence was proved.
pub async fn give_up(
    tx: &Transaction<'_>,
    closure: &[Row],
    remains: &[RetainedResource],
    actor: &str,
    effects: &mut Effects,
) -> Result<()> {
    let ids = &closure.iter().map(|row| row.id).collect::<Vec<_>>();
    refuse_deleting_users(tx, closure, ids).await?;
    homes::let_go(tx, closure).await?;
    shared::keep_used(tx, ids).await?;
    let mut freed = BTreeSet::new();
    for row in in_order_of_removal(tx, closure).await? {
        write_receipt(tx, &row).await?;
        let left =
            remains.iter().filter(|one| one.instance.as_ref().is_some_and(|about| about.id == row.id.to_string()));
        report(tx, &row, &event(left).into_iter().collect::<Vec<_>>(), actor).await?;
        freed.extend(delete::remove(tx, &row, effects, Remains::Receipt).await?);
    }
    shared::forget_unused(tx).await?;
    let freed = freed.into_iter().filter(|id| !ids.contains(id)).collect();
    delete::collect(tx, freed, effects).await
}

/// What people read of a receipt.
fn event<'a>(left: impl Iterator<Item = &'a RetainedResource>) -> Option<NewEvent> {
    let names = left.map(|one| {
        let ResourceReference { kind, namespace, name, .. } = one.resource.clone().unwrap_or_default();
        let place = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
        format!("{kind} `{place}` on {}", one.runtime)
    });
    let names = names.collect::<Vec<_>>();
    let note = format!("given up; left behind, if they are there: {}", listed(&names, ", "));
    let event = NewEvent { r#type: "Warning".into(), reason: "Orphaned".into(), note };
    (!names.is_empty()).then_some(event)
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
