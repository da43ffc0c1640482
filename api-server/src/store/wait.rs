//! Where objects and all that they own stand: settled, Ready, given up, gone. One look; who waits looks again.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::GenericClient;
use serde_json::Value;
use threeport::json::from_json;
use threeport::v1::{Condition, ObjectReference, WaitResponse, WaitState};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, read, statement};
use crate::error::{Error, Result};

/// At most this many objects are waited for by one request.
const MAX_OBJECTS: usize = 500;

const STATES: &str = "
    WITH RECURSIVE closure (id) AS (
        SELECT id FROM unnest($1::uuid[]) id
        UNION
        SELECT o.id FROM closure c JOIN objects o ON o.owner_id = c.id
    )
    SELECT o.id, o.owner_id, o.kind, o.project, o.name, o.deleted_at IS NOT NULL AS is_deleting,
           (SELECT c FROM jsonb_path_query(o.status, '$.conditions[*]') c WHERE c ->> 'type' = 'Ready' LIMIT 1) AS ready,
           coalesce((o.status ->> 'observed_generation')::bigint, 0) >= o.generation AS is_observed,
           EXISTS (SELECT 1 FROM work w WHERE w.object_id = o.id) AS is_reconciled,
           EXISTS (SELECT 1 FROM work w WHERE w.object_id = o.id AND w.gave_up) AS has_given_up,
           NOT EXISTS (SELECT 1 FROM work w WHERE w.object_id = o.id AND w.done <> w.wanted)
             AND NOT EXISTS (SELECT 1 FROM object_refs r JOIN fan_outs f ON f.target_id = r.to_id WHERE r.from_id = o.id)
             AS is_settled
    FROM closure JOIN objects o USING (id) ORDER BY o.id";

impl Store {
    /// Looks at the objects and all that they own. With `deleted`, the wait is over when they are gone.
    pub async fn wait_state(&self, objects: &[ObjectReference], deleted: bool) -> Result<WaitResponse> {
        if objects.len() > MAX_OBJECTS {
            return Err(Error::invalid(
                "objects",
                format!("at most {MAX_OBJECTS}; wait for the others in another request"),
            ));
        }
        let connection = self.pool.get().await?;
        let (mut ids, mut gone) = (Vec::new(), Vec::new());
        for (reference, id) in objects.iter().zip(self.named(&connection, objects).await?) {
            match id {
                Some(id) => ids.push(id),
                None if deleted => gone.push(reference),
                None => {
                    let name = reference.name.replace('\0', "");
                    return Err(Error::NotFound { kind: reference.kind.clone(), name });
                }
            }
        }
        let rows = statement::query(&connection, STATES, &[&ids]).await?;
        let mut states = rows.iter().map(state).collect::<Vec<_>>();
        let gone = gone.into_iter().map(|reference| WaitState {
            object: Some(reference.clone()),
            settled: true,
            ready: None,
            deleted: true,
            observed: true,
        });
        states.extend(gone);
        if deleted {
            return Ok(WaitResponse { done: rows.is_empty(), succeeded: rows.is_empty(), objects: states });
        }
        let given_up = given_up(&rows);
        let is_over = |row: &Row| row.get("is_settled") && (is_ready(row) || given_up.contains(&row.get("id")));
        let done = rows.iter().all(is_over);
        Ok(WaitResponse { done, succeeded: done && rows.iter().all(is_ready), objects: states })
    }

    /// The ids of what the references name, in their order: the very objects if they have ids, not namesakes that came after.
    async fn named<C: GenericClient + Sync>(
        &self,
        client: &C,
        references: &[ObjectReference],
    ) -> Result<Vec<Option<Uuid>>> {
        let (mut kinds, mut projects, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for reference in references {
            kinds.push(self.kind(&reference.kind).await?.name.clone());
            // Nothing that holds a NUL is stored, and no name is empty.
            let is_storable = !reference.project.contains('\0') && !reference.name.contains('\0');
            projects.push(if is_storable { reference.project.as_str() } else { "" });
            names.push(if is_storable { reference.name.as_str() } else { "" });
        }
        let sql = "SELECT o.id FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (kind, project, name, place)
                   LEFT JOIN objects o USING (kind, project, name) ORDER BY n.place";
        let found = statement::query(client, sql, &[&kinds, &projects, &names]).await?;
        let ids = found.iter().map(|row| row.get::<_, Option<Uuid>>("id"));
        let is_same = |id: &Uuid, reference: &ObjectReference| {
            reference.id.is_empty() || reference.id.eq_ignore_ascii_case(&id.to_string())
        };
        Ok(ids.zip(references).map(|(id, reference)| id.filter(|id| is_same(id, reference))).collect())
    }
}

fn state(row: &Row) -> WaitState {
    let ready = row.get::<_, Option<Value>>("ready").and_then(|ready| from_json::<Condition>(ready).ok());
    WaitState {
        object: Some(read::reference(row)),
        settled: row.get("is_settled"),
        ready,
        deleted: row.get("is_deleting"),
        observed: row.get("is_observed"),
    }
}

/// Objects that have given up or own one that has: they get no further by themselves.
fn given_up(rows: &[Row]) -> HashSet<Uuid> {
    let owners = rows.iter().map(|row| (row.get::<_, Uuid>("id"), row.get::<_, Option<Uuid>>("owner_id")));
    let owners = owners.collect::<HashMap<_, _>>();
    let mut found = HashSet::new();
    for row in rows.iter().filter(|row| row.get("has_given_up")) {
        let mut next = Some(row.get::<_, Uuid>("id"));
        while let Some(id) = next.filter(|id| found.insert(*id)) {
            next = owners.get(&id).copied().flatten();
        }
    }
    found
}

/// What nobody reconciles is data, and data is ready.
fn is_ready(row: &Row) -> bool {
    if row.get("is_deleting") {
        return false;
    }
    let ready: Option<Value> = row.get("ready");
    !row.get::<_, bool>("is_reconciled") || ready.is_some_and(|ready| ready["status"] == "True")
}
