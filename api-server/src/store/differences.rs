//! What differs between two specs, field by field; never a secret.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use threeport::json::join;
use threeport::kind::Kind;
use threeport::v1::{Difference, ObjectMeta};

use super::secrets;

const CHANGED: &str = "(changed)";

/// The fields that differ between two specs in the clear; none stands for an object that isn't there.
pub fn of_specs(kind: &Kind, before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let (mut old, mut new) = (before.cloned(), after.cloned());
    let mut differences = Vec::new();
    hide(kind, old.as_mut(), new.as_mut());
    compare("spec", old.as_ref(), new.as_ref(), &mut differences);
    differences
}

/// The user's parts of meta that differ.
pub fn of_meta(before: Option<&ObjectMeta>, after: &ObjectMeta) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare("meta", before.map(parts).as_ref(), Some(&parts(after)), &mut differences);
    differences
}

fn parts(meta: &ObjectMeta) -> Value {
    let mut fields = serde_json::Map::new();
    let sorted = |entries: &std::collections::HashMap<String, String>| {
        entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    if !meta.labels.is_empty() {
        fields.insert("labels".into(), serde_json::json!(sorted(&meta.labels)));
    }
    if !meta.annotations.is_empty() {
        fields.insert("annotations".into(), serde_json::json!(sorted(&meta.annotations)));
    }
    if !meta.shared_with.is_empty() {
        fields.insert("shared_with".into(), serde_json::json!(meta.shared_with));
    }
    Value::Object(fields)
}

/// Replaces secrets by words that differ exactly where the secrets do.
fn hide(kind: &Kind, old: Option<&mut Value>, new: Option<&mut Value>) {
    let known = old.as_ref().map(|old| secrets::places(kind, old)).unwrap_or_default();
    if let Some(new) = new {
        kind.visit_sensitive(new, &mut |place, value| {
            let same = known.get(place).map(String::as_str) == value.as_str();
            *value = Value::from(if same { threeport::SENSITIVE } else { CHANGED });
        });
    }
    if let Some(old) = old {
        kind.redact(old);
    }
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, differences: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (old, new) = (before.filter(|value| !is_empty(value)), after.filter(|value| !is_empty(value)));
    match (old, new) {
        (None, None) => {}
        (Some(Value::Object(_)) | None, Some(Value::Object(_))) | (Some(Value::Object(_)), None) => {
            let keys = |value: Option<&Value>| {
                value
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(|fields| fields.keys().cloned())
                    .collect::<Vec<_>>()
            };
            for key in keys(old).into_iter().chain(keys(new)).collect::<BTreeSet<_>>() {
                let place = if is_plain(&key) { join(path, &key) } else { format!("{path}[{key:?}]") };
                compare(&place, old.and_then(|v| v.get(&key)), new.and_then(|v| v.get(&key)), differences);
            }
        }
        (Some(Value::Array(_)) | None, Some(Value::Array(_))) | (Some(Value::Array(_)), None) => {
            let length = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
            for index in 0..length(old).max(length(new)) {
                let place = format!("{path}[{index}]");
                compare(&place, old.and_then(|v| v.get(index)), new.and_then(|v| v.get(index)), differences);
            }
        }
        _ => differences.push(Difference { path: path.to_owned(), before: text(old), after: text(new) }),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn text(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(word)) if word == threeport::SENSITIVE || word == CHANGED => word.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::registry::Registry;

    use super::*;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        let kind = Registry::built_in().get("workload").unwrap();
        let differences = of_specs(kind, Some(before), Some(after));
        differences.iter().map(|d| format!("{}: {} -> {}", d.path, d.before, d.after)).collect()
    }

    #[test]
    fn each_field_is_told_apart() {
        let before = json!({ "image": "a", "replicas": 1, "instances": [{ "name": "x" }] });
        let after = json!({ "image": "b", "instances": [{ "name": "x", "paused": true }], "env": { "A.B": "1" } });
        assert_eq!(
            lines(&before, &after),
            [
                "spec.env[\"A.B\"]:  -> \"1\"",
                "spec.image: \"a\" -> \"b\"",
                "spec.instances[0].paused:  -> true",
                "spec.replicas: 1 -> "
            ]
        );
    }

    #[test]
    fn secrets_show_only_that_they_changed() {
        let before = json!({ "secret_data": { "same": "hunter1", "changed": "hunter2", "gone": "hunter3" } });
        let after = json!({ "secret_data": { "same": "hunter1", "changed": "hunter4", "new": "hunter5" } });
        assert_eq!(
            lines(&before, &after),
            [
                "spec.secret_data.changed: (sensitive) -> (changed)",
                "spec.secret_data.gone: (sensitive) -> ",
                "spec.secret_data.new:  -> (changed)"
            ]
        );
    }
}
