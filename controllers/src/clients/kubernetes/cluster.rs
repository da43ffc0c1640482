//! What reconcilers may ask of a cluster.

use futures::Stream;
use http::Method;
use serde_json::{Value, json};
use threeport::v1::ResourceReference;

use super::calls::{APPLY, Answer, Call, Calls, JSON, MERGE, query};
use super::census::Censuses;
use super::credentials::InvalidCredentials;
use super::discovery::{Discovery, ResourceType};
use super::error::{Error, Result};
use super::watch::{Change, Listed};
use crate::resource::{is_terminating, reference, resource_version, text, uid};

/// No object ever has it, since versions count up from what the first write to the storage got: an apply with it makes what is
/// absent, and what is present it answers with 409, untouched.
const OF_NOTHING: &str = "1";
const PAGE: &str = "500";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// One Kubernetes cluster.
pub struct Cluster {
    runtime_id: String,
    calls: Calls,
    discovery: Discovery,
    pub censuses: Censuses,
}

/// A server-side apply.
#[derive(Clone, Copy)]
pub struct Apply<'a> {
    pub object: &'a Value,
    pub manager: &'a str,
    /// Takes fields from other managers.
    pub force: bool,
    /// Only if the object still is this one; none if there must be no such object yet.
    pub known: Option<&'a Identity>,
}

/// The object that a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: String,
    pub resource_version: String,
}

impl Identity {
    /// The object exactly as it was read.
    pub fn of(object: &Value) -> Self {
        Self { uid: uid(object).to_owned(), resource_version: resource_version(object).to_owned() }
    }
}

/// What an apply made of the object.
pub struct Applied {
    pub object: Value,
    pub is_created: bool,
}

/// Where to list.
pub struct Scope<'a> {
    /// Empty for all.
    pub namespace: &'a str,
    pub labels: &'a str,
    pub fields: &'a str,
}

impl Scope<'_> {
    pub const ALL: Scope<'static> = Scope { namespace: "", labels: "", fields: "" };
}

/// What became of a delete.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// Proved absent, or another object has the name now.
    Gone,
    /// Marked; finalizers or its contents keep it for now.
    Going(Value),
}

impl Cluster {
    pub fn new(runtime_id: &str, config: kube::Config) -> std::result::Result<Self, InvalidCredentials> {
        let client = kube::Client::try_from(config)
            .map_err(|error| InvalidCredentials(format!("the credentials can't be used: {error}")))?;
        let (runtime_id, calls) = (runtime_id.to_owned(), Calls::new(client));
        Ok(Self { runtime_id, calls, discovery: Discovery::default(), censuses: Censuses::default() })
    }

    pub fn runtime_id(&self) -> &str {
        &self.runtime_id
    }

    /// Whether the last calls went unanswered.
    pub fn is_unreachable(&self) -> bool {
        self.calls.breaker.is_open()
    }

    /// Where the cluster serves a kind.
    pub async fn resource_type(&self, api_version: &str, kind: &str) -> Result<ResourceType> {
        self.discovery.find(&self.calls, api_version, kind).await
    }

    /// Every kind of resource that the cluster serves now.
    pub async fn fresh_types(&self) -> Result<Vec<ResourceType>> {
        self.discovery.fresh(&self.calls).await
    }

    pub async fn apply(&self, apply: Apply<'_>) -> Result<Applied> {
        let reference = reference(apply.object);
        let resource = self.type_of(&reference).await?;
        let parameters = [("fieldManager", apply.manager), ("force", if apply.force { "true" } else { "false" })];
        let path = resource.path(&reference.namespace, Some(&reference.name)) + &query(&parameters);
        let mut object = apply.object.clone();
        match apply.known {
            Some(known) => {
                object["metadata"]["uid"] = Value::from(known.uid.as_str());
                object["metadata"]["resourceVersion"] = Value::from(known.resource_version.as_str());
            }
            None => object["metadata"]["resourceVersion"] = Value::from(OF_NOTHING),
        }
        let call = Call::on(Method::PATCH, path, "apply", &reference).body(APPLY, &object);
        let answer = self.noticing_lost_kinds(Call { is_service: reference.kind == "Service", ..call }).await?;
        Ok(Applied { object: answer.body, is_created: answer.code == 201 })
    }

    /// Creates an object, or fails with `AlreadyExists`.
    pub async fn create(&self, object: &Value, manager: &str) -> Result<Value> {
        let reference = reference(object);
        let resource = self.type_of(&reference).await?;
        let path = resource.path(&reference.namespace, None) + &query(&[("fieldManager", manager)]);
        let call = Call::on(Method::POST, path, "create", &reference).body(JSON, object);
        Ok(self.calls.call(call).await?.body)
    }

    /// The object; none if it is proved absent, which it also is when the cluster doesn't serve its kind.
    pub async fn get(&self, reference: &ResourceReference) -> Result<Option<Value>> {
        let resource = match self.type_of(reference).await {
            Err(Error::UnknownKind { .. }) => return Ok(None),
            resource => resource?,
        };
        let path = resource.path(&reference.namespace, Some(&reference.name));
        match self.noticing_lost_kinds(Call::on(Method::GET, path, "get", reference)).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes fields of the object of this uid: a JSON merge patch.
    pub async fn merge(&self, reference: &ResourceReference, uid: &str, patch: &Value, manager: &str) -> Result<Value> {
        let resource = self.type_of(reference).await?;
        let path = resource.path(&reference.namespace, Some(&reference.name)) + &query(&[("fieldManager", manager)]);
        let mut patch = patch.clone();
        patch["metadata"]["uid"] = Value::from(uid);
        let call = Call::on(Method::PATCH, path, "patch", reference).body(MERGE, &patch);
        Ok(self.calls.call(call).await?.body)
    }

    /// Deletes the object of this uid and, in the background, what it owns.
    pub async fn delete(&self, reference: &ResourceReference, uid: &str) -> Result<Deletion> {
        let resource = match self.type_of(reference).await {
            Err(Error::UnknownKind { .. }) => return Ok(Deletion::Gone),
            resource => resource?,
        };
        let path = resource.path(&reference.namespace, Some(&reference.name));
        let options = json!({ "propagationPolicy": "Background", "preconditions": { "uid": uid } });
        let call = Call::on(Method::DELETE, path, "delete", reference).body(JSON, &options);
        match self.calls.call(call).await {
            // A `Status` instead of the object, or the object without the mark of deletion: it is gone from storage. Services
            // and service accounts are answered as they last were.
            Ok(answer) if answer.body["kind"] == "Status" || !is_terminating(&answer.body) => Ok(Deletion::Gone),
            Ok(answer) => Ok(Deletion::Going(answer.body)),
            Err(Error::NotFound(_)) => Ok(Deletion::Gone),
            // The uid differs, or the object changed meanwhile: look.
            Err(Error::Stale(message)) => match self.get(reference).await? {
                Some(object) if object["metadata"]["uid"] == uid => Err(Error::Stale(message)),
                _ => Ok(Deletion::Gone),
            },
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind in scope.
    pub async fn list(&self, resource: &ResourceType, scope: &Scope<'_>) -> Result<Listed> {
        self.pages(resource, scope, JSON).await
    }

    /// The metadata of all objects of a kind in scope.
    pub async fn list_metadata(&self, resource: &ResourceType, scope: &Scope<'_>) -> Result<Vec<Value>> {
        Ok(self.pages(resource, scope, METADATA).await?.items)
    }

    /// The metadata of the first objects of a kind in scope, and whether those are all.
    pub async fn first_metadata(
        &self,
        resource: &ResourceType,
        scope: &Scope<'_>,
        limit: &str,
    ) -> Result<(Vec<Value>, bool)> {
        let mut page = self.page(resource, scope, METADATA, limit, "").await?;
        let items = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let is_complete = text(&page["metadata"]["continue"]).is_empty();
        Ok((items.into_iter().map(|item| typed(item, resource)).collect(), is_complete))
    }

    /// Follows a kind from a resource version on.
    pub async fn watch(
        &self,
        resource: &ResourceType,
        scope: &Scope<'_>,
        resource_version: &str,
    ) -> Result<impl Stream<Item = Result<Change>> + Send + use<>> {
        self.noticing_lost(super::watch::watch(&self.calls, resource, scope, resource_version).await).await
    }

    /// The API server's version: `v1.34.4`.
    pub async fn version(&self) -> Result<String> {
        let answer = self.calls.call(Call::new(Method::GET, "/version".into(), "version", "")).await?;
        Ok(answer.body["gitVersion"].as_str().unwrap_or_default().to_owned())
    }

    async fn type_of(&self, reference: &ResourceReference) -> Result<ResourceType> {
        self.resource_type(&reference.api_version, &reference.kind).await
    }

    /// A 404 for a path, not an object, means that what is cached of the kind is no longer true.
    async fn noticing_lost_kinds(&self, call: Call<'_>) -> Result<Answer> {
        self.noticing_lost(self.calls.call(call).await).await
    }

    async fn noticing_lost<T>(&self, answer: Result<T>) -> Result<T> {
        // The second is said of a kind whose definition is gone.
        let is_lost = |message: &str| message.contains("the requested resource") || message.contains("page not found");
        if matches!(&answer, Err(Error::NotFound(message)) if is_lost(message)) {
            self.discovery.forget().await;
        }
        answer
    }

    async fn pages(&self, resource: &ResourceType, scope: &Scope<'_>, accept: &str) -> Result<Listed> {
        let (mut listed, mut next) = (Listed::default(), String::new());
        loop {
            let mut page = self.page(resource, scope, accept, PAGE, &next).await?;
            let items = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            listed.items.extend(items.into_iter().map(|item| typed(item, resource)));
            text(&page["metadata"]["resourceVersion"]).clone_into(&mut listed.resource_version);
            text(&page["metadata"]["continue"]).clone_into(&mut next);
            if next.is_empty() {
                return Ok(listed);
            }
        }
    }

    async fn page(
        &self,
        resource: &ResourceType,
        scope: &Scope<'_>,
        accept: &str,
        limit: &str,
        next: &str,
    ) -> Result<Value> {
        let Scope { namespace, labels, fields } = scope;
        let parameters = [("limit", limit), ("labelSelector", labels), ("fieldSelector", fields), ("continue", next)];
        let path = resource.path(namespace, None) + &query(&parameters);
        let call = Call { accept, ..Call::new(Method::GET, path, "list", &resource.kind) };
        Ok(self.noticing_lost_kinds(call).await?.body)
    }
}

/// Items of a list come without their kind.
fn typed(mut item: Value, resource: &ResourceType) -> Value {
    item["apiVersion"] = Value::from(resource.api_version.as_str());
    item["kind"] = Value::from(resource.kind.as_str());
    item
}
