//! Threeport's config format: one key in Pascal case over Pascal-case fields, turned into native documents.
//!
//! ```yaml
//! Workload:
//!   Name: web
//!   YAMLDocument: web.yaml
//!   KubernetesRuntimeInstance: {Name: eu}
//! ```
//!
//! [`TABLE`] says what each key stands for.

mod table;

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use threeport::json::{Violation, join};
use threeport::spelling::closest;

use self::table::{Entry, Field, Native, TABLE};
use super::VERSION;
use super::node::Places;

/// A native document, and where its parts stand in the one that it was made of.
#[derive(Debug)]
pub struct Translated {
    pub fields: Map<String, Value>,
    pub places: Places,
}

/// Whether a document is one of this format: a native one has its keys in lower case.
pub fn is_config(fields: &Map<String, Value>) -> bool {
    !fields.is_empty() && fields.keys().all(|key| key.starts_with(|first: char| first.is_ascii_uppercase()))
}

/// The native documents that a document stands for, or all that is wrong with it.
pub fn translate(fields: &Map<String, Value>, places: &Places) -> Result<Vec<Translated>, Vec<Violation>> {
    let mut wrong = Vec::new();
    let mut translated = Vec::new();
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            wrong.push(Violation::new(key, "a document has one key; set the next apart by `---`"));
            continue;
        }
        match (entry(key, &mut wrong), value.as_object()) {
            (Some(entry), Some(given)) => translated = of_entry(entry, given, places, &mut wrong),
            (Some(_), None) => wrong.push(Violation::new(key, "must be a map of fields")),
            (None, _) => {}
        }
    }
    if wrong.is_empty() { Ok(translated) } else { Err(wrong) }
}

fn entry(key: &str, wrong: &mut Vec<Violation>) -> Option<&'static Entry> {
    let found = TABLE.iter().find(|entry| entry.key == key);
    let advice = match found {
        Some(entry) if entry.natives.is_empty() => "has no counterpart yet".to_owned(),
        Some(entry) => return Some(entry),
        None => unknown(key, TABLE.iter().map(|entry| entry.key)),
    };
    wrong.push(Violation::new(key, advice));
    None
}

fn unknown(key: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known = known.map(str::to_owned).collect::<Vec<_>>();
    let same = known.iter().find(|known| known.eq_ignore_ascii_case(key)).map(String::as_str);
    match same.or_else(|| closest(key, &known)) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => format!("unknown key; there are {}", known.join(", ")),
    }
}

fn of_entry(entry: &Entry, given: &Map<String, Value>, places: &Places, wrong: &mut Vec<Violation>) -> Vec<Translated> {
    let known = || entry.natives.iter().flat_map(|native| native.fields).map(|field| field.0);
    for name in given.keys().filter(|name| !known().any(|known| known == name.as_str())) {
        let advice = if entry.later.contains(&name.as_str()) {
            "has no counterpart yet".to_owned()
        } else {
            unknown(name, known().chain(entry.later.iter().copied()))
        };
        wrong.push(Violation::new(join(entry.key, name), advice));
    }
    entry.natives.iter().map(|native| of_native(entry.key, native, given, places, wrong)).collect()
}

fn of_native(
    key: &str,
    native: &Native,
    given: &Map<String, Value>,
    places: &Places,
    wrong: &mut Vec<Violation>,
) -> Translated {
    let mut document = json!({ "version": VERSION, "kind": native.kind, "spec": {} });
    let mut moved = Places::new(places.find(key));
    let mut taken = HashMap::new();
    for Field(name, path, convert) in native.fields {
        let Some(value) = given.get(*name).filter(|value| !value.is_null()) else { continue };
        let place = join(key, name);
        if let Some(other) = taken.insert(path, name) {
            wrong.push(Violation::new(&place, format!("stands for the same as `{other}`; keep one of them")));
        }
        moved.note(path, places.find(&place));
        match convert(value) {
            Ok(value) => match path.strip_prefix("spec.") {
                Some(field) => document["spec"][field] = value,
                None => document[*path] = value,
            },
            // Two documents made of one key may read the same field.
            Err(message) if wrong.iter().all(|told| told.field != place) => wrong.push(Violation::new(place, message)),
            Err(_) => {}
        }
    }
    let fields = document.as_object().cloned().unwrap_or_default();
    Translated { fields, places: moved }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &Value) -> Vec<String> {
        let fields = json.as_object().unwrap();
        assert!(is_config(fields));
        translate(fields, &Places::default()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_workload_runs_where_it_is_told() {
        let json = json!({ "Workload": {
            "Name": "web", "YAMLDocument": "web.yaml", "KubernetesRuntimeInstance": { "Name": "eu" } } });
        let translated = translate(json.as_object().unwrap(), &Places::default()).unwrap();
        assert_eq!(
            Value::Object(translated[0].fields.clone()),
            json!({ "version": "v1", "kind": "workload", "name": "web", "spec": {
                "manifest": { "file": "web.yaml" }, "instances": [{ "name": "default", "runtime": "eu" }] } })
        );
    }

    #[test]
    fn a_chart_is_a_definition_and_its_instance() {
        let json = json!({ "HelmWorkload": {
            "Name": "info", "Repo": "https://charts.example.com", "Chart": "info", "ChartVersion": "1.0.0",
            "DefinitionValues": "a: 1", "InstanceValuesDocument": "values.yaml" } });
        let translated = translate(json.as_object().unwrap(), &Places::default()).unwrap();
        let specs =
            translated.iter().map(|native| (&native.fields["kind"], &native.fields["spec"])).collect::<Vec<_>>();
        assert_eq!(
            specs,
            [
                (
                    &json!("helm-workload-definition"),
                    &json!({ "repo": "https://charts.example.com", "chart": "info", "chart_version": "1.0.0",
                        "values_document": "a: 1" })
                ),
                (
                    &json!("helm-workload-instance"),
                    &json!({ "definition": "info", "values_document": { "file": "values.yaml" } })
                )
            ]
        );
        let both = json!({ "HelmWorkloadDefinition": { "Values": "a: 1", "ValuesDocument": "values.yaml" } });
        assert_eq!(
            told(&both),
            ["HelmWorkloadDefinition.ValuesDocument: stands for the same as `Values`; keep one of them"]
        );
    }

    #[test]
    fn all_mistakes_are_told_by_their_keys() {
        assert_eq!(
            told(
                &json!({ "Workload": { "Name": 5, "YamlDocument": "x", "Gateway": {}, "KubernetesRuntimeInstance": "eu" } })
            ),
            [
                "Workload.Gateway: has no counterpart yet",
                "Workload.YamlDocument: unknown key; did you mean `YAMLDocument`?",
                "Workload.Name: must be a text; put it in quotes",
                "Workload.KubernetesRuntimeInstance: must be `{Name: …}`"
            ]
        );
        assert_eq!(told(&json!({ "Gateway": {} })), ["Gateway: has no counterpart yet"]);
        assert_eq!(told(&json!({ "Worklod": {} })), ["Worklod: unknown key; did you mean `Workload`?"]);
        assert_eq!(told(&json!({ "Workload": [] })), ["Workload: must be a map of fields"]);
        assert_eq!(
            told(&json!({ "Workload": { "Name": "a" }, "WorkloadDefinition": {} })),
            ["WorkloadDefinition: a document has one key; set the next apart by `---`"]
        );
    }

    #[test]
    fn every_field_leads_to_one_that_its_kind_has() {
        for native in TABLE.iter().flat_map(|entry| entry.natives) {
            let kind = threeport::registry::Registry::built_in().get(native.kind).expect(native.kind);
            for field in native.fields.iter().filter_map(|field| field.1.strip_prefix("spec.")) {
                assert!(kind.spec().unwrap().get_field_by_name(field).is_some(), "{} has no {field}", native.kind);
            }
        }
    }
}
