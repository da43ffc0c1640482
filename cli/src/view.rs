//! An object as JSON, and the cells that tables show of it.

use serde_json::{Value, json};
use threeport::json::{from_struct, to_json};
use threeport::kind::Kind;
use threeport::v1;

use crate::age::since;

/// The whole object: kind, meta, spec and status.
pub fn json(object: &v1::Object) -> Value {
    let mut json = json!({ "kind": object.kind, "meta": object.meta.as_ref().map(to_json) });
    for (name, part) in [("spec", &object.spec), ("status", &object.status)] {
        if let Some(part) = part {
            json[name] = from_struct(part.clone());
        }
    }
    json
}

pub fn meta(object: &v1::Object) -> v1::ObjectMeta {
    object.meta.clone().unwrap_or_default()
}

/// `kind/name`, as in most messages.
pub fn title(object: &v1::Object) -> String {
    format!("{}/{}", object.kind, meta(object).name)
}

/// The same of a reference.
pub fn reference(reference: &v1::ObjectReference) -> String {
    format!("{}/{}", reference.kind, reference.name)
}

/// How many of `count`: `1 instance`, `2 instances`.
pub fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Which columns a table of objects has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Width {
    pub has_project: bool,
    pub is_wide: bool,
}

/// The headings of a table of this kind.
pub fn headings(kind: &Kind, width: Width) -> Vec<String> {
    let mut titles: Vec<String> = width.has_project.then(|| "PROJECT".to_owned()).into_iter().collect();
    titles.push("NAME".into());
    titles.extend(columns(kind, width).into_iter().map(|column| column.title));
    titles.push("AGE".into());
    if width.is_wide {
        titles.extend(["GENERATION", "OWNER", "LABELS"].map(str::to_owned));
    }
    titles
}

/// The cells below them.
pub fn cells(kind: &Kind, object: &v1::Object, width: Width) -> Vec<String> {
    let meta = meta(object);
    let json = json(object);
    let mut cells: Vec<String> = width.has_project.then(|| meta.project.clone()).into_iter().collect();
    cells.push(meta.name.clone());
    cells.extend(columns(kind, width).iter().map(|column| cell(&json, &column.field)));
    cells.push(since(meta.created_at.as_ref()));
    if width.is_wide {
        let labels: Vec<String> = json["meta"]["labels"]
            .as_object()
            .map(|labels| labels.iter().map(|(key, value)| format!("{key}={}", text(value))).collect())
            .unwrap_or_default();
        cells.push(meta.generation.to_string());
        cells.push(meta.owner.as_ref().map(reference).unwrap_or_default());
        cells.push(labels.join(","));
    }
    cells
}

/// Its own; a kind without any that is reconciled shows whether it is ready.
fn columns(kind: &Kind, width: Width) -> Vec<v1::TableColumn> {
    if kind.columns.is_empty() && !kind.controllers.is_empty() {
        let column = |field: &str| v1::TableColumn { title: field.to_uppercase(), field: field.into(), wide: None };
        return ["ready", "reason"].map(column).into();
    }
    kind.columns.iter().filter(|column| width.is_wide || !column.wide.unwrap_or(false)).cloned().collect()
}

/// The value of a column: a path below the object, or `ready` and `reason` of its Ready condition.
fn cell(json: &Value, field: &str) -> String {
    match field {
        "ready" => ready(json),
        "reason" => condition(json, "Ready").map(|ready| text(&ready["reason"])).unwrap_or_default(),
        path => text(path.split('.').fold(json, |value, name| &value[name])),
    }
}

/// `Deleting`, or the status of the Ready condition, marked while it may speak of what was before.
fn ready(json: &Value) -> String {
    if !json["meta"]["deleted_at"].is_null() {
        return "Deleting".to_owned();
    }
    let status = condition(json, "Ready").map_or_else(|| "Unknown".to_owned(), |ready| text(&ready["status"]));
    let is_settled = json["meta"]["settled"].as_bool().unwrap_or(false);
    if is_settled { status } else { format!("{status} (changing)") }
}

/// The condition of this type.
pub fn condition<'a>(json: &'a Value, r#type: &str) -> Option<&'a Value> {
    json["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == r#type)
}

/// A value in a cell: texts bare, lists by commas.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub mod tests {
    use threeport::json::to_struct;
    use threeport::registry::Registry;

    use super::*;
    use crate::table::Table;

    pub fn object(kind: &str, name: &str, spec: Value, status: Value) -> v1::Object {
        let meta = v1::ObjectMeta {
            project: "default".into(),
            name: name.into(),
            generation: 3,
            settled: true,
            ..v1::ObjectMeta::default()
        };
        v1::Object {
            kind: kind.into(),
            meta: Some(meta),
            spec: Some(to_struct(spec)),
            status: status.is_object().then(|| to_struct(status)),
        }
    }

    #[test]
    fn columns_come_from_the_kind() {
        let kind = Registry::built_in().get("workload-instance").unwrap();
        let ready = json!({ "namespace": "web-0123456789", "health": "Healthy",
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Healthy" }] });
        let spec = json!({ "definition": "web", "runtime": "eu" });
        let mut settled = object("workload-instance", "web-default", spec.clone(), ready.clone());
        settled.meta.as_mut().unwrap().labels.insert("tier".into(), "dev".into());
        let mut changing = object("workload-instance", "web-us", spec, ready);
        changing.meta.as_mut().unwrap().settled = false;
        let mut table = Table::new(headings(kind, Width { has_project: true, is_wide: true }));
        for object in [&settled, &changing, &object("workload-instance", "new", json!({}), Value::Null)] {
            table.row(cells(kind, object, Width { has_project: true, is_wide: true }));
        }
        insta::assert_snapshot!(table.render(&str::to_owned), @r"
        PROJECT   NAME          DEFINITION   RUNTIME   NAMESPACE        HEALTH    READY             REASON    AGE   GENERATION   OWNER   LABELS
        default   web-default   web          eu        web-0123456789   Healthy   True              Healthy   -     3            -       tier=dev
        default   web-us        web          eu        web-0123456789   Healthy   True (changing)   Healthy   -     3            -       -
        default   new           -            -         -                -         Unknown           -         -     3            -       -
        ");
    }

    #[test]
    fn a_kind_without_columns_shows_whether_it_is_ready() {
        let mut kind = Kind::clone(Registry::built_in().get("workload").unwrap());
        kind.columns.clear();
        assert_eq!(headings(&kind, Width::default()), ["NAME", "READY", "REASON", "AGE"]);
        kind.controllers.clear();
        assert_eq!(headings(&kind, Width::default()), ["NAME", "AGE"]);
    }
}
