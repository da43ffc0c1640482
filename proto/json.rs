//! Canonical protobuf JSON with proto field names, and checks that report every violation with its path.

use std::collections::HashMap;

use prost::{Message, Name};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::value::Kind as StructKind;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{bounded, spelling};

mod check;

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `spec.instances[0].name`.
    pub field: String,
    /// What is wrong and what to do: lower case, no full stop.
    pub description: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same, seen from further out.
    #[must_use]
    pub fn below(mut self, parent: &str) -> Self {
        self.field = join(parent, &self.field);
        self
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// `INVALID_ARGUMENT` that lists the violations, in the message and as `BadRequest` details, as many as headers carry.
pub fn invalid(violations: &[Violation]) -> Status {
    let texts = violations.iter().map(ToString::to_string).collect::<Vec<_>>();
    let kept = bounded::violations(violations);
    let details = kept.iter().map(|v| FieldViolation::new(&v.field, &v.description)).collect::<Vec<_>>();
    let mut details = ErrorDetails::with_bad_request(details);
    details.set_error_info("Invalid", "threeport.io", HashMap::new());
    Status::with_error_details(Code::InvalidArgument, bounded::listed(&texts, "; "), details)
}

/// A generated message as JSON. Unset fields are left out.
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic.transcode_from(message).expect("generated code matches its descriptor");
    dynamic_to_json(&dynamic)
}

/// A generated message from JSON that may hold unknown fields (it was stored by a newer version).
pub fn from_json<M: Message + Name + Default>(json: Value) -> Result<M, serde_json::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor::<M>(), json, &options)?;
    Ok(dynamic.transcode_to().expect("generated code matches its descriptor"))
}

/// The descriptor of a generated message.
pub fn descriptor<M: Name>() -> MessageDescriptor {
    crate::POOL.get_message_by_name(&M::full_name()).expect("every generated message is described")
}

/// A message as JSON; requests are checked by [`crate::codec::check_request`] for what has no such form.
pub fn dynamic_to_json(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("requests, and the descriptors of kinds, are checked for what has no JSON form")
}

/// Reads JSON that may hold unknown fields.
pub fn dynamic_from_json(descriptor: MessageDescriptor, json: Value) -> Result<DynamicMessage, serde_json::Error> {
    DynamicMessage::deserialize_with_options(descriptor, json, &DeserializeOptions::new().deny_unknown_fields(false))
}

/// Reads JSON strictly: every unknown field, wrong type and NUL is a violation below `path`. Numbers may come as texts, as
/// protobuf's JSON has it.
pub fn parse(descriptor: &MessageDescriptor, json: &Value, path: &str) -> Result<DynamicMessage, Vec<Violation>> {
    check::Check::new(check::Numbers::AlsoAsTexts).parse(descriptor, json, path)
}

/// The same for what a person wrote: a text is no number there, but for 64-bit integers, which are printed as texts.
pub fn parse_document(
    descriptor: &MessageDescriptor,
    json: &Value,
    path: &str,
) -> Result<DynamicMessage, Vec<Violation>> {
    check::Check::new(check::Numbers::AsNumbers).parse(descriptor, json, path)
}

/// Fails with the path of every NUL in a string: Postgres can't store it.
pub fn check_nul(json: &Value, path: &str, violations: &mut Vec<Violation>) {
    match json {
        Value::String(text) if text.contains('\0') => {
            violations.push(Violation::new(path, "must not contain a NUL character"));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_nul(item, &format!("{path}[{index}]"), violations);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.contains('\0') {
                    violations.push(Violation::new(path, "must not contain a NUL character"));
                }
                check_nul(value, &join(path, name), violations);
            }
        }
        _ => {}
    }
}

/// `a.b`, or `b` below nothing.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What is said of a name that is no field of a message.
pub fn unknown_field(descriptor: &MessageDescriptor, name: &str) -> String {
    let known = descriptor.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>();
    match spelling::closest(name, &known) {
        Some(near) => format!("unknown field; did you mean `{near}`?"),
        None => format!("unknown field; {} has {}", descriptor.name(), known.join(", ")),
    }
}

/// JSON as a `google.protobuf.Struct`; anything but an object gives an empty one.
pub fn to_struct(json: Value) -> prost_types::Struct {
    let Value::Object(fields) = json else { return prost_types::Struct::default() };
    prost_types::Struct { fields: fields.into_iter().map(|(name, value)| (name, to_struct_value(value))).collect() }
}

fn to_struct_value(json: Value) -> prost_types::Value {
    let kind = match json {
        Value::Null => StructKind::NullValue(0),
        Value::Bool(value) => StructKind::BoolValue(value),
        Value::Number(value) => StructKind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => StructKind::StringValue(value),
        Value::Array(items) => {
            StructKind::ListValue(prost_types::ListValue { values: items.into_iter().map(to_struct_value).collect() })
        }
        object @ Value::Object(_) => StructKind::StructValue(to_struct(object)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// A `google.protobuf.Struct` as JSON; whole numbers become integers.
pub fn from_struct(fields: prost_types::Struct) -> Value {
    Value::Object(fields.fields.into_iter().map(|(name, value)| (name, from_struct_value(value))).collect())
}

/// A `google.protobuf.Value` as JSON; whole numbers become integers.
pub fn from_struct_value(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(StructKind::NullValue(_)) => Value::Null,
        Some(StructKind::BoolValue(value)) => Value::Bool(value),
        Some(StructKind::NumberValue(value)) => number(value),
        Some(StructKind::StringValue(value)) => Value::String(value),
        Some(StructKind::ListValue(list)) => Value::Array(list.values.into_iter().map(from_struct_value).collect()),
        Some(StructKind::StructValue(fields)) => from_struct(fields),
    }
}

/// 2^53: beyond it a double no longer holds every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The integer that a double holds exactly: 3.0 and 3 are one number in JSON.
#[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
pub fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn number(value: f64) -> Value {
    whole(value).map_or_else(|| Value::from(value), Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::v1::WorkloadSpec;

    #[test]
    fn every_violation_is_reported_with_its_path() {
        let spec = json!({ "imge": "nginx", "replicas": "many", "instances": [{ "name": "a" }, { "nam": 3, "paused": "yes" }] });
        let violations = parse(&descriptor::<WorkloadSpec>(), &spec, "spec").unwrap_err();
        let mut fields = violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>();
        fields.sort_unstable();
        assert_eq!(fields, ["spec.imge", "spec.instances[1].nam", "spec.instances[1].paused", "spec.replicas"]);
        let misspelt = violations.iter().find(|v| v.field == "spec.imge").unwrap();
        assert_eq!(misspelt.description, "unknown field; did you mean `image`?");
        let told = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            told.contains("spec.replicas: must be a whole number from 0 to 4294967295; this is a string"),
            "{told}"
        );
        assert!(told.contains("spec.instances[1].paused: must be true or false; this is a string"), "{told}");
    }

    #[test]
    fn zero_replicas_stay_zero() {
        let spec = json!({ "image": "nginx", "replicas": 0 });
        let message = parse(&descriptor::<WorkloadSpec>(), &spec, "spec").unwrap();
        assert_eq!(dynamic_to_json(&message), spec);
    }

    #[test]
    fn nul_is_refused() {
        let spec = json!({ "image": "ngi\0nx", "env": { "A": "b\0" } });
        assert_eq!(parse(&descriptor::<WorkloadSpec>(), &spec, "spec").unwrap_err().len(), 2);
    }

    #[test]
    fn structs_keep_integers_exact() {
        let json = json!({ "replicas": 3, "share": 0.5, "id": "9007199254740993", "none": null, "list": [1, "a", {}] });
        assert_eq!(from_struct(to_struct(json.clone())), json);
    }
}
