//! All that a reconcile reads, for a batch of objects, in one round trip.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use serde_json::Value;
use threeport::json::to_struct;
use threeport::v1::{BeginResult, InventoryEntry, Object, ObjectReference};
use uuid::Uuid;

use super::inventory;
use super::row::{self, COLUMNS, Row};
use super::{Store, Visibility};
use crate::error::{Error, Result};

/// A stored object with its owner, found for one of the objects read.
struct Found {
    row: Row,
    owner: Option<ObjectReference>,
}

/// What was read, by the object that it is for.
#[derive(Default)]
pub struct Reading {
    objects: HashMap<Uuid, Vec<Found>>,
    uses: HashMap<Uuid, Vec<Found>>,
    attachments: HashMap<Uuid, Vec<Found>>,
    children: HashMap<Uuid, Vec<Found>>,
    inventory: HashMap<Uuid, Vec<InventoryEntry>>,
    /// The definition's id, spec and status at the pinned generation.
    pins: HashMap<Uuid, (Uuid, Value, Value)>,
}

/// Each selects what it finds with the id of the object that it is for.
const OBJECTS: &str = "o.id AS for_id FROM objects o LEFT JOIN objects p ON p.id = o.owner_id WHERE o.id = ANY($1)";
const USES: &str = "r.from_id AS for_id FROM object_refs r JOIN objects o ON o.id = r.to_id
    LEFT JOIN objects p ON p.id = o.owner_id WHERE r.from_id = ANY($1) AND o.kind <> 'project' ORDER BY o.id";
const ATTACHMENTS: &str = "r.to_id AS for_id FROM object_refs r JOIN objects o ON o.id = r.from_id
    LEFT JOIN objects p ON p.id = o.owner_id
    WHERE r.to_id = ANY($1) AND o.kind = 'attachment' ORDER BY o.name, o.id";
const CHILDREN: &str = "o.owner_id AS for_id FROM objects o LEFT JOIN objects p ON p.id = o.owner_id
    WHERE o.owner_id = ANY($1) ORDER BY o.kind, o.name";
const PINS: &str = "SELECT o.id, g.definition_id, g.spec, g.status FROM objects o
    JOIN object_refs r ON r.from_id = o.id JOIN objects d ON d.id = r.to_id
    JOIN pinned_generations g ON g.definition_id = d.id
        AND g.generation::text = o.spec ->> 'definition_generation' AND o.kind = 'workload-instance'
    WHERE o.id = ANY($1) AND g.generation <> d.generation";

/// Reads for all of `ids` at once; the queries share a round trip.
pub async fn read(tx: &Transaction<'_>, ids: &[Uuid]) -> Result<Reading> {
    let (objects, uses, attachments, children, inventory, pins) = tokio::try_join!(
        find(tx, OBJECTS, ids),
        find(tx, USES, ids),
        find(tx, ATTACHMENTS, ids),
        find(tx, CHILDREN, ids),
        inventory::of_instances(tx, ids),
        find_pins(tx, ids),
    )?;
    Ok(Reading { objects, uses, attachments, children, inventory, pins })
}

async fn find(tx: &Transaction<'_>, from: &str, ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<Found>>> {
    let statement = tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, p.kind AS owner_kind, p.project AS owner_project, p.name AS owner_name, {from}"
        ))
        .await?;
    let mut found: HashMap<Uuid, Vec<Found>> = HashMap::new();
    for stored in &tx.query(&statement, &[&ids]).await? {
        let row = Row::from(stored);
        let owner = row::owner(&row, stored);
        found.entry(stored.get("for_id")).or_default().push(Found { row, owner });
    }
    Ok(found)
}

async fn find_pins(tx: &Transaction<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, (Uuid, Value, Value)>> {
    let statement = tx.prepare_cached(PINS).await?;
    let rows = tx.query(&statement, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect())
}

impl Found {
    /// The object with its secrets in the clear.
    fn reveal(&self, store: &Store) -> Result<Object> {
        store.object(&self.row, self.owner.clone(), false, Visibility::Revealed)
    }
}

impl Reading {
    /// The object itself.
    pub fn row(&self, id: Uuid) -> Option<&Row> {
        self.objects.get(&id)?.first().map(|found| &found.row)
    }

    /// What a reconcile of one object reads, secrets in the clear. Several controllers may read one object.
    pub fn result(&self, store: &Store, id: Uuid) -> Result<BeginResult> {
        let found = self.objects.get(&id).and_then(|found| found.first());
        let found = found.ok_or_else(|| Error::Corrupt(format!("work without object `{id}`")))?;
        let reveal = |found: &HashMap<Uuid, Vec<Found>>| {
            found.get(&id).into_iter().flatten().map(|found| found.reveal(store)).collect::<Result<Vec<_>>>()
        };
        let (pinned_definition_spec, pinned_definition_status) = match self.pins.get(&id) {
            Some((definition, spec, status)) => {
                let mut spec = spec.clone();
                if let Some(kind) = store.registry().get("workload-definition") {
                    store.secrets.reveal(kind, *definition, &mut spec)?;
                }
                (Some(to_struct(spec)), Some(to_struct(status.clone())))
            }
            None => (None, None),
        };
        Ok(BeginResult {
            delete_data: found.row.delete_data,
            object: Some(found.reveal(store)?),
            uses: reveal(&self.uses)?,
            attachments: reveal(&self.attachments)?,
            children: reveal(&self.children)?,
            inventory: self.inventory.get(&id).cloned().unwrap_or_default(),
            pinned_definition_spec,
            pinned_definition_status,
            ..Default::default()
        })
    }
}
