//! What a reader sees of a stored row.

use threeport::json::to_struct;
use threeport::kind::Kind;
use threeport::v1::{self, ObjectReference};

use super::{Row, Store};
use crate::error::{Error, Result};

/// Whether a reader sees sensitive values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// As `(sensitive)`: users.
    Redacted,
    /// In the clear: controllers.
    Revealed,
}

impl Store {
    /// The object that a row stores.
    pub fn object(
        &self,
        row: &Row,
        owner: Option<ObjectReference>,
        settled: bool,
        visibility: Visibility,
    ) -> Result<v1::Object> {
        let registry = self.registry();
        let kind = registry
            .get(&row.kind)
            .ok_or_else(|| Error::Corrupt(format!("{} is of unknown kind {}", row.id, row.kind)))?;
        self.object_of(kind, row, owner, settled, visibility)
    }

    /// As [`Store::object`], with the kind at hand.
    pub fn object_of(
        &self,
        kind: &Kind,
        row: &Row,
        owner: Option<ObjectReference>,
        settled: bool,
        visibility: Visibility,
    ) -> Result<v1::Object> {
        let mut spec = row.spec.clone();
        match visibility {
            Visibility::Redacted => kind.redact(&mut spec),
            Visibility::Revealed => self.secrets.reveal(kind, row.id, &mut spec)?,
        }
        let mut meta = row.meta(owner);
        meta.settled = settled;
        Ok(v1::Object {
            kind: row.kind.clone(),
            meta: Some(meta),
            spec: Some(to_struct(spec)),
            status: kind.status().map(|_| to_struct(row.status.clone())),
        })
    }
}
