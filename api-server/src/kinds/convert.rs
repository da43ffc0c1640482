//! Objects between their own message (typed on the wire, dynamic here) and the erased form that the store speaks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, Kind as FieldKind, MessageDescriptor, Value};
use threeport::SENSITIVE;
use threeport::json::{dynamic_from_json, dynamic_to_json, from_struct, to_struct};
use threeport::kind::{FieldPath, Kind, Step};
use threeport::v1::{self, ObjectMeta};

use super::descriptors::part;
use crate::error::{Error, Result};

/// The erased form of a message of the kind. The status is ours to write and is left behind.
pub fn to_erased(kind: &Kind, message: &DynamicMessage) -> Result<v1::Object> {
    let meta = match message.get_field_by_name("meta").as_deref() {
        Some(Value::Message(meta)) if message.has_field_by_name("meta") => meta.transcode_to::<ObjectMeta>(),
        _ => Ok(ObjectMeta::default()),
    };
    let meta = meta.map_err(|error| Error::invalid("meta", error.to_string()))?;
    let spec = match message.get_field_by_name("spec").as_deref() {
        Some(Value::Message(spec)) if message.has_field_by_name("spec") => {
            let mut json = dynamic_to_json(spec);
            decode_placeholders(kind, &mut json);
            Some(to_struct(json))
        }
        _ => None,
    };
    Ok(v1::Object { kind: kind.name.clone(), meta: Some(meta), spec, status: None })
}

/// The kind's own message of an erased object.
pub fn from_erased(kind: &Kind, object: v1::Object) -> Result<DynamicMessage> {
    let unreadable = |error: String| Error::Corrupt(format!("{}: {error}", kind.name));
    let mut message = DynamicMessage::new(kind.message.clone());
    if let (Some(meta), Some(descriptor)) = (object.meta, part(&kind.message, "meta")) {
        let mut dynamic = DynamicMessage::new(descriptor);
        dynamic.transcode_from(&meta).map_err(|error| unreadable(error.to_string()))?;
        message.set_field_by_name("meta", Value::Message(dynamic));
    }
    if let (Some(spec), Some(descriptor)) = (object.spec, kind.spec()) {
        let mut json = from_struct(spec);
        encode_placeholders(kind, &mut json);
        let spec = dynamic_from_json(descriptor, json).map_err(|error| unreadable(error.to_string()))?;
        message.set_field_by_name("spec", Value::Message(spec));
    }
    if let (Some(status), Some(descriptor)) = (object.status, kind.status()) {
        let status =
            dynamic_from_json(descriptor, from_struct(status)).map_err(|error| unreadable(error.to_string()))?;
        message.set_field_by_name("status", Value::Message(status));
    }
    Ok(message)
}

/// In canonical JSON bytes are base64, which `(sensitive)` is not: where a spec becomes a message it stands encoded.
pub fn encode_placeholders(kind: &Kind, spec: &mut serde_json::Value) {
    for path in secret_bytes(kind) {
        path.visit_mut(spec, "", &mut |_, value| swap(value, SENSITIVE, &STANDARD.encode(SENSITIVE)));
    }
}

/// Undoes [`encode_placeholders`].
pub fn decode_placeholders(kind: &Kind, spec: &mut serde_json::Value) {
    for path in secret_bytes(kind) {
        path.visit_mut(spec, "", &mut |_, value| swap(value, &STANDARD.encode(SENSITIVE), SENSITIVE));
    }
}

fn secret_bytes(kind: &Kind) -> impl Iterator<Item = &FieldPath> {
    let spec = kind.spec();
    kind.sensitive.iter().filter(move |path| spec.as_ref().is_some_and(|spec| is_bytes(spec, &path.0)))
}

fn is_bytes(message: &MessageDescriptor, path: &[Step]) -> bool {
    let mut inside = Some(message.clone());
    let mut leaf = None;
    for step in path {
        let Step::Field(name) = step else { continue };
        let Some(field) = inside.as_ref().and_then(|message| message.get_field_by_name(name)) else { return false };
        let kind = match field.kind() {
            FieldKind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        inside = match &kind {
            FieldKind::Message(message) => Some(message.clone()),
            _ => None,
        };
        leaf = Some(kind);
    }
    matches!(leaf, Some(FieldKind::Bytes))
}

fn swap(value: &mut serde_json::Value, from: &str, to: &str) {
    if value.as_str() == Some(from) {
        *value = serde_json::Value::from(to);
    }
}
