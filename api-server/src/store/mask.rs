//! Update masks: which fields of a stored object a request replaces.

use prost_reflect::{Kind as FieldKind, MessageDescriptor};
use serde_json::{Map, Value};
use threeport::json::Violation;
use threeport::v1::ObjectMeta;

use super::admit::Input;

/// Splits `spec.values."a.b"` or `meta.labels["a.b"]` at its dots; quoted parts keep theirs.
pub fn segments(path: &str) -> Option<Vec<String>> {
    let (mut segments, mut rest) = (Vec::new(), path);
    loop {
        let (segment, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            (&quoted[..end], &quoted[end + 1..])
        } else {
            rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
        };
        if segment.is_empty() {
            return None;
        }
        segments.push(segment.to_owned());
        rest = after;
        while let Some(bracket) = rest.strip_prefix("[\"") {
            let end = bracket.find("\"]")?;
            segments.push(bracket[..end].to_owned());
            rest = &bracket[end + 2..];
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(segments),
            None => return None,
        }
    }
}

/// Puts the fields that `mask` names into the stored object; `stored` is its spec as its user sees it. An empty mask names
/// what the request has set.
pub fn update(input: &mut Input, mask: &[String], meta: &ObjectMeta, mut stored: Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (mut labels, mut annotations) = (meta.labels.clone(), meta.annotations.clone());
    let mut shared_with = meta.shared_with.clone();
    let populated = populated(input);
    for path in if mask.is_empty() { &populated } else { mask } {
        let parts = segments(path).unwrap_or_default();
        match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["spec"] => stored = input.spec.clone(),
            ["spec", fields @ ..] => match misnamed(input.kind.spec(), fields).filter(|_| !mask.is_empty()) {
                Some(why) => violations.push(Violation::new("update_mask", format!("`{path}`: {why}"))),
                None => copy(&input.spec, &mut stored, fields),
            },
            ["meta", "labels"] => labels.clone_from(&input.meta.labels),
            ["meta", "labels", key] => put(&mut labels, key, &input.meta.labels),
            ["meta", "annotations"] => annotations.clone_from(&input.meta.annotations),
            ["meta", "annotations", key] => put(&mut annotations, key, &input.meta.annotations),
            ["meta", "shared_with"] => shared_with.clone_from(&input.meta.shared_with),
            _ => violations.push(Violation::new(
                "update_mask",
                format!(
                    "`{path}` can't be updated; name fields such as `spec.paused`, `meta.labels` or `meta.labels.tier`"
                ),
            )),
        }
    }
    input.spec = stored;
    input.meta.labels = labels;
    input.meta.annotations = annotations;
    input.meta.shared_with = shared_with;
    violations
}

/// Why a path leads to no field of the spec.
fn misnamed(spec: Option<MessageDescriptor>, fields: &[&str]) -> Option<String> {
    let (mut inside, mut rest) = (spec, fields);
    while let Some((name, after)) = rest.split_first() {
        let Some(message) = inside else {
            return Some(format!("there is no `{name}`: what it would be in has no fields"));
        };
        // A Struct holds whatever one likes.
        if message.package_name() == "google.protobuf" {
            return None;
        }
        let Some(field) = message.get_field_by_name(name) else {
            let known = message.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>();
            return Some(format!("unknown field; {} has {}", message.name(), known.join(", ")));
        };
        if field.is_list() && !after.is_empty() {
            return Some(format!("`{name}` is a list; name it whole"));
        }
        (inside, rest) = match field.kind() {
            FieldKind::Message(entry) if field.is_map() => {
                (message_of(&entry.map_entry_value_field().kind()), after.get(1..).unwrap_or_default())
            }
            kind => (message_of(&kind), after),
        };
    }
    None
}

fn message_of(kind: &FieldKind) -> Option<MessageDescriptor> {
    kind.as_message().cloned()
}

fn populated(input: &Input) -> Vec<String> {
    let spec = input.spec.as_object().into_iter().flat_map(Map::keys).map(|field| format!("spec.\"{field}\""));
    let meta = [
        ("meta.labels", input.meta.labels.is_empty()),
        ("meta.annotations", input.meta.annotations.is_empty()),
        ("meta.shared_with", input.meta.shared_with.is_empty()),
    ];
    spec.chain(meta.into_iter().filter(|(_, is_empty)| !is_empty).map(|(path, _)| path.to_owned())).collect()
}

fn put(
    entries: &mut std::collections::HashMap<String, String>,
    key: &str,
    from: &std::collections::HashMap<String, String>,
) {
    match from.get(key) {
        Some(value) => entries.insert(key.to_owned(), value.clone()),
        None => entries.remove(key),
    };
}

/// Copies one field; one that is absent in `from` is removed.
fn copy(from: &Value, to: &mut Value, fields: &[&str]) {
    let Some((field, rest)) = fields.split_first() else { return };
    if !to.is_object() {
        *to = Value::Object(Map::new());
    }
    let Value::Object(target) = to else { return };
    match (from.get(field), rest.is_empty()) {
        (Some(value), true) => {
            target.insert((*field).to_owned(), value.clone());
        }
        (None, true) => {
            target.remove(*field);
        }
        (value, false) => {
            let nothing = Value::Object(Map::new());
            if value.is_some() || target.contains_key(*field) {
                let inner = target.entry((*field).to_owned()).or_insert_with(|| nothing.clone());
                copy(value.unwrap_or(&nothing), inner, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_with_dots_are_quoted() {
        assert_eq!(segments("meta.labels[\"a.b/c\"]").unwrap(), ["meta", "labels", "a.b/c"]);
        assert_eq!(segments("spec.values.\"a.b\".c").unwrap(), ["spec", "values", "a.b", "c"]);
        for wrong in ["", "spec.", ".spec", "spec..a", "spec[0]", "spec.\"a"] {
            assert_eq!(segments(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_leads_to_a_field() {
        let spec = threeport::registry::Registry::built_in().get("workload").unwrap().spec();
        for right in [vec!["image"], vec!["env", "A"], vec!["resources", "cpu"], vec!["instances"]] {
            assert_eq!(misnamed(spec.clone(), &right), None, "{right:?}");
        }
        for wrong in [vec!["nothing"], vec!["image", "tag"], vec!["env", "A", "b"], vec!["instances", "0"]] {
            assert!(misnamed(spec.clone(), &wrong).is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_named_field_changes_and_an_absent_one_goes() {
        let mut stored = json!({ "values": { "replicas": 1, "host": "a" }, "paused": true });
        let request = json!({ "values": { "replicas": 5 } });
        copy(&request, &mut stored, &["values", "replicas"]);
        copy(&request, &mut stored, &["paused"]);
        assert_eq!(stored, json!({ "values": { "replicas": 5, "host": "a" } }));
    }
}
