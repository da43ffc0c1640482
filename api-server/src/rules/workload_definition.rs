//! Rules of workload definitions: the manifest is read, its secrets taken out, its inputs tried.

use std::collections::HashMap;

use serde_json::{Map, Value};
use threeport::SENSITIVE;
use threeport::json::{Violation, to_json};
use threeport::render::{Resource, images, order, parse_manifest, split_secrets, values, warnings, yields};
use threeport::v1::{Input, WorkloadDefinitionSpec, WorkloadDefinitionStatus};

use super::syntax::check_namespace;
use super::{Derived, typed};

/// Splits, checks and derives.
pub fn normalize(spec: &mut Value) -> Result<Derived, Vec<Violation>> {
    let mut resources = split(spec, "manifest", "secret_data")?;
    let definition: WorkloadDefinitionSpec = typed(spec)?;
    let mut violations = check(&resources, &definition.inputs);
    violations.extend(yields::mark(&mut resources.clone(), &definition.r#yield).into_iter().map(|v| v.below("spec")));
    if !violations.is_empty() {
        return Err(violations);
    }
    order(&mut resources);
    let warnings = warnings(&resources);
    let status = WorkloadDefinitionStatus {
        resources: resources.iter().map(Resource::reference).collect(),
        images: images(&resources),
        warnings: warnings.clone(),
    };
    Ok(Derived { status: Some(to_json(&status)), warnings })
}

/// Moves the values of Secrets from a manifest field to a field of their own; answers the resources.
///
/// A value that the manifest shows as `(sensitive)` is taken from what the spec already has under its key.
pub fn split(spec: &mut Value, manifest: &str, secrets: &str) -> Result<Vec<Resource>, Vec<Violation>> {
    let in_field = |violations: Vec<Violation>| {
        let place = format!("spec.{manifest}");
        violations.into_iter().map(|violation| Violation::new(place.clone(), violation.description)).collect::<Vec<_>>()
    };
    let text = spec[manifest].as_str().unwrap_or_default();
    let resources = parse_manifest(text).map_err(in_field)?;
    let (text, mut values) = split_secrets(text).map_err(in_field)?;
    let given: HashMap<String, String> = from_json_map(&spec[secrets]);
    for (key, value) in values.iter_mut().filter(|(_, value)| *value == SENSITIVE) {
        if let Some(given) = given.get(key) {
            value.clone_from(given);
        }
    }
    let Some(fields) = spec.as_object_mut() else { return Ok(resources) };
    if !text.is_empty() {
        fields.insert(manifest.to_owned(), text.into());
    }
    fields.remove(secrets);
    if !values.is_empty() {
        fields.insert(
            secrets.to_owned(),
            values.into_iter().map(|(key, value)| (key, value.into())).collect::<Map<_, _>>().into(),
        );
    }
    Ok(resources)
}

fn from_json_map(json: &Value) -> HashMap<String, String> {
    let entries = json.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Everything wrong with resources that instances are made of, and their inputs.
pub fn check(resources: &[Resource], inputs: &[Input]) -> Vec<Violation> {
    let mut violations = Vec::new();
    if resources.is_empty() {
        violations.push(Violation::new("spec.manifest", "holds no resource; add at least one Kubernetes document"));
        return violations;
    }
    violations.extend(check_namespaces(resources, "spec.manifest"));
    violations.extend(values::check_inputs(inputs, resources).into_iter().map(|violation| violation.below("spec")));
    violations
}

/// Refuses resources in Kubernetes' own namespaces.
pub fn check_namespaces(resources: &[Resource], field: &str) -> Vec<Violation> {
    let wrong = |resource: &Resource| {
        let namespace = if resource.is("", "Namespace") { resource.name() } else { resource.namespace() };
        check_namespace(field, namespace)
            .map(|violation| Violation::new(field, format!("{resource}: {}", violation.description)))
    };
    resources.iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::json::from_json;

    use super::*;

    const MANIFEST: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2, b: other}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: nginx}]}\n";

    #[test]
    fn secrets_move_and_the_status_says_what_there_is() {
        let mut spec = json!({ "manifest": MANIFEST });
        let derived = normalize(&mut spec).unwrap();
        assert!(!spec["manifest"].as_str().unwrap().contains("hunter2"));
        assert_eq!(spec["secret_data"], json!({ "/s/stringData/a": "hunter2", "/s/stringData/b": "other" }));
        let status = derived.status.unwrap();
        assert_eq!(status["images"], json!(["nginx"]));
        assert_eq!(status["resources"][1], json!({ "api_version": "v1", "kind": "Pod", "name": "p" }));
        assert_eq!(derived.warnings.len(), 2);
    }

    #[test]
    fn what_was_read_can_be_written_back() {
        let mut first = json!({ "manifest": MANIFEST });
        normalize(&mut first).unwrap();
        let mut shown = first.clone();
        shown["secret_data"] = json!({ "/s/stringData/a": SENSITIVE, "/s/stringData/b": "new", "/gone/data/x": "y" });
        normalize(&mut shown).unwrap();
        assert_eq!(shown["manifest"], first["manifest"]);
        assert_eq!(shown["secret_data"], json!({ "/s/stringData/a": SENSITIVE, "/s/stringData/b": "new" }));
    }

    #[test]
    fn what_can_not_run_is_refused() {
        let cases = [
            (json!({}), "spec.manifest: holds no resource"),
            (json!({ "manifest": "a: [" }), "spec.manifest: manifest:"),
            (
                json!({ "manifest": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: kube-system}" }),
                "ConfigMap `kube-system/a`",
            ),
            (
                json!({ "manifest": MANIFEST, "inputs": [{ "name": "x", "type": "string", "targets": [{ "path": "spec.nope.x" }] }] }),
                "spec.inputs[0].targets[0]: ",
            ),
            (json!({ "manifest": MANIFEST, "yield": [{ "path": "]" }] }), "spec.yield[0].path: "),
        ];
        for (mut spec, expected) in cases {
            let violations = normalize(&mut spec).unwrap_err();
            assert!(violations[0].to_string().contains(expected), "{violations:?}");
        }
    }

    #[test]
    fn typed_specs_agree_with_what_is_stored() {
        let mut spec = json!({ "manifest": MANIFEST });
        normalize(&mut spec).unwrap();
        let typed: WorkloadDefinitionSpec = from_json(spec.clone()).unwrap();
        assert_eq!(to_json(&typed), spec);
    }
}
