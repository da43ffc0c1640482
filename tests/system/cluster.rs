//! What tests do to the cluster behind our back, and what they see in it. Resources are named by their REST path.

use std::collections::BTreeSet;

use futures::{Stream, StreamExt};
use http::{Method, Request};
use kube::core::WatchEvent;
use kube::discovery::{Discovery, Scope};
use kube::{Client, Error};
use serde_json::Value;

#[derive(Clone)]
pub struct Cluster {
    client: Client,
    pub kubeconfig: String,
}

impl Cluster {
    /// Connects with an administrator's kubeconfig, its data inline.
    pub async fn connect(kubeconfig: String) -> Self {
        let parsed = kube::config::Kubeconfig::from_yaml(&kubeconfig).expect("the sandbox writes a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(parsed, &kube::config::KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("its context is complete")).expect("its certificates are valid");
        Self { client, kubeconfig }
    }

    /// The resource at `path`, such as `/apis/apps/v1/namespaces/a/deployments/b`; none if it isn't there.
    pub async fn get(&self, path: &str) -> Option<Value> {
        self.request(Method::GET, path, "", String::new()).await
    }

    /// The items of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// What a watch shows: the objects at first, and then each as it is after a change. Ends with its connection.
    pub async fn watch(&self, path: &str) -> impl Stream<Item = Value> + use<> {
        let request = Request::get(path).body(Vec::new()).expect("paths of resources are valid");
        let events = self.client.request_events::<Value>(request).await;
        let events = events.unwrap_or_else(|error| panic!("watch {path}: {error}"));
        events.filter_map(async |event| match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Some(object),
            _ => None,
        })
    }

    /// Creates a resource in the collection at `path`.
    pub async fn create(&self, path: &str, resource: &Value) -> Value {
        let created = self.request(Method::POST, path, "application/json", resource.to_string()).await;
        created.unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// Server-side apply, which makes what isn't there.
    pub async fn apply(&self, path: &str, manager: &str, resource: &Value) {
        let place = format!("{path}?fieldManager={manager}");
        self.request(Method::PATCH, &place, "application/apply-patch+yaml", resource.to_string()).await;
    }

    /// Changes a resource as `manager` does with a merge patch; the path may name a subresource.
    pub async fn patch(&self, path: &str, manager: &str, patch: &Value) -> Value {
        let place = format!("{path}?fieldManager={manager}");
        let patched = self.request(Method::PATCH, &place, "application/merge-patch+json", patch.to_string()).await;
        patched.unwrap_or_else(|| panic!("{path} is not there"))
    }

    pub async fn delete(&self, path: &str) {
        self.request(Method::DELETE, path, "", String::new()).await;
    }

    /// Everything in the cluster with `tag` in its name or namespace or with `control_plane`'s label, as `kind namespace/name`.
    /// Events are left out: the cluster keeps them for an hour.
    pub async fn all_of(&self, tag: &str, control_plane: &str) -> BTreeSet<String> {
        let discovery = Discovery::new(self.client.clone()).run().await.expect("the cluster answers");
        let mut found = BTreeSet::new();
        for (resource, capabilities) in discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources) {
            if resource.kind == "Event" || !capabilities.supports_operation("list") {
                continue;
            }
            let prefix = if resource.group.is_empty() { "/api" } else { "/apis" };
            for item in self.list(&format!("{prefix}/{}/{}", resource.api_version, resource.plural)).await {
                let meta = &item["metadata"];
                let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
                let is_ours = text(&meta["labels"]["threeport.io/control-plane"]) == control_plane;
                if is_ours || name.contains(tag) || namespace.contains(tag) {
                    let place = if capabilities.scope == Scope::Namespaced { namespace + "/" } else { String::new() };
                    found.insert(format!("{} {place}{name}", resource.kind));
                }
            }
        }
        found
    }

    async fn request(&self, method: Method, path: &str, content_type: &str, body: String) -> Option<Value> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.body(body.into_bytes()).expect("paths of resources are valid");
        match self.client.request::<Value>(request).await {
            Ok(value) => Some(value),
            Err(Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
