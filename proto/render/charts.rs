//! Values of charts: documents in YAML and typed inputs. Which document wins is Helm's to say; what is in them stays as written.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;

use serde_json::Value;

use super::manifest::documents;
use super::path::{FieldPath, Step};
use super::values;
use super::yaml::{self, Mistake};
use crate::json::Violation;
use crate::v1::{FieldSelector, Input, ResourceSelector};

/// The longest document of values.
const MAX_BYTES: usize = 1 << 20;

/// Whether a repository is on this machine, where nobody listens on the way.
pub fn is_on_this_machine(repo: &str) -> bool {
    let uri = repo.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Everything wrong with a document of values; an empty one says nothing.
///
/// # Errors
/// What is no YAML, or no map, with its place.
pub fn check_document(text: &str) -> Result<(), Mistake> {
    let mistake = |message: String| Err(Mistake { line: 1, column: 1, message });
    if text.len() > MAX_BYTES {
        return mistake(format!("the text is {} bytes long, more than {MAX_BYTES}", text.len()));
    }
    match yaml::read_of_chart(text)? {
        None | Some(Value::Object(_)) => Ok(()),
        Some(_) => mistake("values are a map; write `name: value`".to_owned()),
    }
}

/// Everything wrong with a definition's inputs, as violations of the field `inputs`.
pub fn check_inputs(inputs: &[Input]) -> Vec<Violation> {
    values::check_inputs_with(inputs, &mut |target, value| set(&mut Value::Null, target, value))
}

/// What the inputs' defaults come to, as a document for all instances.
pub fn default_values(inputs: &[Input]) -> Value {
    let mut document = Value::Object(serde_json::Map::new());
    let optional = inputs.iter().map(|input| Input { required: None, ..input.clone() }).collect::<Vec<_>>();
    // What is wrong with them was refused when they were written.
    let _ = values::apply_with(&optional, &HashMap::new(), "", &mut |target, value| set(&mut document, target, value));
    document
}

/// What an instance gives for the inputs, as a document that wins over others.
///
/// # Errors
/// Violations of the field `values`.
pub fn given_values<S: BuildHasher>(
    inputs: &[Input],
    given: &HashMap<String, prost_types::Value, S>,
) -> Result<Value, Vec<Violation>> {
    let mut document = Value::Object(serde_json::Map::new());
    let without_defaults = inputs.iter().map(|input| Input { default: None, ..input.clone() }).collect::<Vec<_>>();
    let instead = "values_document";
    let violations =
        values::apply_with(&without_defaults, given, instead, &mut |target, value| set(&mut document, target, value));
    if violations.is_empty() { Ok(document) } else { Err(violations) }
}

fn set(document: &mut Value, target: &FieldSelector, value: &Value) -> Result<(), String> {
    if target.resource.as_ref().is_some_and(|resource| *resource != ResourceSelector::default()) {
        return Err("the values of a chart aren't a resource's; leave `resource` out".to_owned());
    }
    let path = target.path.parse::<FieldPath>()?;
    if path.steps().iter().any(|step| !matches!(step, Step::Key(_))) {
        return Err(format!("`{}` leads into a list, which values replace as a whole; end it before", target.path));
    }
    path.set(document, value).map(drop)
}

/// The documents of what a chart renders to.
///
/// # Errors
/// The first that is no YAML, with its place.
pub fn read_rendered(text: &str) -> Result<Vec<Value>, Mistake> {
    let mut values = Vec::new();
    for document in documents(text) {
        let read = yaml::read_of_chart(document.text);
        let value = read.map_err(|mistake| Mistake { line: document.line + mistake.line, ..mistake })?;
        values.extend(value.into_iter().flat_map(super::manifest::flatten));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
    fn inputs(json: Value) -> Vec<Input> {
        crate::json::from_json::<crate::v1::HelmWorkloadDefinitionSpec>(json!({ "inputs": json })).unwrap().inputs
    }

    fn tag() -> Vec<Input> {
        inputs(json!([
            { "name": "tag", "type": "string", "default": "1", "targets": [{ "path": "image.tag" }, { "path": "note[\"a.b\"]" }] },
            { "name": "size", "type": "integer", "required": true, "targets": [{ "path": "replicas" }] }
        ]))
    }

    #[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
    fn value(json: Value) -> prost_types::Value {
        crate::json::to_struct(json!({ "v": json })).fields.remove("v").unwrap()
    }

    #[test]
    fn only_loopback_is_this_machine() {
        assert!(
            ["http://127.0.0.1:1/x", "oci://localhost/x", "http://[::1]:2"].iter().all(|repo| is_on_this_machine(repo))
        );
        assert!(!["http://10.0.0.1", "oci://127.example.com", "x"].iter().any(|repo| is_on_this_machine(repo)));
    }

    #[test]
    fn documents_are_maps_in_yaml() {
        assert_eq!(check_document(""), Ok(()));
        assert_eq!(check_document("# nothing\na: {b: yes}\n"), Ok(()));
        assert_eq!(check_document("a: 1\nb: [\n").unwrap_err().line, 2);
        assert!(check_document("- a\n").unwrap_err().message.contains("map"));
    }

    #[test]
    fn inputs_make_documents() {
        let inputs = tag();
        assert_eq!(check_inputs(&inputs), []);
        assert_eq!(default_values(&inputs), json!({ "image": { "tag": "1" }, "note": { "a.b": "1" } }));
        let given = HashMap::from([("size".to_owned(), value(json!(3)))]);
        assert_eq!(given_values(&inputs, &given), Ok(json!({ "replicas": 3 })));
        let wrong = HashMap::from([("tag".to_owned(), value(json!(3))), ("color".to_owned(), value(json!("red")))]);
        let fields = given_values(&inputs, &wrong).unwrap_err().into_iter().map(|violation| violation.field);
        assert_eq!(fields.collect::<Vec<_>>(), ["values.color", "values.tag", "values.size"]);
    }

    #[test]
    fn targets_are_paths_of_values() {
        let wrong = |target: Value| {
            let found = check_inputs(&inputs(json!([{ "name": "x", "type": "string", "targets": [target] }])));
            found[0].to_string()
        };
        assert!(wrong(json!({ "path": "a[0].b" })).contains("leads into a list"));
        assert!(wrong(json!({ "path": "a", "resource": { "kind": "Pod" } })).contains("leave `resource` out"));
    }

    #[test]
    fn what_charts_render_is_read_as_go_reads_it() {
        let text = "a: 1\n---\n# nothing\n---\nkind: List\nitems: [{mode: 0644, on: no, text: \"0644\"}]\n";
        assert_eq!(
            read_rendered(text),
            Ok(vec![json!({ "a": 1 }), json!({ "mode": 420, "on": false, "text": "0644" })])
        );
        assert_eq!(read_rendered("a: 1\n---\nb: [\n").unwrap_err().line, 3);
    }
}
