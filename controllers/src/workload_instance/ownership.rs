//! Who owns which field, read from `managedFields` (KEP-555). Pure.

use serde_json::Value;
use threeport::render::FieldPath;
use threeport::render::path::Step as FieldStep;

use crate::resource::{managed_fields, owned_fields, text};

/// A field of ours that is ours no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `spec.template.spec.containers[name=web].image`.
    pub path: String,
    /// Who has it now; none if the field is gone, whose author is unknown.
    pub manager: Option<String>,
}

/// Not recorded in `managedFields`, or not ours to set.
const UNOWNED: &[&str] = &["apiVersion", "kind", "status"];
const UNOWNED_METADATA: &[&str] =
    &["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"];

enum Segment<'a> {
    Field(&'a str),
    Element(&'a Value),
}

/// The fields of `desired` that `manager` doesn't own in `live`.
pub fn lost(desired: &Value, live: &Value, manager: &str) -> Vec<Lost> {
    let nothing = Value::Null;
    let owned = owned_fields(live, manager).unwrap_or(&nothing);
    let mut found = Vec::new();
    walk(desired, owned, &mut Vec::new(), &mut |path| {
        found.push(Lost { path: display(path), manager: taker(path, live, manager) });
    });
    found
}

fn walk<'a>(desired: &'a Value, owned: &Value, path: &mut Vec<Segment<'a>>, lost: &mut dyn FnMut(&[Segment<'a>])) {
    match desired {
        Value::Object(fields) => {
            for (name, value) in fields {
                if value.is_null() || is_unowned(path, name) {
                    continue;
                }
                path.push(Segment::Field(name));
                step(value, owned.get(format!("f:{name}")), path, lost);
                path.pop();
            }
        }
        Value::Array(items) => {
            for item in items {
                path.push(Segment::Element(item));
                step(item, element(owned, item), path, lost);
                path.pop();
            }
        }
        _ => {}
    }
}

fn step<'a>(
    value: &'a Value,
    owned: Option<&Value>,
    path: &mut Vec<Segment<'a>>,
    lost: &mut dyn FnMut(&[Segment<'a>]),
) {
    match owned {
        // Not recorded itself, but perhaps what it holds is: a map that others share.
        None if value.as_object().is_some_and(|fields| !fields.is_empty()) => walk(value, &Value::Null, path, lost),
        None => lost(path),
        Some(owned) if owned.as_object().is_some_and(serde_json::Map::is_empty) => {}
        Some(owned) => walk(value, owned, path, lost),
    }
}

fn is_unowned(path: &[Segment], name: &str) -> bool {
    match path {
        [] => UNOWNED.contains(&name),
        [Segment::Field("metadata")] => UNOWNED_METADATA.contains(&name),
        _ => false,
    }
}

/// The entry of a list element: by its keys (`k:{"name":"web"}`), where defaults may have been added, or by value.
fn element<'a>(owned: &'a Value, item: &Value) -> Option<&'a Value> {
    let by_value = format!("v:{item}");
    owned.as_object()?.iter().find(|(name, _)| **name == by_value || has_keys(name, item)).map(|(_, entry)| entry)
}

fn has_keys(name: &str, item: &Value) -> bool {
    let Some(Ok(Value::Object(keys))) = name.strip_prefix("k:").map(serde_json::from_str::<Value>) else {
        return false;
    };
    let is_match = |(key, value): (&String, &Value)| item.get(key).is_none_or(|given| given == value);
    keys.iter().all(is_match) && keys.keys().any(|key| item.get(key).is_some())
}

/// The manager other than ours that has the field; the one that wrote last, if several have.
fn taker(path: &[Segment], live: &Value, manager: &str) -> Option<String> {
    let others = managed_fields(live).iter().filter(|entry| entry["manager"] != manager);
    let having = others.filter(|entry| has(&entry["fieldsV1"], path));
    having.max_by_key(|entry| text(&entry["time"]).to_owned()).map(|entry| text(&entry["manager"]).to_owned())
}

fn has(owned: &Value, path: &[Segment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let below = match first {
        Segment::Field(name) => owned.get(format!("f:{name}")),
        Segment::Element(item) => element(owned, item),
    };
    below.is_some_and(|below| below.as_object().is_some_and(serde_json::Map::is_empty) || has(below, rest))
}

fn display(path: &[Segment]) -> String {
    path.iter().fold(String::new(), |shown, segment| match segment {
        Segment::Field(name) if name.contains(['.', '/']) => format!("{shown}[{name:?}]"),
        Segment::Field(name) if shown.is_empty() => (*name).to_owned(),
        Segment::Field(name) => format!("{shown}.{name}"),
        Segment::Element(item) => match item.get("name").and_then(Value::as_str) {
            Some(name) => format!("{shown}[name={name}]"),
            None => format!("{shown}[{item}]"),
        },
    })
}

/// Who has a yielded field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    Nobody,
    /// We alone.
    Ours,
    /// At least one other manager.
    Others,
}

/// Who has the field at a path in a live object.
pub fn holding(live: &Value, path: &FieldPath, manager: &str) -> Holding {
    let entries = || managed_fields(live).iter().filter(|entry| has_step(&entry["fieldsV1"], path.steps()));
    if entries().any(|entry| entry["manager"] != manager) {
        return Holding::Others;
    }
    if entries().next().is_some() { Holding::Ours } else { Holding::Nobody }
}

fn has_step(owned: &Value, steps: &[FieldStep]) -> bool {
    let Some((first, rest)) = steps.split_first() else { return true };
    let is_leaf = |below: &Value| below.as_object().is_some_and(serde_json::Map::is_empty);
    let go_on = |below: &Value| is_leaf(below) || has_step(below, rest);
    let entries = || owned.as_object().into_iter().flatten();
    match first {
        FieldStep::Key(name) => owned.get(format!("f:{name}")).is_some_and(go_on),
        FieldStep::Match { key, value } => {
            let item = serde_json::json!({ key: value });
            entries().any(|(name, below)| has_keys(name, &item) && go_on(below))
        }
        FieldStep::Index(_) | FieldStep::Each => entries().any(|(name, below)| name.starts_with("k:") && go_on(below)),
    }
}

/// Sets what is yielded as it must be applied: our own fields with their live value, others' not at all.
pub fn resolve_yields(value: &mut Value, yields: &[FieldPath], live: &Value, manager: &str) {
    for path in yields {
        match (holding(live, path, manager), path.get(live).first()) {
            (Holding::Others, _) => path.remove(value),
            (_, Some(kept)) => {
                // A path that fits the live object but not ours has nothing of ours to keep.
                let _ = path.set(value, kept);
            }
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(entries: &Value) -> Value {
        json!({ "metadata": { "managedFields": entries } })
    }

    fn ours(fields: &Value) -> Value {
        json!({ "manager": "threeport-a", "operation": "Apply", "time": "1", "fieldsV1": fields })
    }

    fn theirs(manager: &str, fields: &Value) -> Value {
        json!({ "manager": manager, "operation": "Update", "time": "2", "fieldsV1": fields })
    }

    #[test]
    fn a_taken_field_is_named_with_its_taker() {
        let desired =
            json!({ "apiVersion": "apps/v1", "metadata": { "name": "x" }, "spec": { "replicas": 2, "paused": false } });
        let live = live(&json!([
            ours(&json!({ "f:spec": { "f:paused": {} } })),
            theirs("kubectl-edit", &json!({ "f:spec": { "f:replicas": {} } }))
        ]));
        let lost = lost(&desired, &live, "threeport-a");
        assert_eq!(lost, [Lost { path: "spec.replicas".into(), manager: Some("kubectl-edit".into()) }]);
    }

    #[test]
    fn elements_are_found_by_their_keys_with_defaults_filled_in() {
        let desired = json!({ "spec": { "ports": [{ "port": 80, "name": "web" }], "containers": [{ "name": "a", "image": "i" }] } });
        let fields = json!({ "f:spec": {
            "f:ports": { "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {}, "f:name": {} } },
            "f:containers": { "k:{\"name\":\"a\"}": { ".": {}, "f:name": {} } },
        }});
        let lost = lost(&desired, &live(&json!([ours(&fields)])), "threeport-a");
        assert_eq!(lost, [Lost { path: "spec.containers[name=a].image".into(), manager: None }]);
    }

    #[test]
    fn atomic_values_and_sets_count_as_a_whole() {
        let desired = json!({ "metadata": { "finalizers": ["a.io/b"] }, "spec": { "args": ["a", "b"], "selector": { "matchLabels": { "a": "b" } } } });
        let fields = json!({ "f:metadata": { "f:finalizers": { ".": {}, "v:\"a.io/b\"": {} } }, "f:spec": { "f:args": {}, "f:selector": {} } });
        assert_eq!(lost(&desired, &live(&json!([ours(&fields)])), "threeport-a"), []);
    }

    #[test]
    fn a_yielded_field_keeps_its_live_value_until_another_manager_has_it() {
        let yields = ["spec.replicas".parse::<FieldPath>().unwrap()];
        let mut live = live(&json!([ours(&json!({ "f:spec": { "f:replicas": {} } }))]));
        live["spec"]["replicas"] = json!(3);
        let mut value = json!({ "spec": { "replicas": 1 } });
        resolve_yields(&mut value, &yields, &live, "threeport-a");
        assert_eq!(value["spec"]["replicas"], 3);
        live["metadata"]["managedFields"] = json!([theirs("hpa", &json!({ "f:spec": { "f:replicas": {} } }))]);
        resolve_yields(&mut value, &yields, &live, "threeport-a");
        assert_eq!(value, json!({ "spec": {} }));
    }
}
