//! The rows of a plan: inserted, changed or left alone, with what follows for the log and the queue.

use std::collections::{HashMap, HashSet};

use futures::future::try_join_all;
use serde_json::{Value, json};
use threeport::registry::Registry;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::admit::Author;
use super::draft::{Draft, Stored};
use super::plan::Plan;
use super::references::Targets;
use super::{Change, ChangeType, Effects, Row, delete, pins, row, statement};
use crate::error::{Error, Result};

impl Plan<'_> {
    /// Stores the drafts that differ from what is stored; the rows of all drafts, by id.
    pub async fn store(&self, targets: &Targets, effects: &mut Effects) -> Result<HashMap<Uuid, Row>> {
        let mut rows = HashMap::new();
        let unpinned = self.definitions_unpinned().await?;
        self.lock_narrowed().await?;
        for row in self.insert().await? {
            effects.changes.push(Change { change_type: ChangeType::Created, before: None, after: row.clone() });
            rows.insert(row.id, row);
        }
        for (draft, after) in self.update().await? {
            note_update(draft, &after, effects);
            rows.insert(after.id, after);
        }
        let unchanged = self.drafts.iter().filter(|draft| !draft.is_changed());
        rows.extend(
            unchanged.filter_map(|draft| draft.before.as_ref()).map(|before| (before.row.id, before.row.clone())),
        );
        // The children come after their composite was drafted, so that the log tells of owners first.
        self.rewrite_references(effects).await?;
        self.refuse_narrowing().await?;
        pins::keep_present(self, targets).await?;
        pins::drop_unpinned(self.tx, &unpinned).await?;
        self.drop_children(effects).await?;
        Ok(rows)
    }

    async fn insert(&self) -> Result<Vec<Row>> {
        let new = self.drafts.iter().filter(|draft| draft.before.is_none()).collect::<Vec<_>>();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        for draft in &new {
            let mut spec = draft.spec.clone();
            self.store.secrets.conceal(&draft.kind, draft.id, &mut spec, None)?;
            let (owner_id, owner_controller) = self.owner(draft);
            records.push(json!({
                "id": draft.id, "kind": draft.kind.name, "project": draft.meta.project, "name": draft.meta.name,
                "labels": draft.meta.labels, "annotations": draft.meta.annotations,
                "owner_id": owner_id, "owner_controller": owner_controller, "shared_with": draft.meta.shared_with,
                "spec": spec, "status": draft.derived.status.clone().unwrap_or_else(|| json!({})),
            }));
        }
        let sql = format!(
            "INSERT INTO objects AS o (id, kind, project, name, labels, annotations, owner_id, owner_controller,
                                       shared_with, spec, status)
             SELECT id, kind, project, name, labels, annotations, owner_id, owner_controller,
                    ARRAY(SELECT jsonb_array_elements_text(shared_with)), spec, status
             FROM jsonb_to_recordset($1) AS new (id uuid, kind text, project text, name text, labels jsonb,
                  annotations jsonb, owner_id uuid, owner_controller text, shared_with jsonb, spec jsonb, status jsonb)
             ON CONFLICT (kind, project, name) DO NOTHING RETURNING {}",
            row::COLUMNS
        );
        let inserted = statement::query(self.tx, &sql, &[&Value::Array(records)]).await?;
        if inserted.len() != new.len() {
            // Somebody created one of them since: the next attempt finds it.
            return Err(Error::Conflict);
        }
        Ok(inserted.iter().map(Row::from).collect())
    }

    /// The rows of changed drafts as they are now. All are locked: the statements share a round trip.
    async fn update(&self) -> Result<Vec<(&Draft, Row)>> {
        let changed = self.drafts.iter().filter(|draft| draft.is_changed());
        let changed = changed.filter_map(|draft| Some((draft, draft.before.as_ref()?))).collect::<Vec<_>>();
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE objects o SET labels = $2, annotations = $3, shared_with = $4, spec = $5, status = $6,
                 generation = generation + $7, revision = revision + 1, status_revision = status_revision + $8,
                 updated_at = now()
             WHERE id = $1 RETURNING {}",
            row::COLUMNS
        );
        let statement = self.tx.prepare_cached(&sql).await?;
        try_join_all(changed.into_iter().map(|(draft, before)| self.update_one(&statement, draft, before))).await
    }

    async fn update_one<'d>(&self, update: &Statement, draft: &'d Draft, before: &Stored) -> Result<(&'d Draft, Row)> {
        let mut spec = before.row.spec.clone();
        if draft.is_spec_changed() {
            spec = draft.spec.clone();
            let previous = Some((&before.spec, &before.row.spec));
            self.store.secrets.conceal(&draft.kind, draft.id, &mut spec, previous)?;
        }
        let status = draft.derived.status.as_ref().unwrap_or(&before.row.status);
        let (labels, annotations) = (json!(draft.meta.labels), json!(draft.meta.annotations));
        let steps = (i64::from(draft.is_spec_changed()), i64::from(*status != before.row.status));
        let after = self
            .tx
            .query_one(
                update,
                &[&draft.id, &labels, &annotations, &draft.meta.shared_with, &spec, status, &steps.0, &steps.1],
            )
            .await?;
        Ok((draft, Row::from(&after)))
    }

    fn owner(&self, draft: &Draft) -> (Option<Uuid>, Option<String>) {
        match &draft.author {
            Author::User => (None, None),
            Author::Composite(parent) => (Some(self.drafts[*parent].id), None),
            Author::Controller(owner, controller) => (Some(*owner), Some(controller.clone())),
        }
    }

    /// Makes the edges those of the new specs. What an attachment aims at, before and after, has to look at it.
    async fn rewrite_references(&self, effects: &mut Effects) -> Result<()> {
        let has_edges = |draft: &&Draft| draft.is_spec_changed() && !draft.kind.references.is_empty();
        let changed = self.drafts.iter().filter(has_edges).collect::<Vec<_>>();
        let ids = changed.iter().map(|draft| draft.id).collect::<Vec<_>>();
        if ids.is_empty() {
            return Ok(());
        }
        let attachments = changed.iter().filter(|draft| draft.kind.name == delete::ATTACHMENT);
        let attachments = attachments.map(|draft| draft.id).collect::<Vec<_>>();
        effects.wake.extend(delete::targets_of(self.tx, &attachments).await?);
        let edges = changed.iter().flat_map(|draft| draft.uses.iter().map(|used| (draft.id, *used)));
        let (from, to): (Vec<Uuid>, Vec<Uuid>) = edges.unzip();
        statement::execute(
            self.tx,
            "WITH dropped AS (
                 DELETE FROM object_refs r WHERE r.from_id = ANY($1)
                 AND (r.from_id, r.to_id) NOT IN (SELECT * FROM unnest($2::uuid[], $3::uuid[])))
             INSERT INTO object_refs (from_id, to_id) SELECT * FROM unnest($2::uuid[], $3::uuid[]) ON CONFLICT DO NOTHING",
            &[&ids, &from, &to],
        )
        .await?;
        effects.wake.extend(delete::targets_of(self.tx, &attachments).await?);
        Ok(())
    }

    /// Keeps new users away from what is shared with fewer projects, before its row changes.
    async fn lock_narrowed(&self) -> Result<()> {
        let narrowed = self.drafts.iter().filter(|draft| draft.narrows_sharing()).map(|draft| draft.id);
        let narrowed = narrowed.collect::<Vec<_>>();
        if !narrowed.is_empty() {
            let sql = "SELECT 1 FROM objects WHERE id = ANY($1) ORDER BY id FOR UPDATE";
            statement::query(self.tx, sql, &[&narrowed]).await?;
        }
        Ok(())
    }

    /// Refuses to take an object away from projects that use it. The lock came first and the count is second: in one
    /// statement, a user that committed while it waited would not be counted.
    async fn refuse_narrowing(&self) -> Result<()> {
        for draft in self.drafts.iter().filter(|draft| draft.narrows_sharing()) {
            let users = statement::query(
                self.tx,
                "SELECT u.id, u.kind, u.project, u.name FROM object_refs r JOIN objects u ON u.id = r.from_id
                 WHERE r.to_id = $1 AND u.project <> $2 AND u.project <> ALL($3)
                   AND NOT (u.kind = 'project' AND (u.name = $2 OR u.name = ANY($3)))
                 ORDER BY u.kind, u.project, u.name",
                &[&draft.id, &draft.meta.project, &draft.meta.shared_with],
            )
            .await?;
            if !users.is_empty() {
                let users = users.iter().map(|user| delete::describe(&super::read::reference(user))).collect();
                return Err(Error::InUse { kind: draft.kind.name.clone(), name: draft.meta.name.clone(), users });
            }
        }
        Ok(())
    }

    /// Asks for the deletion of children that composites no longer have, when nothing in the plan uses them any more.
    async fn drop_children(&self, effects: &mut Effects) -> Result<()> {
        if self.dropped.is_empty() {
            return Ok(());
        }
        let dropped = self.dropped.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let closure = delete::lock_closure(self.tx, &dropped).await?;
        delete::refuse_if_used(self.tx, &closure).await?;
        delete::mark(self.tx, &closure, false, effects).await
    }

    /// The definitions whose pins may end with this write.
    async fn definitions_unpinned(&self) -> Result<Vec<Uuid>> {
        let had_pin = self.drafts.iter().filter(|draft| {
            let before = draft.before.as_ref().filter(|_| draft.is_spec_changed());
            before.is_some_and(|before| pins::pin(&draft.kind.name, &before.spec).is_some())
        });
        let ids = had_pin.map(|draft| draft.id).collect::<Vec<_>>();
        let definitions = delete::targets_of(self.tx, &ids).await?;
        Ok(definitions.into_iter().collect::<HashSet<_>>().into_iter().collect())
    }
}

/// What follows from the change of a stored object.
fn note_update(draft: &Draft, after: &Row, effects: &mut Effects) {
    let before = draft.before.as_ref().map(|before| before.row.clone());
    let status_changed = before.as_ref().is_some_and(|before| before.status_revision != after.status_revision);
    let change_type = if draft.is_spec_changed() { ChangeType::Spec } else { ChangeType::Meta };
    let change = |change_type| Change { change_type, before: before.clone(), after: after.clone() };
    effects.changes.push(change(change_type));
    if status_changed {
        effects.changes.push(change(ChangeType::Status));
    }
    if draft.is_spec_changed() {
        if !Registry::is_data(&draft.kind.name) {
            effects.wake.insert(draft.id);
        }
        effects.wake_users_of.insert(draft.id);
    }
}
