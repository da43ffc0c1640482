//! Messages as JSON schemas, in proto3's JSON mapping with the names of the .proto files.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};
use threeport::comments;
use threeport::kind::is_sensitive;

/// The schemas of all messages that were referred to.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    pub fn all(self) -> BTreeMap<String, Value> {
        self.0
    }

    /// A reference to the message's schema, which is made if it isn't there yet; well-known types stand for themselves.
    pub fn reference(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if let Some(schema) = well_known(name) {
            return schema;
        }
        if !self.0.contains_key(name) {
            // First, for a message may hold itself.
            self.0.insert(name.to_owned(), Value::Null);
            let properties = message.fields().map(|field| (field.name().to_owned(), self.of_described(&field)));
            let properties = properties.collect::<BTreeMap<_, _>>();
            let schema =
                json!({ "type": "object", "description": comments::of_message(message), "properties": properties });
            self.0.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// The schema of a field's value.
    pub fn of_field(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let values = self.of_kind(&entry.map_entry_value_field().kind());
                json!({ "type": "object", "additionalProperties": values })
            }
            kind if field.is_list() => json!({ "type": "array", "items": self.of_kind(&kind) }),
            kind => self.of_kind(&kind),
        }
    }

    fn of_described(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = self.of_field(field);
        schema["description"] = comments::of_field(field).into();
        if is_sensitive(field) {
            schema["format"] = "password".into();
        }
        schema
    }

    fn of_kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Message(message) => self.reference(message),
            Kind::Enum(names) => {
                json!({ "type": "string", "enum": names.values().map(|value| value.name().to_owned()).collect::<Vec<_>>() })
            }
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Float | Kind::Double => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            // Written as text, for JSON's numbers lose digits; read as either.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
        }
    }
}

fn well_known(name: &str) -> Option<Value> {
    Some(match name {
        "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "google.protobuf.Duration" => json!({ "type": "string", "examples": ["3.5s"] }),
        "google.protobuf.FieldMask" => json!({ "type": "string", "examples": ["spec.image,spec.replicas"] }),
        "google.protobuf.Struct" => json!({ "type": "object" }),
        "google.protobuf.Value" => json!({}),
        "google.protobuf.ListValue" => json!({ "type": "array" }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use threeport::json::descriptor;
    use threeport::v1;

    use super::*;

    #[test]
    fn fields_are_described_as_json_has_them() {
        let mut schemas = Schemas::default();
        schemas.reference(&descriptor::<v1::Attachment>());
        let all = schemas.all();
        let fields = &all["threeport.v1.AttachmentSpec"]["properties"];
        assert_eq!(fields["secret_data"]["additionalProperties"]["type"], "string");
        assert_eq!(fields["secret_data"]["format"], "password");
        assert_eq!(fields["manifest"]["type"], "string");
        let meta = &all["threeport.v1.ObjectMeta"]["properties"];
        assert_eq!(meta["generation"]["format"], "int64");
        assert_eq!(meta["created_at"]["format"], "date-time");
        assert!(meta["name"]["description"].as_str().is_some_and(|text| !text.is_empty()));
    }
}
