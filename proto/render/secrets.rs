//! Takes the values of Secrets out of manifests, so that they are kept encrypted, and puts them back.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::manifest::{self, documents};
use super::resource::{Resource, object_at};
use super::yaml;
use crate::SENSITIVE;
use crate::json::Violation;

/// Where a Secret keeps values: in base64, and as plain text.
const FIELDS: &[&str] = &["data", "stringData"];
/// All that a Secret has.
const KNOWN: &[&str] = &["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData", "status"];

/// The manifest with `(sensitive)` for every value of its Secrets, and the values by `namespace/name/field/key`.
///
/// Only documents that hold a value are written anew; the others keep their comments and layout. A manifest that was
/// split before stays as it is, its values being `(sensitive)`.
///
/// # Errors
/// What is wrong with the YAML, and values that aren't strings or, in `data`, not base64; of the field `manifest`.
pub fn split_secrets(text: &str) -> Result<(String, BTreeMap<String, String>), Vec<Violation>> {
    let (mut split, mut values, mut violations) = (String::with_capacity(text.len()), BTreeMap::new(), Vec::new());
    for document in documents(text) {
        let mut value = match document.parse() {
            Ok(value) => value.unwrap_or_default(),
            Err(violation) => {
                violations.push(violation);
                continue;
            }
        };
        let mut problems = Vec::new();
        if take(&mut value, &mut values, &mut problems) {
            // A marker's own line may hold a value too: `--- {kind: Secret, …}`.
            split.push_str(if document.text.starts_with("---") { "---\n" } else { "" });
            split.push_str(&yaml::document(&value));
        } else {
            split.push_str(document.text);
        }
        violations.extend(problems.iter().map(|problem| document.violation(problem)));
    }
    if violations.is_empty() { Ok((split, values)) } else { Err(violations) }
}

/// Takes the values out of a Secret, or the Secrets of a list; says whether anything in the clear was there.
fn take(value: &mut Value, values: &mut BTreeMap<String, String>, problems: &mut Vec<String>) -> bool {
    if value["kind"] == "List" {
        let mut changed = false;
        for item in value["items"].as_array_mut().into_iter().flatten() {
            changed |= take(item, values, problems);
        }
        return changed;
    }
    if let Some(problem) = misspelt(value) {
        problems.push(problem);
        return false;
    }
    if value["kind"] != "Secret" || value["apiVersion"] != "v1" {
        return false;
    }
    // What is nowhere else in a Secret is likely to be a value under a misspelt name, and would be kept in the clear.
    let unknown = value.as_object().into_iter().flat_map(Map::keys).filter(|key| !KNOWN.contains(&key.as_str()));
    problems.extend(
        unknown.map(|key| format!("a Secret has no field `{key}`; its values go under `data` or `stringData`")),
    );
    let annotations = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let mut changed = annotations.is_some_and(|annotations| annotations.remove(manifest::LAST_APPLIED).is_some());
    let place = place(value);
    for field in FIELDS {
        let entries = match value.get_mut(*field) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                problems.push(format!("`{field}` of a Secret isn't a map of names to values"));
                continue;
            }
        };
        for (key, entry) in entries {
            let Value::String(text) = entry else {
                problems.push(format!("`{field}[{key:?}]` of a Secret isn't a string; quote it"));
                continue;
            };
            if text != SENSITIVE && *field == "data" && BASE64.decode(compact(text)).is_err() {
                problems.push(format!("`data[{key:?}]` of a Secret isn't base64; use `stringData` for plain text"));
            }
            changed |= text != SENSITIVE;
            values.insert(format!("{place}/{field}/{key}"), std::mem::replace(text, SENSITIVE.to_owned()));
        }
    }
    changed
}

/// What means a Secret and isn't one for Kubernetes: its values would be kept in the clear.
fn misspelt(value: &Value) -> Option<String> {
    let (api_version, kind) = (value["apiVersion"].as_str()?, value["kind"].as_str()?);
    match (api_version, kind) {
        ("v1", kind) if kind != "Secret" && kind.eq_ignore_ascii_case("secret") => {
            Some(format!("`{kind}` is no kind of `v1`; write `Secret`"))
        }
        ("core/v1", "Secret") => Some("the `apiVersion` of a Secret is `v1`".to_owned()),
        _ => None,
    }
}

/// `namespace/name`, the namespace empty where the manifest gives none.
fn place(secret: &Value) -> String {
    let text = |field: &str| secret["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

/// Base64 as Kubernetes' decoder takes it: line breaks don't count.
fn compact(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect()
}

/// Puts the values of Secrets back, and turns `stringData` into `data`: server-side apply never removes a key that went
/// in as `stringData`. A value that is unknown or itself `(sensitive)` stays so.
pub fn join_secrets<S: BuildHasher>(resources: &mut [Resource], values: &HashMap<String, String, S>) {
    for resource in resources.iter_mut().filter(|resource| resource.is("", "Secret")) {
        let place = place(&resource.value);
        let Some(secret) = resource.value.as_object_mut() else { continue };
        let mut data = Map::new();
        for field in FIELDS {
            let Some(Value::Object(entries)) = secret.remove(*field) else { continue };
            for (key, entry) in entries {
                let stored = values.get(&format!("{place}/{field}/{key}")).map(String::as_str);
                let text = match entry.as_str() {
                    Some(SENSITIVE) => stored.unwrap_or(SENSITIVE),
                    text => text.unwrap_or_default(),
                };
                let text = match *field {
                    "stringData" if text != SENSITIVE => BASE64.encode(text),
                    _ => text.to_owned(),
                };
                data.insert(key, text.into());
            }
        }
        if !data.is_empty() {
            object_at(secret, "data").extend(data);
        }
    }
}

/// What a Secret holds, to compare before and after a change that must not touch it.
pub fn contents(resource: &Resource) -> Option<(Value, Value)> {
    resource.is("", "Secret").then(|| (resource.value["data"].clone(), resource.value["stringData"].clone()))
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
