//! Changes resources by the patches of an instance.

use json_patch::{PatchError, PatchErrorKind};
use serde_json::Value;

use super::manifest;
use super::merge::merge;
use super::resource::Resource;
use super::secrets;
use super::select::describe;
use crate::json::{Violation, from_struct, from_struct_value};
use crate::v1::{JsonPatchOperation, Patch};

/// What is wrong with patches by themselves, as violations of the field `patches`.
pub fn check(patches: &[Patch]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, patch) in patches.iter().enumerate() {
        let place = format!("patches[{index}]");
        match (&patch.strategic_merge, patch.json_patch.as_slice()) {
            (Some(_), []) => {}
            (None, operations @ [_, ..]) => {
                for (position, operation) in operations.iter().enumerate() {
                    if let Err(message) = json_operation(operation) {
                        violations.push(Violation::new(format!("{place}.json_patch[{position}]"), message));
                    }
                }
            }
            _ => violations.push(Violation::new(place, "give exactly one of strategic_merge and json_patch")),
        }
    }
    violations
}

/// Applies patches in turn; violations are of the field `patches`.
pub fn apply(resources: &mut [Resource], patches: &[Patch]) -> Vec<Violation> {
    let violations = check(patches);
    if !violations.is_empty() {
        return violations;
    }
    let results = patches.iter().enumerate().map(|(index, patch)| {
        apply_one(resources, patch).map_err(|message| Violation::new(format!("patches[{index}]"), message))
    });
    results.filter_map(Result::err).collect()
}

fn apply_one(resources: &mut [Resource], patch: &Patch) -> Result<(), String> {
    let mut is_used = false;
    for resource in resources.iter_mut().filter(|resource| resource.is_selected(patch.resource.as_ref())) {
        is_used = true;
        let before = resource.clone();
        if resource.is("", "Secret") && patch.json_patch.iter().any(reads_data) {
            return Err(format!("{before}: `test`, `copy` and `move` can't read a Secret's data"));
        }
        let outcome = match &patch.strategic_merge {
            Some(fields) => merge(resource, &from_struct(fields.clone())),
            None => json_patch_resource(resource, &patch.json_patch),
        };
        outcome.map_err(|message| format!("{before}: {message}"))?;
        let is_renamed = resource.identity() != before.identity() || resource.api_version() != before.api_version();
        if is_renamed {
            return Err(format!("{before}: a patch can't change apiVersion, kind, namespace or name"));
        }
        if let [problem, ..] = manifest::marks_problems(&resource.value).as_slice() {
            return Err(format!("{before}: {problem}"));
        }
        if secrets::contents(resource) != secrets::contents(&before) {
            return Err(format!(
                "{before}: patches are no secrets; keep a Secret's data in the definition's manifest or in an attachment's secret_data"
            ));
        }
    }
    if is_used {
        Ok(())
    } else {
        Err(format!("hits nothing: no resource matches {}", describe(patch.resource.as_ref())))
    }
}

/// Whether an operation would tell what a Secret holds, or put it elsewhere.
fn reads_data(operation: &JsonPatchOperation) -> bool {
    let read = match operation.op.as_str() {
        "test" => &operation.path,
        "copy" | "move" => &operation.from,
        _ => return false,
    };
    matches!(read.split('/').nth(1), None | Some("data" | "stringData"))
}

fn json_patch_resource(resource: &mut Resource, operations: &[JsonPatchOperation]) -> Result<(), String> {
    let operations = operations.iter().map(json_operation).collect::<Result<Vec<_>, _>>()?;
    json_patch::patch(&mut resource.value, &operations).map_err(|error| failed(&error))
}

fn failed(error: &PatchError) -> String {
    let (place, path) = (format!("json_patch[{}]", error.operation), &error.path);
    match error.kind {
        PatchErrorKind::TestFailed => format!("{place}: `test` finds another value at `{path}`"),
        PatchErrorKind::InvalidFromPointer => format!("{place}: `from` leads nowhere; name a field that is there"),
        PatchErrorKind::InvalidPointer => {
            format!("{place}: path `{path}` leads nowhere; name a field that is there, or add what is around it first")
        }
        _ => format!("{place}: {}", error.kind),
    }
}

/// The operation as the crate knows it, which checks it by RFC 6902.
fn json_operation(operation: &JsonPatchOperation) -> Result<json_patch::PatchOperation, String> {
    let mut json = serde_json::json!({ "op": operation.op, "path": operation.path });
    if !operation.from.is_empty() {
        json["from"] = Value::from(operation.from.as_str());
    }
    if let Some(value) = &operation.value {
        json["value"] = from_struct_value(value.clone());
    } else if matches!(operation.op.as_str(), "add" | "replace" | "test") {
        return Err(format!("`{}` needs a value", operation.op));
    }
    serde_json::from_value(json).map_err(|error| format!("no operation of a JSON patch: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::from_json;
    use crate::render::manifest::parse_manifest;

    const MANIFEST: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: '1'}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
";

    fn outcome(patches: &Value) -> (Vec<Resource>, Vec<String>) {
        let patches =
            patches.as_array().unwrap().iter().map(|patch| from_json(patch.clone()).unwrap()).collect::<Vec<_>>();
        let mut resources = parse_manifest(MANIFEST).unwrap();
        let violations = apply(&mut resources, &patches);
        (resources, violations.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn both_forms_change_what_they_select() {
        let (resources, violations) = outcome(&json!([
            { "resource": { "kind": "ConfigMap" }, "strategic_merge": { "data": { "y": "2" } } },
            { "resource": { "name": "a" }, "json_patch": [{ "op": "replace", "path": "/data/x", "value": "3" }] },
            { "strategic_merge": { "metadata": { "labels": { "all": "yes" } } } }
        ]));
        assert!(violations.is_empty(), "{violations:?}");
        assert_eq!(resources[0].value["data"], json!({ "x": "3", "y": "2" }));
        assert!(resources.iter().all(|resource| resource.value["metadata"]["labels"]["all"] == "yes"));
    }

    #[test]
    fn patches_that_do_nothing_or_harm_are_refused_by_number() {
        let (_, violations) = outcome(&json!([
            { "resource": { "kind": "Job", "name": "x" }, "strategic_merge": {} },
            { "resource": { "name": "a" }, "json_patch": [{ "op": "test", "path": "/data/x", "value": "9" }] },
            { "resource": { "name": "a" }, "strategic_merge": { "metadata": { "name": "b" } } },
            { "resource": { "kind": "Secret" }, "strategic_merge": { "stringData": { "p": "hunter2" } } }
        ]));
        assert_eq!(violations.len(), 4, "{violations:?}");
        assert_eq!(violations[0], "patches[0]: hits nothing: no resource matches `Job x`");
        assert!(violations[1].starts_with("patches[1]: ConfigMap `a`: "), "{violations:?}");
        assert!(violations[2].contains("can't change"), "{violations:?}");
        assert!(
            violations[3].contains("patches are no secrets") && !violations[3].contains("hunter2"),
            "{violations:?}"
        );
    }

    #[test]
    fn what_a_secret_holds_can_not_be_read_by_a_patch() {
        for operation in [
            json!({ "op": "copy", "from": "/data/p", "path": "/metadata/annotations" }),
            json!({ "op": "move", "from": "/stringData", "path": "/metadata/annotations" }),
            json!({ "op": "test", "path": "/data/p", "value": "x" }),
            json!({ "op": "test", "path": "", "value": {} }),
        ] {
            let (_, violations) = outcome(&json!([{ "resource": { "kind": "Secret" }, "json_patch": [operation] }]));
            assert!(violations[0].contains("can't read a Secret's data"), "{violations:?}");
        }
    }

    #[test]
    fn annotations_stay_a_map_of_texts() {
        for value in [json!("text"), json!({ "count": 1 })] {
            let operation = json!({ "op": "add", "path": "/metadata/annotations", "value": value });
            let (_, violations) = outcome(&json!([{ "resource": { "name": "a" }, "json_patch": [operation] }]));
            assert!(violations[0].contains("`metadata.annotations"), "{violations:?}");
        }
    }

    #[test]
    fn malformed_patches_need_no_definition_to_be_refused() {
        let (_, violations) = outcome(&json!([
            { "resource": { "name": "a" } },
            { "json_patch": [{ "op": "grow", "path": "/x" }, { "op": "add", "path": "/x" }] }
        ]));
        assert_eq!(violations.len(), 3, "{violations:?}");
        assert!(violations[1].starts_with("patches[1].json_patch[0]: "), "{violations:?}");
    }
}
