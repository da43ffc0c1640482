//! Values are typed, guarded and land where their targets say.

use serde_json::json;

use super::*;
use crate::json::{from_json, to_struct};
use crate::render::manifest::parse_manifest;

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 1, template: {spec: {containers: [{name: web, image: nginx, args: [a]}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {size: small}
---
apiVersion: v1
kind: Secret
metadata: {name: web}
data: {key: '(sensitive)'}
";

#[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
fn inputs(json: serde_json::Value) -> Vec<Input> {
    json.as_array().unwrap().iter().map(|input| from_json(input.clone()).unwrap()).collect()
}

fn values(json: serde_json::Value) -> HashMap<String, prost_types::Value> {
    to_struct(json).fields.into_iter().collect()
}

fn sample_inputs() -> Vec<Input> {
    inputs(json!([
        { "name": "replicas", "type": "integer", "default": 2, "allowed": [1, 2, 3], "targets": [{ "path": "spec.replicas" }] },
        { "name": "host", "type": "string", "required": true, "description": "the public name",
          "targets": [{ "resource": { "kind": "Deployment" }, "path": "spec.template.spec.containers[name=web].env[name=HOST].value" }] },
        { "name": "size", "type": "integer", "targets": [{ "resource": { "kind": "ConfigMap", "name": "web" }, "path": "data.size" }] }
    ]))
}

#[test]
fn values_and_defaults_land_on_their_targets() {
    let mut resources = parse_manifest(MANIFEST).unwrap();
    assert_eq!(check_inputs(&sample_inputs(), &resources), []);
    assert_eq!(apply(&mut resources, &sample_inputs(), &values(json!({ "host": "a.example", "size": 5 }))), []);
    assert_eq!(resources[0].value["spec"]["replicas"], 2);
    assert_eq!(
        resources[0].value["spec"]["template"]["spec"]["containers"][0]["env"],
        json!([{ "name": "HOST", "value": "a.example" }])
    );
    assert_eq!(resources[1].value["spec"].get("replicas"), None, "a Service has none");
    assert_eq!(resources[2].value["data"]["size"], "5", "Kubernetes takes strings there");
}

#[test]
fn all_that_is_wrong_with_values_is_said() {
    let mut resources = parse_manifest(MANIFEST).unwrap();
    let violations =
        apply(&mut resources, &sample_inputs(), &values(json!({ "hots": "x", "replicas": 7, "size": "big" })));
    let shown = violations.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shown,
        [
            "values.hots: the definition has no input `hots`; did you mean `host`?",
            "values.replicas: 7 isn't allowed; use one of 1, 2, 3",
            "values.host: is required: the public name",
            "values.size: expected an integer, found \"big\"",
        ]
    );
}

#[test]
fn inputs_that_can_not_work_are_refused_with_the_definition() {
    let resources = parse_manifest(MANIFEST).unwrap();
    let inputs = inputs(json!([
        { "name": "a", "type": "integer", "default": "x", "targets": [{ "path": "spec.replicas" }] },
        { "name": "a", "type": "number", "allowed": ["y"], "targets": [{ "path": "spec..x" }] },
        { "name": "1", "type": "text" },
        { "name": "b", "type": "string", "targets": [{ "resource": { "kind": "Job" }, "path": "spec.x" }] },
        { "name": "c", "type": "string", "targets": [{ "resource": { "kind": "Secret" }, "path": "data.key" }] },
        { "name": "d", "type": "boolean", "default": true, "required": true, "targets": [] }
    ]));
    let fields = check_inputs(&inputs, &resources).into_iter().map(|violation| violation.field).collect::<Vec<_>>();
    assert_eq!(
        fields,
        [
            "inputs[0].default",
            "inputs[1].name",
            "inputs[1].allowed[0]",
            "inputs[1].targets[0]",
            "inputs[2].name",
            "inputs[2].type",
            "inputs[3].targets[0]",
            "inputs[4].targets[0]",
            "inputs[5].required",
            "inputs[5].targets"
        ]
    );
}

#[test]
fn strings_stay_strings_and_numbers_numbers() {
    for (kind, value) in [
        ("string", json!("3")),
        ("integer", json!(3)),
        ("number", json!(0.5)),
        ("boolean", json!(true)),
        ("array", json!([1])),
        ("object", json!({ "a": 1 })),
    ] {
        let mut resources = parse_manifest(MANIFEST).unwrap();
        let inputs = inputs(
            json!([{ "name": "x", "type": kind, "targets": [{ "resource": { "kind": "Service" }, "path": "spec.x" }] }]),
        );
        assert_eq!(apply(&mut resources, &inputs, &values(json!({ "x": value }))), []);
        assert_eq!(resources[1].value["spec"]["x"], value);
    }
}
