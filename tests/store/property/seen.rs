//! What the database and the model hold, in a form that can be compared.

use serde_json::{Value, json};
use tokio_postgres::Row;

use crate::fixture::manifest;
use crate::model::{Model, SLOTS, VARIANTS, is_instance, target};

/// The objects that a case may write, each with its work if it has some.
pub const PRESENT: &str =
    "SELECT o.kind, o.project, o.name, o.revision, o.generation, o.deleted_at IS NOT NULL AS deleting, o.spec, o.status,
            o.shared_with <> '{}' AS shared, coalesce(w.due_at <= clock_timestamp(), false) AS due
     FROM objects o LEFT JOIN work w ON w.object_id = o.id
     WHERE o.kind IN ('workload-definition', 'workload-instance', 'attachment')";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "they are as independent of each other as columns are")]
pub struct Seen {
    slot: usize,
    variant: usize,
    is_shared: bool,
    pin: Option<i64>,
    revision: i64,
    generation: i64,
    is_deleting: bool,
    is_due: bool,
    observed_generation: i64,
    is_ready: bool,
}

/// What the model holds.
pub fn present(model: &Model) -> Vec<Seen> {
    let seen = model.objects.iter().map(|(slot, known)| Seen {
        slot: *slot,
        variant: known.variant,
        is_shared: known.is_shared,
        pin: known.pin,
        revision: known.revision,
        generation: known.generation,
        is_deleting: known.is_deleting,
        is_due: known.work.is_due,
        observed_generation: known.work.observed_generation,
        is_ready: known.work.is_ready,
    });
    seen.collect()
}

/// A row of [`PRESENT`].
pub fn seen(row: &Row) -> Seen {
    let (slot, spec, status): (usize, Value, Value) = (slot_of(row), row.get("spec"), row.get("status"));
    let says = |variant: &usize| {
        let wanted = spec_of(slot, *variant);
        wanted.as_object().expect("specs are objects").iter().all(|(field, value)| spec[field] == *value)
    };
    let conditions = status["conditions"].as_array().into_iter().flatten();
    Seen {
        slot,
        variant: (0..VARIANTS).find(says).unwrap_or(VARIANTS),
        is_shared: row.get("shared"),
        pin: number(&spec["definition_generation"]),
        revision: row.get("revision"),
        generation: row.get("generation"),
        is_deleting: row.get("deleting"),
        is_due: row.get("due"),
        observed_generation: number(&status["observed_generation"]).unwrap_or_default(),
        is_ready: conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True"),
    }
}

/// 64-bit integers are strings in canonical JSON.
fn number(value: &Value) -> Option<i64> {
    value.as_str().map(|text| text.parse().expect("it is a number"))
}

pub fn slot_of(row: &Row) -> usize {
    let place = (row.get("kind"), row.get("project"), row.get("name"));
    SLOTS.iter().position(|slot| *slot == place).expect("nothing else was written")
}

/// What a variant of an object says, but for its pin.
pub fn spec_of(slot: usize, variant: usize) -> Value {
    let used = target(slot, variant).map(|used| SLOTS[used]);
    match used {
        None => json!({ "manifest": manifest(&format!("nginx:{variant}")) }),
        Some((_, project, name)) if is_instance(slot) => {
            let reference = if SLOTS[slot].1 == project { name.to_owned() } else { format!("{project}/{name}") };
            json!({ "definition": reference, "runtime": "default/local", "paused": variant >= 2 })
        }
        Some((_, _, name)) => {
            json!({ "workload_instance": name, "env": { SLOTS[slot].2.replace('-', "_"): format!("{variant}") } })
        }
    }
}
