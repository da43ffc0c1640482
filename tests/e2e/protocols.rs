//! REST and gRPC give the same answers and errors, method by method.

use prost::Message;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use threeport::POOL;
use threeport::json::dynamic_to_json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::system::*;

/// The same call in both protocols.
struct Call {
    method: &'static str,
    request: Value,
    rest: (Method, String, Value),
}

/// An answer with what is new at every call taken out, or an error.
#[derive(Debug, PartialEq)]
enum Answer {
    Ok(Value),
    Error { status: StatusCode, message: String, reason: String, fields: Vec<String> },
}

fn method(full_name: &str) -> MethodDescriptor {
    let (service, name) = full_name.split_once('/').expect("a service and a method");
    let service = POOL.get_service_by_name(&format!("threeport.v1.{service}")).expect("a service of ours");
    service.methods().find(|method| method.name() == name).expect("a method of it")
}

async fn over_grpc(system: &System, call: &Call) -> Answer {
    let method = method(call.method);
    let request =
        DynamicMessage::deserialize(method.input(), call.request.clone()).expect("the table's requests are valid");
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut grpc = tonic::client::Grpc::new(system.api.channel.clone());
    grpc.ready().await.expect("the server is there");
    let body = tonic::Request::new(Bytes::from(request.encode_to_vec()));
    match grpc.unary(body, path.parse().expect("paths are valid"), BytesCodec).await {
        Ok(response) => {
            let answer =
                DynamicMessage::decode(method.output(), response.into_inner()).expect("it answers what it says");
            Answer::Ok(scrubbed(dynamic_to_json(&answer)))
        }
        Err(status) => refused(&status),
    }
}

fn refused(status: &Status) -> Answer {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    Answer::Error {
        status: http_status(status.code()),
        message: status.message().to_owned(),
        reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
        fields: violations.into_iter().map(|violation| violation.field).collect(),
    }
}

/// As google/rpc/code.proto maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        other => panic!("not an answer that the table expects: {other}"),
    }
}

async fn over_rest(system: &System, call: &Call) -> Answer {
    let (method, path, body) = &call.rest;
    let url = format!("{}{path}", system.api.address);
    let mut request = reqwest::Client::new().request(method.clone(), url).bearer_auth(&system.api.token);
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.expect("the server answers");
    let status = response.status();
    let text = response.text().await.expect("answers are text");
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
    if status.is_success() {
        return Answer::Ok(scrubbed(answer));
    }
    let error = answer.get("error").unwrap_or(&answer);
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let of_type = |name: &str| {
        details.iter().find(|detail| detail["@type"].as_str().unwrap_or_default().ends_with(name)).cloned()
    };
    let fields = of_type("BadRequest").unwrap_or_default();
    let fields =
        fields["field_violations"].as_array().or(fields["fieldViolations"].as_array()).cloned().unwrap_or_default();
    Answer::Error {
        status,
        message: error["message"].as_str().unwrap_or_default().to_owned(),
        reason: of_type("ErrorInfo").unwrap_or_default()["reason"].as_str().unwrap_or_default().to_owned(),
        fields: fields.iter().map(|violation| violation["field"].as_str().unwrap_or_default().to_owned()).collect(),
    }
}

/// Without ids, times and what follows from them, which differ from call to call of a dry run.
fn scrubbed(mut answer: Value) -> Value {
    match &mut answer {
        Value::Object(fields) => {
            for name in ["id", "etag", "created_at", "updated_at"] {
                fields.remove(name);
            }
            for value in fields.values_mut() {
                *value = scrubbed(value.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = scrubbed(item.take());
            }
        }
        // A Struct's numbers are doubles: 1.0 on one way, 1 on the other.
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            answer = json!(number.as_f64());
        }
        _ => {}
    }
    answer
}

fn of_workloads() -> Vec<Call> {
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

fn of_objects() -> Vec<Call> {
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

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_grpc_give_the_same_answers_and_errors() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let mut documents = ["a", "b"].map(|name| document("workload", name, json!({ "image": "nginx" })));
    documents[1]["labels"] = json!({ "tier": "dev" });
    system.api.apply(&documents).await.unwrap();
    // Positions come a moment after the write.
    eventually("every commit has its position", MINUTE, async || {
        let open = system.database.number("SELECT count(*) FROM unpositioned").await;
        when(open == 0, open)
    })
    .await;
    let (mut answers, mut errors) = (0, 0);
    for call in of_workloads().into_iter().chain(of_objects()) {
        let (grpc, rest) = (over_grpc(&system, &call).await, over_rest(&system, &call).await);
        assert_eq!(grpc, rest, "{} {}", call.method, call.request);
        match grpc {
            Answer::Ok(_) => answers += 1,
            Answer::Error { message, reason, fields, .. } => {
                assert!(!message.is_empty() && (!reason.is_empty() || !fields.is_empty()), "{} {message}", call.method);
                errors += 1;
            }
        }
    }
    assert!(answers >= 15 && errors >= 10, "{answers} answers and {errors} errors");
}
