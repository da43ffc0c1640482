//! The parts of a rendering work together.

use serde_json::{Value, json};

use super::*;
use crate::json::from_json;

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 1, template: {spec: {containers: [{name: web, image: 'acme/web:1'}]}}}
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {password: (sensitive)}
---
apiVersion: acme.io/v1
kind: Widget
metadata: {name: w}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.acme.io}
spec: {group: acme.io, scope: Namespaced, names: {kind: Widget, plural: widgets}}
";

fn definition() -> WorkloadDefinitionSpec {
    from_json(json!({
        "manifest": MANIFEST,
        "inputs": [{ "name": "replicas", "type": "integer", "targets": [{ "resource": { "kind": "Deployment" }, "path": "spec.replicas" }] }],
        "secret_data": { "/web/stringData/password": "hunter2" }
    }))
    .unwrap()
}

fn outcome(
    instance: Value,
    attachments: &[(String, AttachmentSpec)],
    images: &[ImageOverride],
) -> Result<Vec<Resource>, Vec<Violation>> {
    let instance = from_json(instance).unwrap();
    render(&Source {
        definition: &definition(),
        instance: &instance,
        name: "web-1",
        namespace: "web-1-abc",
        attachments,
        images,
    })
}

#[test]
fn everything_comes_together_in_order() {
    let attachment = from_json(json!({ "env": { "DB": "here" } })).unwrap();
    let image = ImageOverride { repository: "acme/web".into(), tag: "2".into(), digest: String::new() };
    let instance = json!({ "values": { "replicas": 3 }, "patches": [{ "resource": { "kind": "Deployment" }, "strategic_merge": { "metadata": { "labels": { "a": "b" } } } }] });
    let resources = outcome(instance, &[("db".into(), attachment)], &[image]).unwrap();
    let shown = resources.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shown,
        [
            "CustomResourceDefinition `widgets.acme.io`",
            "Namespace `web-1-abc`",
            "Secret `web-1-abc/web`",
            "Deployment `web-1-abc/web`",
            "Widget `web-1-abc/w`"
        ]
    );
    assert_eq!(resources[2].value["data"]["password"], "aHVudGVyMg==");
    let deployment = &resources[3].value;
    assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["labels"]["a"]), (&json!(3), &json!("b")));
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["env"][0]["value"]), (&json!("acme/web:2"), &json!("here")));
}

#[test]
fn all_violations_are_said_at_once() {
    let instance = json!({ "values": { "replica": 3 }, "patches": [{ "resource": { "kind": "Job" }, "strategic_merge": {} }], "yield": [{ "path": "" }] });
    let attachment = from_json(json!({ "manifest": "{apiVersion: v1, kind: Secret, metadata: {name: web}}" })).unwrap();
    let violations = outcome(instance, &[("db".into(), attachment)], &[]).unwrap_err();
    let fields = violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>();
    assert_eq!(fields, ["spec.values.replica", "spec.patches[0]", "spec", "spec.yield[0].path"], "{violations:?}");
}

#[test]
fn a_rendering_is_always_the_same_and_fast() {
    let start = std::time::Instant::now();
    let first = to_yaml(&outcome(json!({ "values": { "replicas": 2 } }), &[], &[]).unwrap());
    for _ in 0..50 {
        assert_eq!(to_yaml(&outcome(json!({ "values": { "replicas": 2 } }), &[], &[]).unwrap()), first);
    }
    assert!(start.elapsed().as_secs() < 5, "50 renderings took {:?}", start.elapsed());
}

#[test]
fn an_account_of_pods_is_set_under_both_of_its_names() {
    let spec = json!({ "template": { "spec": { "serviceAccountName": "web" } } });
    let patches = json!({ "patches": [{ "resource": { "kind": "Deployment" }, "strategic_merge": { "spec": spec } }] });
    let resources = outcome(patches, &[], &[]).unwrap();
    let deployment = resources.iter().find(|resource| resource.kind() == "Deployment").unwrap();
    assert_eq!(pods::pod_spec(deployment).unwrap()["serviceAccount"], "web");
}
