//! The calls that both protocols are asked.

use reqwest::Method;
use serde_json::{Value, json};

/// The same call in both protocols.
pub struct Call {
    pub method: &'static str,
    pub request: Value,
    pub rest: (Method, String, Value),
}

pub fn of_workloads() -> Vec<Call> {
    let call = |method, request, verb, path: &str, body| Call {
        method,
        request,
        rest: (verb, format!("/v1/projects/default/workloads{path}"), body),
    };
    let workload = |name: &str, spec: Value| json!({ "meta": { "name": name }, "spec": spec });
    let nginx = json!({ "image": "nginx" });
    let stale = json!({ "meta": { "revision": "99" }, "spec": { "image": "nginx:2" } });
    let invalid = json!({ "spec": { "image": "nginx", "port": 70000, "instances": [{ "name": "NO" }] } });
    vec![
        call("WorkloadService/Get", json!({ "project": "default", "name": "a" }), Method::GET, "/a", Value::Null),
        call("WorkloadService/Get", json!({ "project": "default", "name": "z" }), Method::GET, "/z", Value::Null),
        call("WorkloadService/List", json!({ "project": "default" }), Method::GET, "", Value::Null),
        call(
            "WorkloadService/List",
            json!({ "project": "default", "page_size": 1, "order_by": "name desc" }),
            Method::GET,
            "?page_size=1&order_by=name%20desc",
            Value::Null,
        ),
        call(
            "WorkloadService/List",
            json!({ "project": "default", "filter": "labels.tier = \"dev\"" }),
            Method::GET,
            "?filter=labels.tier%20%3D%20%22dev%22",
            Value::Null,
        ),
        call(
            "WorkloadService/List",
            json!({ "project": "default", "filter": "= = (" }),
            Method::GET,
            "?filter=%3D%20%3D%20(",
            Value::Null,
        ),
        call(
            "WorkloadService/Create",
            json!({ "project": "default", "validate_only": true, "object": workload("c", nginx.clone()) }),
            Method::POST,
            "?validate_only=true",
            workload("c", nginx.clone()),
        ),
        call(
            "WorkloadService/Create",
            json!({ "project": "default", "object": workload("a", nginx.clone()) }),
            Method::POST,
            "",
            workload("a", nginx.clone()),
        ),
        call(
            "WorkloadService/Create",
            json!({ "project": "default", "object": workload("NOT A LABEL", nginx.clone()) }),
            Method::POST,
            "",
            workload("NOT A LABEL", nginx.clone()),
        ),
        call(
            "WorkloadService/Apply",
            json!({ "project": "default", "name": "a", "object": { "spec": nginx } }),
            Method::PUT,
            "/a",
            json!({ "spec": nginx }),
        ),
        call(
            "WorkloadService/Apply",
            json!({ "project": "default", "name": "a", "object": invalid }),
            Method::PUT,
            "/a",
            invalid.clone(),
        ),
        call(
            "WorkloadService/Update",
            json!({ "project": "default", "name": "a", "object": stale, "update_mask": "spec.image" }),
            Method::PATCH,
            "/a?update_mask=spec.image",
            stale.clone(),
        ),
        call(
            "WorkloadService/Update",
            json!({ "project": "default", "name": "a", "object": {}, "update_mask": "spec.nothing" }),
            Method::PATCH,
            "/a?update_mask=spec.nothing",
            json!({}),
        ),
        call(
            "WorkloadService/Delete",
            json!({ "project": "default", "name": "a", "validate_only": true }),
            Method::DELETE,
            "/a?validate_only=true",
            Value::Null,
        ),
        call("WorkloadService/Delete", json!({ "project": "default", "name": "z" }), Method::DELETE, "/z", Value::Null),
    ]
}

pub fn of_objects() -> Vec<Call> {
    let call = |method, request, verb, path: &str, body| Call { method, request, rest: (verb, path.to_owned(), body) };
    let place = json!({ "kind": "workload", "project": "default", "name": "a" });
    let apply = json!({ "validate_only": true, "objects": [
        { "kind": "workload", "meta": { "name": "a", "project": "default" }, "spec": { "image": "nginx:3" } },
        { "kind": "workload", "meta": { "name": "d", "project": "default" }, "spec": { "image": "nginx" } },
    ] });
    let refused = json!({ "objects": [
        { "kind": "workload", "meta": { "name": "a", "project": "default" }, "spec": { "imge": "nginx:3" } },
        { "kind": "workload-instance", "meta": { "name": "d", "project": "default" }, "spec": { "definition": "nothing" } },
    ] });
    vec![
        call("ObjectService/GetVersion", json!({}), Method::GET, "/v1/version", Value::Null),
        call("ObjectService/ListKinds", json!({}), Method::GET, "/v1/kinds", Value::Null),
        call("ObjectService/Get", place.clone(), Method::GET, "/v1/objects/workload/default/a", Value::Null),
        call(
            "ObjectService/Get",
            json!({ "kind": "project", "name": "default" }),
            Method::GET,
            "/v1/objects/project/default",
            Value::Null,
        ),
        call(
            "ObjectService/Get",
            json!({ "kind": "nothing", "name": "a" }),
            Method::GET,
            "/v1/objects/nothing/a",
            Value::Null,
        ),
        call(
            "ObjectService/List",
            json!({ "kind": "workload-instance", "project": "-" }),
            Method::GET,
            "/v1/objects/workload-instance?project=-",
            Value::Null,
        ),
        call("ObjectService/Apply", apply.clone(), Method::POST, "/v1/apply", apply),
        call("ObjectService/Apply", refused.clone(), Method::POST, "/v1/apply", refused),
        call("ObjectService/History", place.clone(), Method::GET, "/v1/history/workload/default/a", Value::Null),
        call(
            "ObjectService/Events",
            json!({ "project": "default" }),
            Method::GET,
            "/v1/events?project=default",
            Value::Null,
        ),
        call("ObjectService/Render", place, Method::GET, "/v1/render/workload/default/a", Value::Null),
        call(
            "ObjectService/Delete",
            json!({ "kind": "workload-definition", "project": "default", "name": "a" }),
            Method::DELETE,
            "/v1/objects/workload-definition/default/a",
            Value::Null,
        ),
        call(
            "ObjectService/Delete",
            json!({ "kind": "kubernetes-runtime-instance", "project": "default", "name": "local" }),
            Method::DELETE,
            "/v1/objects/kubernetes-runtime-instance/default/local",
            Value::Null,
        ),
        call("ProjectService/List", json!({}), Method::GET, "/v1/projects", Value::Null),
        call("ProjectService/Get", json!({ "name": "default" }), Method::GET, "/v1/projects/default", Value::Null),
        call(
            "ProjectService/Apply",
            json!({ "name": "default", "validate_only": true, "object": { "spec": { "display_name": "D" } } }),
            Method::PUT,
            "/v1/projects/default?validate_only=true",
            json!({ "spec": { "display_name": "D" } }),
        ),
    ]
}
