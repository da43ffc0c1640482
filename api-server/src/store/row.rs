//! A row of `objects`: an object as it is stored, sensitive values encrypted.

use std::time::SystemTime;

use serde_json::Value;
use threeport::v1::{ObjectMeta, ObjectReference};
use uuid::Uuid;

/// What every query of objects selects, from `objects` or an alias `o` of it.
pub const COLUMNS: &str = "o.id, o.kind, o.project, o.name, o.labels, o.annotations, o.owner_id, o.owner_controller, o.shared_with, \
     o.generation, o.revision, o.status_revision, o.spec, o.status, o.created_at, o.updated_at, o.deleted_at, o.delete_data";

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: Uuid,
    pub kind: String,
    /// Empty for kinds in no project.
    pub project: String,
    pub name: String,
    pub labels: Value,
    pub annotations: Value,
    pub owner_id: Option<Uuid>,
    /// The controller that declared it by Finish; none for expanded children.
    pub owner_controller: Option<String>,
    pub shared_with: Vec<String>,
    pub generation: i64,
    pub revision: i64,
    pub status_revision: i64,
    pub spec: Value,
    pub status: Value,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub deleted_at: Option<SystemTime>,
    pub delete_data: bool,
}

impl From<&tokio_postgres::Row> for Row {
    fn from(row: &tokio_postgres::Row) -> Self {
        Self {
            id: row.get("id"),
            kind: row.get("kind"),
            project: row.get("project"),
            name: row.get("name"),
            labels: row.get("labels"),
            annotations: row.get("annotations"),
            owner_id: row.get("owner_id"),
            owner_controller: row.get("owner_controller"),
            shared_with: row.get("shared_with"),
            generation: row.get("generation"),
            revision: row.get("revision"),
            status_revision: row.get("status_revision"),
            spec: row.get("spec"),
            status: row.get("status"),
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
            deleted_at: row.get("deleted_at"),
            delete_data: row.get("delete_data"),
        }
    }
}

impl Row {
    pub fn is_deleting(&self) -> bool {
        self.deleted_at.is_some()
    }

    /// Whether a write that demands this etag may go on; `*` is that of any object that exists.
    pub fn has_etag(&self, etag: &str) -> bool {
        etag == "*" || etag == self.etag()
    }

    fn etag(&self) -> String {
        format!("{}.{}", self.id, self.revision)
    }

    /// `project/name`, or the name alone in no project.
    pub fn full_name(&self) -> String {
        if self.project.is_empty() { self.name.clone() } else { format!("{}/{}", self.project, self.name) }
    }

    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            kind: self.kind.clone(),
            project: self.project.clone(),
            name: self.name.clone(),
            id: self.id.to_string(),
        }
    }

    /// The meta that users see; `settled` is for the caller to fill.
    pub fn meta(&self, owner: Option<ObjectReference>) -> ObjectMeta {
        ObjectMeta {
            id: self.id.to_string(),
            project: self.project.clone(),
            name: self.name.clone(),
            labels: strings(&self.labels),
            annotations: strings(&self.annotations),
            owner,
            shared_with: self.shared_with.clone(),
            generation: self.generation,
            revision: self.revision,
            status_revision: self.status_revision,
            created_at: Some(self.created_at.into()),
            updated_at: Some(self.updated_at.into()),
            deleted_at: self.deleted_at.map(Into::into),
            etag: self.etag(),
            settled: false,
        }
    }
}

fn strings(json: &Value) -> std::collections::HashMap<String, String> {
    let fields = json.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The reference to an owner, from a query that joined it as `owner_kind`, `owner_project` and `owner_name`.
pub fn owner(row: &Row, stored: &tokio_postgres::Row) -> Option<ObjectReference> {
    row.owner_id.map(|id| ObjectReference {
        kind: stored.get("owner_kind"),
        project: stored.get("owner_project"),
        name: stored.get("owner_name"),
        id: id.to_string(),
    })
}
