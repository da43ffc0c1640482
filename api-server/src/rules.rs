//! What each kind demands beyond being stored: pure functions that the store calls before it writes.
//!
//! In this order: [`normalize`] (one object alone), [`fill_from_project`] (looked-up defaults), [`expand`] (children of
//! composites), [`check_uses`] (with the used objects at hand). Violations name fields below `spec.`.

mod attachment;
#[cfg(test)]
mod descriptor_tests;
mod helm_workload_definition;
mod helm_workload_instance;
mod kubeconfig;
mod plain;
mod runtime;
mod syntax;
mod workload;
mod workload_definition;
mod workload_instance;

use std::collections::BTreeMap;

use prost::{Message, Name};
use serde_json::Value;
use threeport::json::{Violation, from_json};
use threeport::kind::Kind;
use threeport::v1::{self, ObjectKindSpec, ObjectMeta, ProjectSpec};

pub use self::workload_instance::Definition;

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
    kind: &Kind,
    meta: &ObjectMeta,
    spec: &mut Value,
    previous: Option<&Value>,
) -> Result<Derived, Vec<Violation>> {
    let mut violations = check_references(kind, spec);
    let nothing = |()| Derived::default();
    let outcome = match kind.name.as_str() {
        "workload" => workload::normalize(meta, spec, previous),
        "workload-definition" => workload_definition::normalize(spec),
        "workload-instance" => workload_instance::check(meta, spec, previous).map(nothing),
        "helm-workload-definition" => helm_workload_definition::check(spec).map(nothing),
        "helm-workload-instance" => helm_workload_instance::check(meta, spec, previous).map(nothing),
        "kubernetes-runtime-instance" => runtime::check(spec).map(nothing),
        "attachment" => attachment::normalize(meta, spec, previous).map(nothing),
        "object-kind" => check_object_kind(spec, previous).map(nothing),
        // Projects, runtime definitions and kinds registered at run time: their descriptors say it all.
        _ => Ok(Derived::default()),
    };
    match outcome {
        Ok(derived) if violations.is_empty() => Ok(derived),
        Ok(_) => Err(violations),
        Err(more) => {
            violations.extend(more);
            Err(violations)
        }
    }
}

/// Fills looked-up defaults: resolved once, at creation, and kept by later writes that leave the field empty.
pub fn fill_from_project(
    kind: &Kind,
    spec: &mut Value,
    previous: Option<&Value>,
    project: &ProjectSpec,
) -> Vec<Violation> {
    match kind.name.as_str() {
        "workload" => workload::fill(spec, previous, project),
        "workload-instance" | "helm-workload-instance" => {
            workload_instance::fill_runtime(spec, previous, project, "spec").into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Whether objects of a kind expand into children.
pub fn is_composite(kind: &Kind) -> bool {
    kind.name == "workload"
}

/// The children of a composite; none for other kinds.
pub fn expand(kind: &Kind, meta: &ObjectMeta, spec: &Value) -> Result<Vec<Child>, Vec<Violation>> {
    if is_composite(kind) { workload::expand(meta, spec) } else { Ok(Vec::new()) }
}

/// Checks a spec against the objects that it uses, their specs in the clear: an instance against its definition.
pub fn check_uses(kind: &Kind, meta: &ObjectMeta, spec: &Value, uses: &[v1::Object]) -> Vec<Violation> {
    match kind.name.as_str() {
        "workload-instance" => {
            Definition::among(uses).map(|definition| definition.check(meta, spec)).unwrap_or_default()
        }
        "helm-workload-instance" => helm_workload_instance::check_values(spec, uses),
        _ => Vec::new(),
    }
}

/// A spec as its message. The store has checked it against the descriptor, so failing names no field.
fn typed<M: Message + Name + Default>(spec: &Value) -> Result<M, Vec<Violation>> {
    from_json(spec.clone()).map_err(|error| vec![Violation::new("spec", error.to_string())])
}

/// Refuses what can't name an object. Whether it exists is the store's to say.
fn check_references(kind: &Kind, spec: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    for reference in &kind.references {
        reference.path.visit(spec, "spec", &mut |place, value| {
            let text = value.as_str().unwrap_or_default();
            if !text.is_empty() && !syntax::is_reference(text) {
                let message = format!("`{text}` names no {}; write `name` or `project/name`", reference.kind);
                violations.push(Violation::new(place, message));
            }
        });
    }
    violations
}

fn check_object_kind(spec: &Value, previous: Option<&Value>) -> Result<(), Vec<Violation>> {
    let spec: ObjectKindSpec = typed(spec)?;
    let previous = previous.map(typed::<ObjectKindSpec>).transpose()?;
    let violations = crate::kinds::check(&spec, previous.as_ref());
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

#[cfg(test)]
#[path = "rules/rules_tests.rs"]
mod tests;
