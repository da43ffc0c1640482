//! What each kind demands beyond being stored: pure functions that the store calls before it writes.
//!
//! In this order: [`normalize`] (one object alone), [`fill_from_project`] (looked-up defaults), [`expand`] (children of
//! composites), [`check_uses`] (with the used objects at hand). Violations name fields below `spec.`.

use serde_json::Value;
use std::collections::BTreeMap;
use threeport::json::Violation;
use threeport::kind::Kind;
use threeport::v1::{self, ObjectMeta, ProjectSpec};

/// What the server derives from a spec when it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Derived {
    /// The status of kinds whose status nobody reconciles; none leaves the status alone.
    pub status: Option<Value>,
    /// What looks wrong but isn't refused.
    pub warnings: Vec<String>,
}

/// An object that a composite expands into.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub kind: &'static str,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub spec: Value,
}

/// Fills constant defaults, splits secrets out of manifests, refuses what needs no other object.
///
/// `previous` is the stored spec in the clear; fields that can't change are compared with it.
pub fn normalize(
    _kind: &Kind,
    _meta: &ObjectMeta,
    _spec: &mut Value,
    _previous: Option<&Value>,
) -> Result<Derived, Vec<Violation>> {
    Ok(Derived::default())
}

/// Fills looked-up defaults: resolved once, at creation, and kept by later writes that leave the field empty.
pub fn fill_from_project(
    _kind: &Kind,
    _spec: &mut Value,
    _previous: Option<&Value>,
    _project: &ProjectSpec,
) -> Vec<Violation> {
    Vec::new()
}

/// The children of a composite; none for other kinds.
pub fn expand(_kind: &Kind, _meta: &ObjectMeta, _spec: &Value) -> Result<Vec<Child>, Vec<Violation>> {
    Ok(Vec::new())
}

/// Checks a spec against the objects that it uses (specs in the clear): an instance against its definition, an attachment
/// against itself.
pub fn check_uses(_kind: &Kind, _meta: &ObjectMeta, _spec: &Value, _uses: &[v1::Object]) -> Vec<Violation> {
    Vec::new()
}
