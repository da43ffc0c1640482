//! What one client knows of its own objects: what it wrote and was told. Nobody else writes them.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::time::SystemTime;

use serde_json::Value;
use threeport::json::to_struct;
use threeport::v1::{self, ObjectMeta};

/// Kind, project and name.
pub type Key = (String, String, String);

#[derive(Clone, Debug)]
pub struct Document {
    pub key: Key,
    pub spec: Value,
    pub shared_with: Vec<String>,
}

impl Document {
    pub fn new(kind: &str, project: &str, name: &str, spec: Value) -> Self {
        Self { key: (kind.to_owned(), project.to_owned(), name.to_owned()), spec, shared_with: Vec::new() }
    }

    pub fn object(&self, revision: i64) -> v1::Object {
        let (kind, project, name) = self.key.clone();
        let meta = ObjectMeta { project, name, revision, shared_with: self.shared_with.clone(), ..Default::default() };
        v1::Object { kind, meta: Some(meta), spec: Some(to_struct(self.spec.clone())), status: None }
    }
}

#[derive(Clone, Debug)]
pub enum Operation {
    Apply(Vec<Document>),
    /// Changes what the mask names, if the revision is the present one.
    Update {
        document: Document,
        mask: String,
        revision: i64,
    },
    Delete(Key),
    /// All that the client has, in one transaction.
    DeleteAll(Vec<Key>),
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Operation::Apply(documents) => {
                let keys = documents.iter().map(|document| named(&document.key)).collect::<Vec<_>>();
                write!(f, "apply {}", keys.join(", "))
            }
            Operation::Update { document, mask, revision } => {
                write!(f, "update {mask} of revision {revision} of {}", named(&document.key))
            }
            Operation::Delete(key) => write!(f, "delete {}", named(key)),
            Operation::DeleteAll(keys) => write!(f, "delete {}", keys.iter().map(named).collect::<Vec<_>>().join(", ")),
        }
    }
}

pub fn named((kind, project, name): &Key) -> String {
    format!("{kind} {project}/{name}")
}

/// An object as one write left it.
#[derive(Clone, Debug)]
pub struct Version {
    pub key: Key,
    pub id: String,
    pub generation: i64,
    pub revision: i64,
    /// As it was sent; after an update, what was stored with the change.
    pub spec: Value,
    pub shared_with: Vec<String>,
    /// Whether the write changed it.
    pub is_changed: bool,
}

/// What the server said at last.
#[derive(Clone, Debug)]
pub enum Answer {
    Written(Vec<Version>),
    /// With their ids.
    Deleted(Vec<(Key, String)>),
    Refused(String),
}

/// A write with its answer.
#[derive(Clone, Debug)]
pub struct Entry {
    pub request_id: String,
    pub operation: Operation,
    pub answer: Answer,
    /// When it was sent first, and answered.
    pub begun: SystemTime,
    pub ended: SystemTime,
}

#[derive(Clone, Debug, Default)]
pub struct Book {
    pub present: BTreeMap<Key, Version>,
    /// The specs that each object had, by id and generation.
    pub past: BTreeMap<(String, i64), Value>,
    pub entries: Vec<Entry>,
}

impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { request_id, operation, answer, .. } = self;
        let [begun, ended] = [self.begun, self.ended].map(prost_types::Timestamp::from);
        let answer = match answer {
            Answer::Written(_) => "written",
            Answer::Deleted(_) => "deleted",
            Answer::Refused(reason) => reason,
        };
        write!(f, "{begun} {request_id}: {operation}: {answer} {ended}")
    }
}

impl Book {
    pub fn enter(&mut self, entry: Entry) {
        match &entry.answer {
            Answer::Written(versions) => {
                for version in versions {
                    self.past.insert((version.id.clone(), version.generation), version.spec.clone());
                    self.present.insert(version.key.clone(), version.clone());
                }
            }
            Answer::Deleted(deleted) => {
                for (key, _) in deleted {
                    self.present.remove(key);
                }
            }
            Answer::Refused(_) => {}
        }
        self.entries.push(entry);
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Version> {
        self.present.values().filter(|version| version.key.0 == kind).collect()
    }

    /// Whether anything that isn't deleted refers to it.
    pub fn is_used(&self, key: &Key) -> bool {
        let (kind, project, name) = key;
        let full = format!("{project}/{name}");
        let refers = |version: &Version, field: &str| {
            let reference = version.spec[field].as_str().unwrap_or_default();
            reference == full || (reference == name && version.key.1 == *project)
        };
        self.present.values().any(|version| match (kind.as_str(), version.key.0.as_str()) {
            ("workload-definition", "workload-instance" | "workload") => refers(version, "definition"),
            ("workload-instance", "attachment") => refers(version, "workload_instance"),
            _ => false,
        })
    }
}
