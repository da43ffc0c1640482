//! Bad input of every kind: a clear 4xx that says what to do, never a 5xx or a panic, and nothing stored.

use std::fmt::Write;

use prost::Message;
use prost::bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use threeport::v1;
use tonic::Code;

use crate::system::*;

/// Answers the status and body of a REST call.
async fn rest(system: &System, method: Method, path: &str, token: &str, body: String) -> (StatusCode, String) {
    let url = format!("{}{path}", system.api.address);
    let request =
        reqwest::Client::new().request(method, url).bearer_auth(token).header("content-type", "application/json");
    let response = request.body(body).send().await.expect("the server answers");
    (response.status(), response.text().await.expect("answers are text"))
}

fn kubeconfig(user: &Value) -> Value {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "it", "user": user }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
    });
    json!({ "kubeconfig": config.to_string() })
}

/// Documents that the server is to refuse, and what its answer must say.
fn bad_documents() -> Vec<(Value, &'static str)> {
    let workload = |spec: Value| document("workload", "bad", spec);
    let runtime = |spec: Value| document("kubernetes-runtime-instance", "bad", spec);
    let exec = json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": "sh" } });
    vec![
        (workload(json!({ "imge": "nginx" })), "did you mean `image`"),
        (workload(json!({ "image": "nginx", "replicas": "many" })), "spec.replicas"),
        (workload(json!({ "image": ["nginx"] })), "spec.image"),
        (workload(json!({ "image": "nginx", "env": { "A": "b\u{0}" } })), "NUL"),
        (workload(json!({ "image": "nginx", "manifest": "kind: Pod" })), "spec"),
        (workload(json!({})), "image"),
        (workload(json!({ "definition": "nobody/nothing" })), "nothing"),
        (workload(json!({ "manifest": "kind: [unclosed" })), "1:7"),
        (workload(json!({ "manifest": "apiVersion: v1\nkind: ConfigMap\n" })), "metadata"),
        (document("workload", "Not A Label", json!({ "image": "nginx" })), "name"),
        (document("workload", &"a".repeat(64), json!({ "image": "nginx" })), "63"),
        (instance("bad", "nothing"), "nothing"),
        (document("no-such-kind", "bad", json!({})), "no-such-kind"),
        (runtime(kubeconfig(&exec)), "exec"),
        (runtime(kubeconfig(&json!({ "auth-provider": { "name": "gcp" } }))), "auth-provider"),
        (runtime(kubeconfig(&json!({ "tokenFile": "/etc/token" }))), "tokenFile"),
        (runtime(json!({ "kubeconfig": "clusters: [" })), "kubeconfig"),
        (runtime(json!({})), "endpoint"),
        (document("attachment", "bad", json!({ "workload_instance": "nothing" })), "nothing"),
        (document("project", "bad", json!({ "default_runtime": "nothing" })), "nothing"),
        (document("object-kind", "bad", json!({ "descriptor_set": "AAAA", "message": "a.B" })), "descriptor_set"),
    ]
}

async fn stored(system: &System) -> i64 {
    system.database.number("SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM commits)").await
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_are_refused_over_grpc_and_rest_and_tptctl_with_what_to_do() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let before = stored(&system).await;
    let mut wrong = String::new();
    for (document, part) in bad_documents() {
        let object = &document.to_string()[..document.to_string().len().min(300)];
        // An erased Struct can't hold what isn't JSON; all of these are.
        match system.api.apply(std::slice::from_ref(&document)).await {
            Ok(_) => writeln!(wrong, "stored: {object}").unwrap(),
            Err(status) => {
                let is_clear =
                    matches!(status.code(), Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition);
                if !is_clear || !status.message().contains(part) {
                    writeln!(wrong, "gRPC says {:?} `{}`, not {part}: {object}", status.code(), status.message())
                        .unwrap();
                }
            }
        }
        let body = json!({ "objects": [{
            "kind": document["kind"], "spec": document["spec"],
            "meta": { "name": document["name"], "project": if document["kind"] == "project" || document["kind"] == "object-kind" { "" } else { "default" } },
        }] });
        let (status, text) = rest(&system, Method::POST, "/v1/apply", &system.api.token, body.to_string()).await;
        if !status.is_client_error() || !text.replace("\\\"", "\"").contains(part) {
            writeln!(wrong, "REST says {status} {text}, not {part}: {object}").unwrap();
        }
        let printed = system.tptctl.apply(&file(std::slice::from_ref(&document)), &[]).await;
        if printed.code == 0 || !printed.stderr.contains(part) || printed.stderr.contains("panicked") {
            writeln!(wrong, "tptctl says {printed:?}, not {part}: {object}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(stored(&system).await, before, "something of it was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_are_refused_with_line_and_column() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let cases = [
        ("version: v1\nkind: workload\nname: [web\n", ":3:7"),
        ("version: v1\nkind: workload\nname: web\nname: web\nspec: {image: nginx}\n", ":4:"),
        ("version: v1\nkind: workload\nname: web\nspec: {image: nginx}\ncolor: blue\n", "color"),
        ("version: v7\nkind: workload\nname: web\nspec: {image: nginx}\n", "must be `v1`"),
        ("kind: workload\n", "name"),
        ("version: v1\nkind: workload\nname: web\nspec: {manifest: {file: nowhere.yaml}}\n", "nowhere.yaml"),
        ("just text", ":1:"),
        (
            "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c]\n",
            "",
        ),
    ];
    let before = stored(&system).await;
    let mut wrong = String::new();
    for (text, part) in cases {
        let printed = system.tptctl.apply(text, &[]).await.failed();
        if !printed.stderr.contains(part) || printed.stderr.contains("panicked") || !printed.stdout.is_empty() {
            writeln!(wrong, "{text}says {printed:?}, not {part}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(stored(&system).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let before = stored(&system).await;
    let web = "/v1/projects/default/workloads/web";
    let token = system.api.token.clone();
    let large = json!({ "spec": { "image": "a".repeat(5 << 20) } }).to_string();
    let cases = [
        (Method::PUT, web, token.as_str(), large, StatusCode::PAYLOAD_TOO_LARGE, ""),
        (Method::PUT, web, &token, "{\"spec\": ".into(), StatusCode::BAD_REQUEST, "line 1"),
        (Method::PUT, web, &token, "[]".into(), StatusCode::BAD_REQUEST, ""),
        (Method::PUT, web, &token, "\u{0}".into(), StatusCode::BAD_REQUEST, ""),
        (Method::PUT, web, &token, json!({ "spce": {} }).to_string(), StatusCode::BAD_REQUEST, "spec"),
        (
            Method::PUT,
            web,
            "wrong",
            json!({ "spec": { "image": "nginx" } }).to_string(),
            StatusCode::UNAUTHORIZED,
            "token",
        ),
        (Method::GET, web, "", String::new(), StatusCode::UNAUTHORIZED, "token"),
        (Method::GET, web, &token, String::new(), StatusCode::NOT_FOUND, "web"),
        (
            Method::GET,
            "/v1/projects/default/workloads?page_size=-1",
            &token,
            String::new(),
            StatusCode::BAD_REQUEST,
            "page_size",
        ),
        (
            Method::GET,
            "/v1/projects/default/workloads?page_token=x",
            &token,
            String::new(),
            StatusCode::BAD_REQUEST,
            "page_token",
        ),
        (
            Method::GET,
            "/v1/projects/default/workloads?filter=((",
            &token,
            String::new(),
            StatusCode::BAD_REQUEST,
            "filter",
        ),
        (
            Method::GET,
            "/v1/projects/default/workloads?color=blue",
            &token,
            String::new(),
            StatusCode::BAD_REQUEST,
            "color",
        ),
        (Method::GET, "/v1/projects/default/nothings/web", &token, String::new(), StatusCode::NOT_FOUND, ""),
        (Method::GET, "/v1/watch?from_position=x", &token, String::new(), StatusCode::BAD_REQUEST, "from_position"),
    ];
    for (method, path, token, body, expected, part) in cases {
        let sent = format!("{method} {path} {}", &body[..body.len().min(80)]);
        let (status, text) = rest(&system, method, path, token, body).await;
        assert!(status == expected && text.contains(part), "{sent}\nsays {status} {text}");
    }
    assert_eq!(stored(&system).await, before);
    assert!(!system.api_servers[0].log().contains("panicked"), "{}", system.api_servers[0].log());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_refused_over_grpc() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let meta = v1::ObjectMeta { name: "web".into(), project: "default".into(), ..Default::default() };
    let spec = v1::WorkloadSpec { image: "nginx".into(), ..Default::default() };
    let workload = v1::Workload { meta: Some(meta), spec: Some(spec), status: None };
    let create = v1::CreateWorkloadRequest { project: "default".into(), object: Some(workload), ..Default::default() };
    let unknown_at_top = [create.encode_to_vec(), vec![0xf8, 0x07, 0x01]].concat();
    let path = "/threeport.v1.WorkloadService/Create";
    let refused = refusal(raw(&system, path, unknown_at_top).await);
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("127"), "{refused}");
    let garbage = refusal(raw(&system, path, vec![0xff; 64]).await);
    assert_eq!(garbage.code(), Code::InvalidArgument, "{garbage}");
    assert!(system.api.list("workload").await.is_empty());
    raw(&system, path, create.encode_to_vec()).await.unwrap();
}

/// One unary call with a body of any bytes.
async fn raw(system: &System, path: &'static str, body: Vec<u8>) -> Result<Bytes, tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(system.api.channel.clone());
    grpc.ready().await.expect("the server is there");
    let path = http::uri::PathAndQuery::from_static(path);
    let request = tonic::Request::new(Bytes::from(body));
    grpc.unary(request, path, BytesCodec).await.map(tonic::Response::into_inner)
}
