//! The API over gRPC for tests: plain calls, objects as JSON.

use serde_json::{Value, json};
use threeport::json::{from_struct, to_json, to_struct};
use threeport::v1::object_service_client::ObjectServiceClient;
use threeport::v1::{self, ObjectMeta};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::{MINUTE, eventually};

pub type Client = ObjectServiceClient<InterceptedService<Channel, Bearer>>;

#[derive(Clone)]
pub struct Api {
    pub address: String,
    pub token: String,
    pub channel: InterceptedService<Channel, Bearer>,
    pub client: Client,
}

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Api {
    /// Connects when first used, and again after the server was away.
    pub fn connect(address: &str, token: &str) -> Self {
        let channel = Endpoint::from_shared(address.to_owned()).expect("addresses of tests are URLs").connect_lazy();
        let bearer = Bearer(format!("Bearer {token}").parse().expect("tokens of tests are ASCII"));
        let channel = InterceptedService::new(channel, bearer);
        let client = ObjectServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        Self { address: address.to_owned(), token: token.to_owned(), channel, client }
    }

    /// Applies documents in one transaction; the outcomes in their order.
    pub async fn apply(&self, documents: &[Value]) -> Result<Vec<v1::ApplyResult>, Status> {
        let objects = documents.iter().map(object).collect();
        let request = v1::ApplyRequest { objects, ..Default::default() };
        Ok(self.client.clone().apply(request).await?.into_inner().results)
    }

    /// An object of the project `default` (or of none) as JSON with `kind`, `meta`, `spec` and `status`.
    pub async fn find(&self, kind: &str, name: &str) -> Result<Value, Status> {
        let project = if in_project(kind) { "default" } else { "" };
        let request = v1::GetObjectRequest { kind: kind.into(), project: project.into(), name: name.into() };
        self.client.clone().get(request).await.map(|response| json_of(response.into_inner()))
    }

    /// As `find`, of an object that is there.
    pub async fn get(&self, kind: &str, name: &str) -> Value {
        self.find(kind, name).await.unwrap_or_else(|status| panic!("{kind} {name}: {status}"))
    }

    pub async fn list(&self, kind: &str) -> Vec<Value> {
        self.try_list(kind).await.unwrap_or_else(|status| panic!("{kind}: {status}"))
    }

    /// As `list`, of a server that may be away.
    pub async fn try_list(&self, kind: &str) -> Result<Vec<Value>, Status> {
        let project = if in_project(kind) { "default" } else { "" };
        let request = v1::ListObjectsRequest {
            kind: kind.into(),
            project: project.into(),
            page_size: 1000,
            ..Default::default()
        };
        let page = self.client.clone().list(request).await?.into_inner();
        Ok(page.items.into_iter().map(json_of).collect())
    }

    /// Asks for the deletion of an object.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<v1::DeleteResponse, Status> {
        let project = if in_project(kind) { "default" } else { "" };
        let request = v1::DeleteObjectRequest {
            kind: kind.into(),
            project: project.into(),
            name: name.into(),
            ..Default::default()
        };
        self.client.clone().delete(request).await.map(tonic::Response::into_inner)
    }

    /// Sets fields of an object, such as `spec.paused`.
    pub async fn update(&self, document: &Value, mask: &str) -> Result<Value, Status> {
        let request =
            v1::UpdateObjectRequest { object: Some(object(document)), update_mask: mask.into(), ..Default::default() };
        self.client.clone().update(request).await.map(|response| json_of(response.into_inner()))
    }

    /// Waits until an object is settled and Ready, and returns it.
    pub async fn wait_ready(&self, kind: &str, name: &str) -> Value {
        self.wait_for(kind, name, "settled and Ready", |object| {
            object["meta"]["settled"] == true && condition(object, "Ready")["status"] == "True"
        })
        .await
    }

    /// Waits until an object is as `holds` wants it, and returns it.
    pub async fn wait_for(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{kind} {name} is {what}"), MINUTE * 2, async || {
            let object = self.find(kind, name).await.map_err(|status| status.to_string())?;
            if holds(&object) { Ok(object) } else { Err(object.to_string()) }
        })
        .await
    }

    /// Waits until an object is gone.
    pub async fn wait_gone(&self, kind: &str, name: &str) {
        eventually(&format!("{kind} {name} is gone"), MINUTE * 2, async || match self.find(kind, name).await {
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(status.to_string()),
            Ok(object) => Err(object.to_string()),
        })
        .await;
    }

    /// Events about an object and what it owns, newest first.
    pub async fn events(&self, kind: &str, name: &str) -> Vec<v1::Event> {
        let request = v1::EventsRequest {
            project: "default".into(),
            kind: kind.into(),
            name: name.into(),
            page_size: 1000,
            ..Default::default()
        };
        self.client.clone().events(request).await.expect("events are answered").into_inner().events
    }
}

/// A document as the erased object that it stands for.
pub fn object(document: &Value) -> v1::Object {
    let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let strings = |field: &str| serde_json::from_value(document[field].clone()).unwrap_or_default();
    let project = match document["project"].as_str() {
        Some(project) => project.to_owned(),
        None if in_project(&text("kind")) => "default".to_owned(),
        None => String::new(),
    };
    let meta = ObjectMeta {
        name: text("name"),
        project,
        labels: strings("labels"),
        annotations: strings("annotations"),
        revision: text("revision").parse().unwrap_or_default(),
        ..Default::default()
    };
    v1::Object { kind: text("kind"), meta: Some(meta), spec: Some(to_struct(document["spec"].clone())), status: None }
}

/// An erased object as JSON.
pub fn json_of(object: v1::Object) -> Value {
    json!({
        "kind": object.kind,
        "meta": object.meta.as_ref().map(to_json),
        "spec": object.spec.map(from_struct),
        "status": object.status.map(from_struct),
    })
}

/// An object's condition of a type; null if it has none.
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

/// The status of a call that must have been refused.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Status {
    outcome.expect_err("this call is to be refused")
}

fn in_project(kind: &str) -> bool {
    !["project", "object-kind"].contains(&kind)
}
