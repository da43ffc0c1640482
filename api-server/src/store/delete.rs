//! Deletion: refused while used, marked in one transaction for all that goes, proved by controllers, ended by [`collect`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use deadpool_postgres::Transaction;
use threeport::registry::Registry;
use uuid::Uuid;

use super::{Change, ChangeType, Effects, Row, homes, pins, read, row, statement};
use crate::error::{Error, Result};
use crate::rules;

const TARGETS: &str = "SELECT DISTINCT to_id FROM object_refs WHERE from_id = ANY($1)";
const OWNER: &str = "SELECT id, kind, project, name, deleted_at IS NOT NULL AS is_deleting FROM objects WHERE id = $1";

/// Waits for its target's inventory instead of a controller of its own.
pub const ATTACHMENT: &str = "attachment";

/// Locks an object and all that it owns, owners first. Children are looked for when their owner is locked, so that none
/// can come in between.
pub async fn lock_closure(tx: &Transaction<'_>, roots: &[Uuid]) -> Result<Vec<Row>> {
    let sql = format!("SELECT {} FROM objects o WHERE o.id = ANY($1) ORDER BY o.id FOR UPDATE", row::COLUMNS);
    let below = format!("SELECT {} FROM objects o WHERE o.owner_id = ANY($1) ORDER BY o.id FOR UPDATE", row::COLUMNS);
    let mut closure: Vec<Row> = statement::query(tx, &sql, &[&roots]).await?.iter().map(Row::from).collect();
    let mut level = closure.iter().map(|row| row.id).collect::<Vec<_>>();
    let roots = level.iter().copied().collect::<HashSet<_>>();
    while !level.is_empty() {
        let children = statement::query(tx, &below, &[&level]).await?;
        // A root may be owned by another one.
        let children = children.iter().map(Row::from).filter(|row| !roots.contains(&row.id)).collect::<Vec<_>>();
        level = children.iter().map(|row| row.id).collect();
        closure.extend(children);
    }
    Ok(closure)
}

/// Fails with the names of all that uses the closure from outside and isn't going itself. Call it when the closure is
/// locked: in the locking statement, a creation that committed while it waited would not be counted.
pub async fn refuse_if_used(tx: &Transaction<'_>, closure: &[Row]) -> Result<()> {
    let ids = closure.iter().map(|row| row.id).collect::<Vec<_>>();
    let rows = statement::query(
        tx,
        "SELECT DISTINCT u.id, u.kind, u.project, u.name, r.to_id FROM object_refs r JOIN objects u ON u.id = r.from_id
         WHERE r.to_id = ANY($1) AND u.id <> ALL($1) AND u.deleted_at IS NULL ORDER BY u.kind, u.project, u.name",
        &[&ids],
    )
    .await?;
    let mut users: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for user in &rows {
        users.entry(user.get("to_id")).or_default().push(describe(&read::reference(user)));
    }
    match closure.iter().find_map(|row| users.remove(&row.id).map(|users| (row, users))) {
        Some((row, users)) => Err(Error::InUse { kind: row.kind.clone(), name: row.full_name(), users }),
        None => Ok(()),
    }
}

/// ``workload-instance `default/web-1` ``.
pub fn describe(reference: &threeport::v1::ObjectReference) -> String {
    let project = if reference.project.is_empty() { String::new() } else { format!("{}/", reference.project) };
    format!("{} `{project}{}`", reference.kind, reference.name)
}

/// Asks for the deletion of a locked closure; what nothing has to prove goes at once.
pub async fn mark(tx: &Transaction<'_>, closure: &[Row], delete_data: bool, effects: &mut Effects) -> Result<()> {
    let sql = format!(
        "UPDATE objects o SET deleted_at = coalesce(o.deleted_at, now()), delete_data = o.delete_data OR $2,
             revision = o.revision + 1, updated_at = now()
         WHERE o.id = ANY($1) AND (o.deleted_at IS NULL OR ($2 AND NOT o.delete_data)) RETURNING {}",
        row::COLUMNS
    );
    let mut marked = homes::let_go(tx, closure).await?;
    let ids = closure.iter().map(|row| row.id).collect::<Vec<_>>();
    let after = statement::query(tx, &sql, &[&ids, &delete_data]).await?;
    let mut after = after.iter().map(Row::from).map(|row| (row.id, row)).collect::<HashMap<_, _>>();
    // The log tells of owners first.
    for before in closure {
        let Some(after) = after.remove(&before.id) else { continue };
        marked.insert(after.id);
        effects.changes.push(Change { change_type: ChangeType::Deleting, before: Some(before.clone()), after });
    }
    let attachments = closure.iter().filter(|row| row.kind == ATTACHMENT && marked.contains(&row.id));
    let attachments = attachments.map(|row| row.id).collect::<Vec<_>>();
    effects.wake.extend(targets_of(tx, &attachments).await?);
    // Asking again is the one way to have a cleanup tried again that has given up.
    let asked_again = closure.iter().filter(|row| row.is_deleting()).map(|row| row.id).collect::<Vec<_>>();
    if !asked_again.is_empty() {
        let sql = "SELECT DISTINCT object_id FROM work WHERE object_id = ANY($1) AND gave_up";
        let gave_up = statement::query(tx, sql, &[&asked_again]).await?;
        effects.wake.extend(gave_up.iter().map(|row| row.get::<_, Uuid>("object_id")));
    }
    collect(tx, marked, effects).await
}

/// Removes every deleting candidate that nothing holds any more, and whatever goes with it: its owner, what it used.
/// Those that only wait for their controllers are woken.
pub async fn collect(tx: &Transaction<'_>, candidates: BTreeSet<Uuid>, effects: &mut Effects) -> Result<()> {
    let (mut queue, mut gone) = (candidates, HashSet::new());
    while let Some(id) = queue.pop_last() {
        if gone.contains(&id) {
            continue;
        }
        let Some((row, holds)) = look(tx, id, effects).await? else { continue };
        match holds {
            Holds::Others => {}
            Holds::Controllers => {
                effects.wake.insert(id);
            }
            Holds::Nothing => {
                let mut going = deleting_attachments_of(tx, id).await?;
                going.push(row);
                for row in going {
                    gone.insert(row.id);
                    queue.extend(remove(tx, &row, effects, Remains::Tombstone).await?);
                }
            }
        }
    }
    Ok(())
}

/// What keeps a deleting object.
enum Holds {
    /// Children or users, which go first, or an attachment's target.
    Others,
    /// Only controllers that have not proved absence yet.
    Controllers,
    Nothing,
}

/// Locks a deleting object and looks at what holds it; none if it isn't deleting.
async fn look(tx: &Transaction<'_>, id: Uuid, effects: &Effects) -> Result<Option<(Row, Holds)>> {
    let lock =
        format!("SELECT {} FROM objects o WHERE o.id = $1 AND o.deleted_at IS NOT NULL FOR UPDATE", row::COLUMNS);
    let holds = "SELECT EXISTS (SELECT 1 FROM objects c WHERE c.owner_id = $1) AS has_children,
                EXISTS (SELECT 1 FROM object_refs r JOIN objects u ON u.id = r.from_id WHERE r.to_id = $1
                        AND NOT (u.kind = $2 AND u.deleted_at IS NOT NULL)) AS has_users,
                EXISTS (SELECT 1 FROM work w WHERE w.object_id = $1) AS has_work";
    let (locked, held) = statement::query_both(tx, (&lock, &[&id]), (holds, &[&id, &ATTACHMENT])).await?;
    let (Some(row), Some(held)) = (locked.first().map(Row::from), held.first()) else { return Ok(None) };
    if held.get("has_children") || held.get("has_users") || homes::is_populated(tx, &row).await? {
        return Ok(Some((row, Holds::Others)));
    }
    if row.kind == ATTACHMENT && is_attached(tx, row.id, effects).await? {
        return Ok(Some((row, Holds::Others)));
    }
    // A composite's controller sums its children up: it has made nothing whose absence it could prove.
    let is_composite = Registry::built_in().get(&row.kind).is_some_and(|kind| rules::is_composite(kind));
    let holds = if held.get("has_work") && !is_composite { Holds::Controllers } else { Holds::Nothing };
    Ok(Some((row, holds)))
}

/// Whether the attachment's target may still hold what it contributed: its last look failed or is still to come.
async fn is_attached(tx: &Transaction<'_>, id: Uuid, effects: &Effects) -> Result<bool> {
    let rows = statement::query(
        tx,
        "SELECT r.to_id, EXISTS (SELECT 1 FROM work w WHERE w.object_id = r.to_id
                 AND (w.done <> w.wanted OR w.gave_up OR w.attempts > 0)) AS is_undone
         FROM object_refs r WHERE r.from_id = $1",
        &[&id],
    )
    .await?;
    Ok(rows.iter().any(|row| row.get("is_undone") || effects.wake.contains(&row.get("to_id"))))
}

async fn deleting_attachments_of(tx: &Transaction<'_>, id: Uuid) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {} FROM objects o JOIN object_refs r ON r.from_id = o.id
         WHERE r.to_id = $1 AND o.kind = $2 AND o.deleted_at IS NOT NULL ORDER BY o.id FOR UPDATE OF o",
        row::COLUMNS
    );
    Ok(statement::query(tx, &sql, &[&id, &ATTACHMENT]).await?.iter().map(Row::from).collect())
}

/// The objects that these use.
pub async fn targets_of(tx: &Transaction<'_>, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(statement::query(tx, TARGETS, &[&ids]).await?.iter().map(|row| row.get("to_id")).collect())
}

/// What a removed object leaves behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Proof of absence: late leftovers in clusters may be removed.
    Tombstone,
    /// The caller has written a receipt instead.
    Receipt,
}

/// Removes a row; the deleting objects that may go now.
pub async fn remove(
    tx: &Transaction<'_>,
    row: &Row,
    effects: &mut Effects,
    remains: Remains,
) -> Result<BTreeSet<Uuid>> {
    homes::forget(tx, row).await?;
    let tombstone = "INSERT INTO tombstones (object_id, kind, project, name) SELECT $1, $2, $3, $4 WHERE $5
                     ON CONFLICT DO NOTHING";
    let is_proved = remains == Remains::Tombstone;
    let found = statement::query_all(
        tx,
        &[
            (TARGETS, &[&[row.id].as_slice()]),
            (homes::DELETING, &[&row.project, &row.kind]),
            (OWNER, &[&row.owner_id]),
            (tombstone, &[&row.id, &row.kind, &row.project, &row.name, &is_proved]),
            ("DELETE FROM objects WHERE id = $1", &[&row.id]),
        ],
    )
    .await?;
    let ids = |rows: &Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>();
    let targets = ids(&found[0]);
    if pins::pin(&row.kind, &row.spec).is_some() {
        pins::drop_unpinned(tx, &targets).await?;
    }
    let mut next = targets.into_iter().chain(ids(&found[1])).collect::<BTreeSet<_>>();
    let mut after = row.clone();
    after.revision += 1;
    after.updated_at = SystemTime::now();
    effects.wake.remove(&row.id);
    effects.wake_users_of.remove(&row.id);
    effects.changes.push(Change { change_type: ChangeType::Removed, before: Some(row.clone()), after });
    if let Some(owner) = found[2].first() {
        let id = owner.get("id");
        effects.owners.insert(id, read::reference(owner));
        if owner.get("is_deleting") {
            next.insert(id);
        } else {
            effects.wake.insert(id);
        }
    }
    Ok(next)
}
