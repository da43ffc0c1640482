//! Conditions of objects whose type is not known.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use threeport::json::{from_json, from_struct};
use threeport::v1::{Condition, Object};

/// Reads conditions from an erased object.
pub trait Conditions {
    /// The condition of this type.
    fn condition(&self, r#type: &str) -> Option<Condition>;

    /// Whether the condition `Ready` is True.
    fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|ready| ready.status == "True")
    }
}

impl Conditions for Object {
    fn condition(&self, r#type: &str) -> Option<Condition> {
        let Some(Kind::ListValue(list)) = &self.status.as_ref()?.fields.get("conditions")?.kind else { return None };
        let found = list.values.iter().filter_map(as_struct).find(|fields| text(fields, "type") == Some(r#type))?;
        from_json(from_struct(found.clone())).ok()
    }
}

fn as_struct(value: &Value) -> Option<&Struct> {
    match &value.kind {
        Some(Kind::StructValue(fields)) => Some(fields),
        _ => None,
    }
}

fn text<'a>(fields: &'a Struct, name: &str) -> Option<&'a str> {
    match &fields.fields.get(name)?.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::json::to_struct;

    use super::*;

    #[test]
    fn conditions_are_found_by_type() {
        let conditions = json!([{ "type": "Applied", "status": "True" }, { "type": "Ready", "status": "False", "reason": "Waiting" }]);
        let object = Object { status: Some(to_struct(json!({ "conditions": conditions }))), ..Object::default() };
        assert_eq!(object.condition("Ready").unwrap().reason, "Waiting");
        assert!(!object.is_ready() && object.condition("Contended").is_none());
    }
}
