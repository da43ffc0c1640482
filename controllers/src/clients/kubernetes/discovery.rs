//! Which kinds of resource a cluster serves, and where: cached, and asked again when an unknown one is wanted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use tokio::sync::Mutex;

use super::calls::{Call, Calls};
use super::error::{Error, Result};

/// A kind that is asked for in vain makes for no more calls than this.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// Aggregated discovery: all groups in one answer (KEP-3352).
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// A kind of resource that a cluster serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceType {
    pub api_version: String,
    pub kind: String,
    /// The collection in paths: `deployments`.
    pub plural: String,
    pub is_namespaced: bool,
    /// Whether its objects can be listed, watched and deleted.
    pub is_collection: bool,
}

impl ResourceType {
    /// The path of the collection, or of one object in it.
    pub fn path(&self, namespace: &str, name: Option<&str>) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        let namespace = if self.is_namespaced && !namespace.is_empty() {
            format!("/namespaces/{namespace}")
        } else {
            String::new()
        };
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        format!("{root}/{}{namespace}/{}{name}", self.api_version, self.plural)
    }
}

/// The cache.
#[derive(Default)]
pub struct Discovery(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Of several resources of one kind, the one that can be listed.
    types: HashMap<(String, String), ResourceType>,
    /// Every resource, in the version that the cluster prefers.
    preferred: Vec<ResourceType>,
    /// Group versions whose server did not answer the cluster.
    stale: Vec<String>,
    asked_at: Option<Instant>,
}

impl Discovery {
    /// The kind; asks the cluster if it isn't known.
    pub async fn find(&self, calls: &Calls, api_version: &str, kind: &str) -> Result<ResourceType> {
        let key = (api_version.to_owned(), kind.to_owned());
        let mut known = self.0.lock().await;
        if let Some(found) = known.types.get(&key) {
            return Ok(found.clone());
        }
        known.refresh(calls, REFRESH_EVERY).await?;
        if let Some(found) = known.types.get(&key) {
            return Ok(found.clone());
        }
        if known.stale.iter().any(|stale| stale == api_version) {
            return Err(Error::Other(format!("the cluster can't reach the server of `{api_version}` now")));
        }
        Err(Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() })
    }

    /// Every resource as the cluster serves it now, in its preferred version.
    pub async fn fresh(&self, calls: &Calls) -> Result<Vec<ResourceType>> {
        let mut known = self.0.lock().await;
        known.refresh(calls, Duration::ZERO).await?;
        if let Some(stale) = known.stale.first() {
            return Err(Error::Other(format!("the cluster can't reach the server of `{stale}` now")));
        }
        Ok(known.preferred.clone())
    }

    /// Forgets all: a path was not found.
    pub async fn forget(&self) {
        self.0.lock().await.types.clear();
    }
}

impl Known {
    async fn refresh(&mut self, calls: &Calls, age: Duration) -> Result<()> {
        if !self.types.is_empty() && self.asked_at.is_some_and(|asked_at| asked_at.elapsed() < age) {
            return Ok(());
        }
        let ask = |path: &str| Call { accept: ACCEPT, ..Call::new(Method::GET, path.into(), "discover", "") };
        let (core, groups) = tokio::try_join!(calls.call(ask("/api")), calls.call(ask("/apis")))?;
        self.types.clear();
        self.preferred.clear();
        self.stale.clear();
        for answer in [core.body, groups.body] {
            self.read(&answer);
        }
        self.asked_at = Some(Instant::now());
        Ok(())
    }

    fn read(&mut self, answer: &Value) {
        for group in list(&answer["items"]) {
            let name = text(&group["metadata"]["name"]);
            let mut seen = HashSet::new();
            for version in list(&group["versions"]) {
                let version_name = text(&version["version"]);
                let api_version = if name.is_empty() { version_name } else { format!("{name}/{version_name}") };
                if version["freshness"] == "Stale" {
                    self.stale.push(api_version.clone());
                }
                for resource in list(&version["resources"]) {
                    let found = resource_type(&api_version, resource);
                    if seen.insert(found.plural.clone()) {
                        self.preferred.push(found.clone());
                    }
                    self.add(found);
                }
            }
        }
    }

    fn add(&mut self, found: ResourceType) {
        let key = (found.api_version.clone(), found.kind.clone());
        if found.is_collection || !self.types.contains_key(&key) {
            self.types.insert(key, found);
        }
    }
}

fn resource_type(api_version: &str, resource: &Value) -> ResourceType {
    let verbs = list(&resource["verbs"]);
    ResourceType {
        api_version: api_version.to_owned(),
        kind: text(&resource["responseKind"]["kind"]),
        plural: text(&resource["resource"]),
        is_namespaced: resource["scope"] == "Namespaced",
        is_collection: ["list", "watch", "delete"].iter().all(|verb| verbs.iter().any(|v| v == verb)),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_read_with_their_scope_and_preferred_version() {
        let verbs = json!(["create", "delete", "get", "list", "watch"]);
        let deployment = json!({ "resource": "deployments", "responseKind": { "kind": "Deployment" }, "scope": "Namespaced", "verbs": verbs });
        let answer = json!({ "items": [{ "metadata": { "name": "apps" }, "versions": [
            { "version": "v1", "resources": [deployment] }, { "version": "v1beta1", "resources": [deployment] }
        ]}]});
        let mut known = Known::default();
        known.read(&answer);
        let found = &known.types[&("apps/v1".to_owned(), "Deployment".to_owned())];
        assert!(found.is_namespaced && found.is_collection);
        assert!(known.types.contains_key(&("apps/v1beta1".to_owned(), "Deployment".to_owned())));
        assert_eq!(known.preferred, std::slice::from_ref(found));
        assert_eq!(found.path("web", Some("a")), "/apis/apps/v1/namespaces/web/deployments/a");
        assert_eq!(found.path("", None), "/apis/apps/v1/deployments");
    }
    #[test]
    fn of_two_resources_of_one_kind_both_are_known_and_the_one_that_can_be_listed_is_meant() {
        let resource = |plural: &str, verbs: &Value| json!({ "resource": plural, "responseKind": { "kind": "Template" }, "scope": "Namespaced", "verbs": verbs });
        let (all, create) = (json!(["create", "delete", "get", "list", "watch"]), json!(["create"]));
        for resources in [
            [resource("processedtemplates", &create), resource("templates", &all)],
            [resource("templates", &all), resource("processedtemplates", &create)],
        ] {
            let mut known = Known::default();
            let version = json!({ "version": "v1", "resources": resources });
            known.read(&json!({ "items": [{ "metadata": { "name": "acme.io" }, "versions": [version] }] }));
            assert_eq!(known.types[&("acme.io/v1".to_owned(), "Template".to_owned())].plural, "templates");
            assert_eq!(known.preferred.len(), 2);
        }
    }
}
