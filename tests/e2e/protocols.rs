//! REST and gRPC give the same answers and errors, method by method.

mod cases;

use prost::Message;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use reqwest::StatusCode;
use serde_json::{Value, json};
use threeport::POOL;
use threeport::json::dynamic_to_json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::cases::{Call, of_objects, of_workloads};
use crate::system::*;

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
