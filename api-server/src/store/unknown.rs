//! Stored fields that a newer server wrote and this one doesn't know: they survive a write of the rest.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

/// Carries over stored fields that this server's descriptors don't know. In a map the entries of one key are the same, in a
/// list the elements of one name, or without names those whose known part is as it was.
pub fn keep_unknown(descriptor: &MessageDescriptor, stored: &Value, spec: &mut Value) {
    let (Value::Object(stored), Value::Object(fields)) = (stored, spec) else { return };
    for (name, value) in stored {
        let Some(field) = descriptor.get_field_by_name(name) else {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
            continue;
        };
        let (Some(message), Some(inner)) = (message_in(&field), fields.get_mut(name)) else { continue };
        match (value, inner) {
            (Value::Object(before), Value::Object(now)) if field.is_map() => {
                for (key, value) in now {
                    keep_unknown(&message, before.get(key).unwrap_or(&Value::Null), value);
                }
            }
            (Value::Array(before), Value::Array(now)) => {
                let mut before = before.iter().collect::<Vec<_>>();
                for item in now {
                    let same = before.iter().position(|other| is_same(&message, other, item));
                    let same = same.map(|place| before.remove(place));
                    keep_unknown(&message, same.unwrap_or(&Value::Null), item);
                }
            }
            (value, inner) => keep_unknown(&message, value, inner),
        }
    }
}

/// Whether an element of a list is the stored one.
fn is_same(message: &MessageDescriptor, stored: &Value, item: &Value) -> bool {
    if item["name"].is_string() {
        return stored["name"] == item["name"];
    }
    let mut with_unknown = item.clone();
    keep_unknown(message, stored, &mut with_unknown);
    with_unknown == *stored
}

/// The message that a field, or each of its elements, holds; none for those with a JSON form of their own.
fn message_in(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    match kind {
        Kind::Message(message) if message.package_name() != "google.protobuf" => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::json::descriptor;
    use threeport::v1::WorkloadSpec;

    use super::*;

    #[test]
    fn unknown_fields_stay_with_what_they_belong_to() {
        let stored = json!({
            "image": "nginx:1", "shiny": true, "resources": { "glow": 1 },
            "instances": [{ "name": "a", "glow": 2 }, { "name": "gone", "glow": 3 }],
            "inputs": [{ "name": "size", "targets": [{ "path": "a", "glow": 4 }] }],
            "volumes": [{ "path": "/a", "glow": 5 }, { "path": "/b", "glow": 6 }],
        });
        let mut spec = json!({
            "image": "nginx:2", "resources": {}, "instances": [{ "name": "new" }, { "name": "a", "paused": true }],
            "inputs": [{ "name": "size", "targets": [{ "path": "b" }] }],
            "volumes": [{ "path": "/b" }, { "path": "/c" }],
        });
        keep_unknown(&descriptor::<WorkloadSpec>(), &stored, &mut spec);
        let expected = json!({
            "image": "nginx:2", "shiny": true, "resources": { "glow": 1 },
            "instances": [{ "name": "new" }, { "name": "a", "paused": true, "glow": 2 }],
            "inputs": [{ "name": "size", "targets": [{ "path": "b" }] }],
            "volumes": [{ "path": "/b", "glow": 6 }, { "path": "/c" }],
        });
        assert_eq!(spec, expected);
    }
}
