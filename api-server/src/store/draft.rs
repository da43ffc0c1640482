//! One object on its way from a request to a row: checked alone, completed, in the clear.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use threeport::SENSITIVE;
use threeport::json::{Violation, dynamic_from_json, dynamic_to_json, join, parse};
use threeport::kind::Kind;
use threeport::v1::{ObjectMeta, ProjectSpec};
use uuid::Uuid;

use super::admit::{Author, Input, Key, Mode};
use super::row::Row;
use super::unknown::keep_unknown;
use super::{mask, secrets};
use crate::kinds;
use crate::rules::{self, Derived};

/// What is stored of an object before the write.
#[derive(Clone, Debug)]
pub struct Stored {
    pub row: Row,
    /// In the clear.
    pub spec: Value,
}

/// An object as it is to be stored.
#[derive(Clone, Debug)]
pub struct Draft {
    pub place: String,
    /// Where its spec is in the request; that of a composite's child is a part of the composite's.
    pub spec_place: String,
    pub author: Author,
    pub kind: Arc<Kind>,
    pub id: Uuid,
    pub meta: ObjectMeta,
    /// In the clear.
    pub spec: Value,
    pub derived: Derived,
    pub before: Option<Stored>,
    /// The objects that it uses.
    pub uses: Vec<Uuid>,
    pub warnings: Vec<String>,
}

impl Draft {
    pub fn key(&self) -> Key {
        (self.kind.name.clone(), self.meta.project.clone(), self.meta.name.clone())
    }

    pub fn is_spec_changed(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.spec != self.spec)
    }

    pub fn is_meta_changed(&self) -> bool {
        self.before.as_ref().is_none_or(|before| {
            let old = before.row.meta(None);
            old.labels != self.meta.labels
                || old.annotations != self.meta.annotations
                || old.shared_with != self.meta.shared_with
        })
    }

    pub fn is_changed(&self) -> bool {
        self.is_spec_changed() || self.is_meta_changed()
    }

    pub fn outcome(&self) -> &'static str {
        match &self.before {
            None => "created",
            Some(_) if self.is_changed() => "updated",
            Some(_) => "unchanged",
        }
    }

    /// Whether a project that could use it no longer may.
    pub fn narrows_sharing(&self) -> bool {
        let Some(before) = &self.before else { return false };
        let allows_all = self.meta.shared_with.iter().any(|project| project == "*");
        !allows_all && before.row.shared_with.iter().any(|project| !self.meta.shared_with.contains(project))
    }

    /// Where the request says `spec.…`.
    pub fn at(&self, field: &str) -> String {
        place_of(&self.place, &self.spec_place, field)
    }
}

/// The place in the request of an object's own `field`.
pub fn place_of(place: &str, spec_place: &str, field: &str) -> String {
    match field.strip_prefix("spec") {
        Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => format!("{spec_place}{rest}"),
        _ => format!("{place}{field}"),
    }
}

/// Checks and completes one object. `project` is what its project says; none for kinds in no project.
pub fn prepare(
    mut input: Input,
    spec_place: String,
    id: Uuid,
    before: Option<Stored>,
    project: Option<&ProjectSpec>,
) -> Result<Draft, Vec<Violation>> {
    let place = input.place.clone();
    let moved = |violations: Vec<Violation>| {
        let moved = violations
            .into_iter()
            .map(|violation| Violation::new(place_of(&place, &spec_place, &violation.field), violation.description));
        moved.collect::<Vec<_>>()
    };
    if let (Mode::Update(paths), Some(before)) = (input.mode.clone(), &before) {
        let mut stored = known_part(&input.kind, &before.spec);
        input.kind.redact(&mut stored);
        let violations = mask::update(&mut input, &paths, &before.row.meta(None), stored);
        if !violations.is_empty() {
            return Err(violations);
        }
    }
    let kind = Arc::clone(&input.kind);
    let previous = before.as_ref().map(|before| &before.spec);
    let mut meta = input.meta;
    meta.id = id.to_string();
    let mut spec = canonical(&kind, &input.spec).map_err(moved)?;
    let derived = rules::normalize(&kind, &meta, &mut spec, previous).map_err(moved)?;
    let mut violations = keep_stored(&kind, &mut spec, previous);
    if let Some(project) = project {
        violations.extend(rules::fill_from_project(&kind, &mut spec, previous, project));
    }
    if !violations.is_empty() {
        return Err(moved(violations));
    }
    whole_numbers(&mut spec);
    if let (Some(previous), Some(descriptor)) = (previous, kind.spec()) {
        keep_unknown(&descriptor, previous, &mut spec);
    }
    let warnings = derived.warnings.clone();
    Ok(Draft {
        place,
        spec_place,
        author: input.author,
        kind,
        id,
        meta,
        spec,
        derived,
        before,
        uses: Vec::new(),
        warnings,
    })
}

/// The spec in canonical JSON, or every violation of its message.
fn canonical(kind: &Kind, spec: &Value) -> Result<Value, Vec<Violation>> {
    let Some(descriptor) = kind.spec() else {
        let fields = spec.as_object().into_iter().flat_map(serde_json::Map::keys);
        let unknown = |field: &String| Violation::new(join("spec", field), format!("a {} has no spec", kind.name));
        let violations = fields.map(unknown).collect::<Vec<_>>();
        return if violations.is_empty() { Ok(spec.clone()) } else { Err(violations) };
    };
    let mut spec = spec.clone();
    kinds::encode_placeholders(kind, &mut spec);
    let mut canonical = dynamic_to_json(&parse(&descriptor, &spec, "spec")?);
    kinds::decode_placeholders(kind, &mut canonical);
    whole_numbers(&mut canonical);
    Ok(canonical)
}

/// A stored spec without what only a newer server knows.
fn known_part(kind: &Kind, stored: &Value) -> Value {
    let Some(descriptor) = kind.spec() else { return stored.clone() };
    let mut known = match dynamic_from_json(descriptor, stored.clone()) {
        Ok(message) => dynamic_to_json(&message),
        Err(_) => stored.clone(),
    };
    whole_numbers(&mut known);
    known
}

/// Doubles that are whole become integers: 3.0 and 3 are one number in JSON, and the database would tell them apart.
fn whole_numbers(json: &mut Value) {
    /// 2^53: beyond it a double no longer holds every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match json {
        Value::Number(number) if number.is_f64() => {
            let double = number.as_f64().unwrap_or_default();
            if double.fract() == 0.0 && double.abs() <= EXACT {
                #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
                let whole = double as i64;
                *json = Value::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Puts stored secrets where the request says `(sensitive)`.
fn keep_stored(kind: &Kind, spec: &mut Value, previous: Option<&Value>) -> Vec<Violation> {
    let stored = previous.map(|previous| secrets::places(kind, previous)).unwrap_or_default();
    let mut violations = Vec::new();
    kind.visit_sensitive(spec, &mut |place, value| {
        if value.as_str() != Some(SENSITIVE) {
            return;
        }
        match stored.get(place) {
            Some(secret) => *value = Value::from(secret.clone()),
            None => violations.push(Violation::new(
                join("spec", place),
                format!("`{SENSITIVE}` keeps a stored value, and none is stored; give the value"),
            )),
        }
    });
    violations
}

/// Labels and annotations of a composite's child.
pub fn entries(map: std::collections::BTreeMap<String, String>) -> HashMap<String, String> {
    map.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::kind::{FieldPath, Step};
    use threeport::registry::Registry;

    use super::*;

    #[test]
    fn a_newer_servers_fields_survive() {
        let descriptor = Registry::built_in().get("workload").unwrap().spec().unwrap();
        let stored = json!({ "image": "a", "novel": 1, "resources": { "cpu": "1", "gpu": 2 } });
        let mut spec = json!({ "image": "b", "resources": { "cpu": "2" } });
        keep_unknown(&descriptor, &stored, &mut spec);
        assert_eq!(spec, json!({ "image": "b", "novel": 1, "resources": { "cpu": "2", "gpu": 2 } }));
    }

    #[test]
    fn a_placeholder_needs_a_stored_value() {
        let kind = Registry::built_in().get("workload").unwrap();
        let mut spec = json!({ "secret_data": { "a": SENSITIVE, "b": SENSITIVE } });
        let violations = keep_stored(kind, &mut spec, Some(&json!({ "secret_data": { "a": "hunter2" } })));
        assert_eq!(spec["secret_data"]["a"], "hunter2");
        assert_eq!(violations[0].field, "spec.secret_data[\"b\"]");
        assert_eq!(violations.len(), 1);
    }

    #[test]
    fn a_placeholder_stands_for_bytes_too() {
        let mut kind = Kind::clone(Registry::built_in().get("object-kind").unwrap());
        kind.sensitive.push(FieldPath(vec![Step::Field("descriptor_set".into())]));
        let spec = json!({ "descriptor_set": SENSITIVE, "message": "acme.v1.Widget" });
        assert_eq!(canonical(&kind, &spec).unwrap(), spec);
    }

    #[test]
    fn whole_doubles_are_integers() {
        let mut json = json!({ "values": { "replicas": 3.0, "share": 0.5 } });
        whole_numbers(&mut json);
        assert_eq!(json.to_string(), r#"{"values":{"replicas":3,"share":0.5}}"#);
    }
}
