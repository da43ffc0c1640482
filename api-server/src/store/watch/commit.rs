//! One commit of the log as watchers see it: read and redacted once, for all of them.

use std::time::SystemTime;

use serde_json::Value;
use threeport::json::{from_json, to_struct};
use threeport::v1::{Object, ObjectMeta, ObjectReference};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::store::Store;

/// A commit with its place in the log.
pub struct Commit {
    pub position: i64,
    pub actor: String,
    pub at: SystemTime,
    /// 32 hexadecimal digits; empty when nothing was traced.
    pub trace_id: String,
    pub changes: Vec<Recorded>,
    /// Roughly, in bytes.
    pub size: usize,
}

/// One object's change.
pub struct Recorded {
    pub change_type: String,
    pub id: Uuid,
    pub project: String,
    /// Kind, meta and the part that changed.
    pub object: Object,
    pub before: Option<Facts>,
    pub after: Facts,
}

/// What filters look at.
#[derive(Debug, Default)]
pub struct Facts {
    pub name: String,
    /// String values by key.
    pub labels: Value,
    pub owner: Option<ObjectReference>,
}

/// What [`Commit::add`] reads, from `positions p`, `commits c` and `changes h`.
pub const COLUMNS: &str = "p.position, c.actor, c.traceparent, c.at, h.object_id, h.kind, h.project, h.name, h.type, h.meta, \
     h.before, h.spec, h.status";

impl Commit {
    pub fn of(row: &Row) -> Self {
        let traceparent: &str = row.get("traceparent");
        Self {
            position: row.get("position"),
            actor: row.get("actor"),
            at: row.get("at"),
            trace_id: traceparent.split('-').nth(1).unwrap_or_default().to_owned(),
            changes: Vec::new(),
            size: 256,
        }
    }

    /// Adds the change that the row holds.
    pub async fn add(&mut self, store: &Store, row: &Row) -> Result<()> {
        let name: String = row.get("name");
        let meta: Value = row.get("meta");
        self.size += size_of(&meta) * 2;
        let mut after = Facts { name: name.clone(), labels: meta["labels"].clone(), owner: None };
        let meta: ObjectMeta = from_json(meta).map_err(|error| corrupt(&name, &error))?;
        after.owner.clone_from(&meta.owner);
        let before: Option<Value> = row.get("before");
        let before = before.map(|before| facts(&name, before)).transpose()?;
        let kind: String = row.get("kind");
        let (spec, status): (Option<Value>, Option<Value>) = (row.get("spec"), row.get("status"));
        self.size += spec.iter().chain(&status).map(size_of).sum::<usize>();
        let spec = match spec {
            Some(spec) => redacted(store, &kind, spec).await?,
            None => None,
        };
        self.changes.push(Recorded {
            change_type: row.get("type"),
            id: row.get("object_id"),
            project: row.get("project"),
            object: Object { kind, meta: Some(meta), spec: spec.map(to_struct), status: status.map(to_struct) },
            before,
            after,
        });
        Ok(())
    }

    #[cfg(test)]
    pub fn empty(position: i64) -> Self {
        Self {
            position,
            actor: String::new(),
            at: SystemTime::UNIX_EPOCH,
            trace_id: String::new(),
            changes: Vec::new(),
            size: 1,
        }
    }
}

/// None of a kind that is gone: nobody could say which of its fields are secret.
async fn redacted(store: &Store, kind: &str, mut spec: Value) -> Result<Option<Value>> {
    match store.kind(kind).await {
        Ok(kind) => {
            kind.redact(&mut spec);
            Ok(Some(spec))
        }
        Err(Error::UnknownKind(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn facts(name: &str, mut before: Value) -> Result<Facts> {
    let owner = Some(before["owner"].take()).filter(|owner| !owner.is_null());
    let owner = owner.map(from_json).transpose().map_err(|error| corrupt(name, &error))?;
    Ok(Facts { name: name.to_owned(), labels: before["labels"].take(), owner })
}

fn corrupt(name: &str, error: &serde_json::Error) -> Error {
    Error::Corrupt(format!("change of `{name}`: {error}"))
}

/// Roughly the bytes that a value takes.
fn size_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 32,
        Value::Array(items) => 32 + items.iter().map(size_of).sum::<usize>(),
        Value::Object(fields) => {
            32 + fields.iter().map(|(name, value)| name.len() + 32 + size_of(value)).sum::<usize>()
        }
        _ => 16,
    }
}
