//! Strict reading of JSON: every violation with its path and what to write.

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{Violation, check_nul, join, unknown_field};
use crate::wanted::{wanted, wanted_of};

/// How numbers may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As protobuf's JSON has it.
    AlsoAsTexts,
    AsNumbers,
}

/// Gathers what is wrong.
pub struct Check {
    numbers: Numbers,
    violations: Vec<Violation>,
}

impl Check {
    pub fn new(numbers: Numbers) -> Self {
        Self { numbers, violations: Vec::new() }
    }

    pub fn parse(
        mut self,
        descriptor: &MessageDescriptor,
        json: &Value,
        path: &str,
    ) -> Result<DynamicMessage, Vec<Violation>> {
        self.message(descriptor, json, path);
        if !self.violations.is_empty() {
            return Err(self.violations);
        }
        read(descriptor, json.clone()).map_err(|error| vec![Violation::new(path, error.to_string())])
    }

    fn refuse(&mut self, path: &str, description: impl Into<String>) {
        self.violations.push(Violation::new(path, description));
    }

    fn message(&mut self, descriptor: &MessageDescriptor, json: &Value, path: &str) {
        let Value::Object(fields) = json else {
            let found = type_of(json);
            return self
                .refuse(path, format!("must be a map with the fields of {}; this is {found}", descriptor.name()));
        };
        for (name, value) in fields {
            let place = join(path, name);
            match descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name)) {
                Some(field) => self.field(&field, value, &place),
                None => self.refuse(&place, unknown_field(descriptor, name)),
            }
        }
    }

    fn field(&mut self, field: &FieldDescriptor, json: &Value, path: &str) {
        if json.is_null() && !is_any_value(&field.kind()) {
            return;
        }
        match (field.kind(), json) {
            (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
                let (keys, values) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                for (key, value) in entries {
                    let place = format!("{path}[{key:?}]");
                    check_nul(&Value::from(key.as_str()), path, &mut self.violations);
                    if keys.kind() != Kind::String {
                        self.leaf(&keys, &Value::from(key.as_str()), &place, Numbers::AlsoAsTexts);
                    }
                    if value.is_null() && !is_any_value(&values.kind()) {
                        self.refuse(&place, told(&values.kind(), value));
                    } else {
                        self.value(&values, value, &place);
                    }
                }
            }
            (_, Value::Array(items)) if field.is_list() => {
                for (index, item) in items.iter().enumerate() {
                    self.value(field, item, &format!("{path}[{index}]"));
                }
            }
            _ if field.is_map() || field.is_list() => {
                self.refuse(path, format!("must be {}; this is {}", wanted(field), type_of(json)));
            }
            _ => self.value(field, json, path),
        }
    }

    /// One value of a field, of a list's or of a map's.
    fn value(&mut self, field: &FieldDescriptor, json: &Value, path: &str) {
        match field.kind() {
            // Well-known types have a JSON form of their own.
            Kind::Message(message) if message.package_name() != "google.protobuf" => self.message(&message, json, path),
            _ => self.leaf(field, json, path, self.numbers),
        }
    }

    fn leaf(&mut self, field: &FieldDescriptor, json: &Value, path: &str, numbers: Numbers) {
        check_nul(json, path, &mut self.violations);
        let kind = field.kind();
        if json.is_string() && numbers == Numbers::AsNumbers && is_plain_number(&kind) {
            return self.refuse(path, told(&kind, json));
        }
        let json_of_field = if field.is_list() { Value::Array(vec![json.clone()]) } else { json.clone() };
        let lone = Value::Object(Map::from_iter([(field.name().to_owned(), json_of_field)]));
        if read(field.parent_message(), lone).is_err() {
            self.refuse(path, told(&kind, json));
        }
    }
}

fn read(descriptor: &MessageDescriptor, json: Value) -> Result<DynamicMessage, serde_json::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor.clone(), json, &options)
}

/// Numbers that are never printed as texts.
fn is_plain_number(kind: &Kind) -> bool {
    use Kind::{Double, Fixed32, Float, Int32, Sfixed32, Sint32, Uint32};
    matches!(kind, Int32 | Sint32 | Sfixed32 | Uint32 | Fixed32 | Float | Double)
}

/// What to write instead; the value itself may be a secret.
fn told(kind: &Kind, json: &Value) -> String {
    let advice =
        if *kind == Kind::String && (json.is_number() || json.is_boolean()) { "; put it in quotes" } else { "" };
    format!("must be {}; this is {}{advice}", wanted_of(kind), type_of(json))
}

fn is_any_value(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(message) if message.full_name() == "google.protobuf.Value")
}

fn type_of(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::json::{descriptor, parse, parse_document};
    use crate::v1::WorkloadSpec;

    #[test]
    fn every_value_is_told_with_what_to_write() {
        let spec = json!({
            "replicas": -1, "port": "http", "command": "run", "env": { "A": 1, "B": [] , "C": "c", "D": null },
            "processes": [], "autoscale": { "max": 5_000_000_000_u64, "cpu": 1.5 }, "image": {},
        });
        let violations = parse(&descriptor::<WorkloadSpec>(), &spec, "spec").unwrap_err();
        let mut told = violations.iter().map(ToString::to_string).collect::<Vec<_>>();
        told.sort_unstable();
        insta::assert_snapshot!(told.join("\n"), @r#"
        spec.autoscale.cpu: must be a whole number from 0 to 4294967295; this is a number
        spec.autoscale.max: must be a whole number from 0 to 4294967295; this is a number
        spec.command: must be a list, each a text; this is a string
        spec.env["A"]: must be a text; this is a number; put it in quotes
        spec.env["B"]: must be a text; this is a list
        spec.env["D"]: must be a text; this is null
        spec.image: must be a text; this is a map
        spec.port: must be a whole number from 0 to 4294967295; this is a string
        spec.processes: must be a map, each value a text; this is a list
        spec.replicas: must be a whole number from 0 to 4294967295; this is a number
        "#);
    }

    #[test]
    fn a_text_is_no_number_in_what_a_person_wrote() {
        let spec = json!({ "port": "80", "instances": [{ "name": "a", "definition_generation": "3" }] });
        assert!(parse(&descriptor::<WorkloadSpec>(), &spec, "spec").is_ok());
        let violations = parse_document(&descriptor::<WorkloadSpec>(), &spec, "spec").unwrap_err();
        assert_eq!(
            violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["spec.port: must be a whole number from 0 to 4294967295; this is a string"]
        );
    }
}
