//! The rules as the store calls them, in its order.

use serde_json::json;
use threeport::object::Object as _;
use threeport::registry::Registry;
use threeport::v1::{WorkloadDefinition, WorkloadDefinitionSpec};

use super::*;

fn kind(name: &str) -> &'static Kind {
    Registry::built_in().get(name).unwrap()
}

fn meta(name: &str) -> ObjectMeta {
    ObjectMeta { project: "shop".into(), name: name.into(), generation: 3, ..Default::default() }
}

fn definition() -> v1::Object {
    let spec: WorkloadDefinitionSpec = from_json(json!({
        "manifest": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1}\n",
        "inputs": [{ "name": "replicas", "type": "integer", "allowed": [1, 2], "targets": [{ "path": "spec.replicas" }] }]
    }))
    .unwrap();
    WorkloadDefinition { meta: Some(meta("web")), spec: Some(spec), status: None }.to_erased()
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
fn problems(spec: Value) -> Vec<String> {
    let violations = check_uses(kind("workload-instance"), &meta("web-1"), &spec, &[definition()]);
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn an_instance_must_fit_its_definition() {
    assert_eq!(problems(json!({ "definition": "web", "values": { "replicas": 2 } })), Vec::<String>::new());
    let wrong = json!({ "definition": "web", "values": { "replicas": 3, "size": 1 }, "patches": [{ "resource": { "kind": "Job" }, "strategic_merge": {} }] });
    let problems = problems(wrong);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems.iter().any(|p| p == "spec.values.replicas: 3 isn't allowed; use one of 1, 2"), "{problems:?}");
    assert!(problems.iter().any(|p| p.starts_with("spec.patches[0]: hits nothing")), "{problems:?}");
}

#[test]
fn pinned_instances_are_checked_against_what_they_run() {
    let wrong = json!({ "replicas": 3 });
    for generation in ["2", "3"] {
        assert_eq!(problems(json!({ "definition_generation": generation, "values": wrong })).len(), 1);
    }
    assert_eq!(
        problems(json!({ "definition_generation": "4" })),
        ["spec.definition_generation: workload-definition `web` is at generation 3, and has no 4 yet"]
    );
}

#[test]
fn references_are_checked_wherever_they_are() {
    let mut spec = json!({ "image": "a:1", "instances": [{ "name": "a", "runtime": "A/B" }] });
    let violations = normalize(kind("workload"), &meta("web"), &mut spec, None).unwrap_err();
    assert_eq!(violations[0].field, "spec.instances[0].runtime");
    let mut project = json!({ "default_runtime": "a/b/c" });
    let violations = normalize(kind("project"), &meta("shop"), &mut project, None).unwrap_err();
    assert_eq!(violations[0].field, "spec.default_runtime");
}

#[test]
fn an_instance_is_checked_by_itself_first() {
    let mut spec = json!({ "namespace": "kube-system", "patches": [{}], "adopt": [{}], "yield": [{ "path": "" }], "definition_generation": "0" });
    let violations = normalize(kind("workload-instance"), &meta("web-1"), &mut spec, None).unwrap_err();
    let fields = violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>();
    assert_eq!(
        fields,
        [
            "spec.definition",
            "spec.patches[0]",
            "spec.adopt[0].resource",
            "spec.yield[0].path",
            "spec.namespace",
            "spec.definition_generation"
        ]
    );
}

#[test]
fn an_instances_runtime_comes_from_its_project_once() {
    let project = ProjectSpec { default_runtime: "one".into(), ..Default::default() };
    let mut spec = json!({ "definition": "web" });
    assert_eq!(fill_from_project(kind("workload-instance"), &mut spec, None, &project), []);
    assert_eq!(spec["runtime"], "one");
    let mut again = json!({ "definition": "web" });
    fill_from_project(kind("workload-instance"), &mut again, Some(&json!({ "runtime": "before" })), &project);
    assert_eq!(again["runtime"], "before");
    let violations = fill_from_project(kind("workload-instance"), &mut json!({}), None, &ProjectSpec::default());
    assert_eq!(violations[0].field, "spec.runtime");
}
