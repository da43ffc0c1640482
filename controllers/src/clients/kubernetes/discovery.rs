//! Which kinds of resource a cluster serves, and where: cached, and asked again when an unknown one is wanted.

use std::collections::HashMap;
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
    /// Whether it is the version that the cluster prefers for the kind.
    pub is_preferred: bool,
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
    types: HashMap<(String, String), ResourceType>,
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

    /// All kinds, at most `age` old, each in its preferred version.
    pub async fn all(&self, calls: &Calls, age: Duration) -> Result<Vec<ResourceType>> {
        let mut known = self.0.lock().await;
        known.refresh(calls, age).await?;
        if let Some(stale) = known.stale.first() {
            return Err(Error::Other(format!("the cluster can't reach the server of `{stale}` now")));
        }
        Ok(known.types.values().filter(|found| found.is_preferred).cloned().collect())
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
            let mut seen = Vec::new();
            for version in list(&group["versions"]) {
                let version_name = text(&version["version"]);
                let api_version = if name.is_empty() { version_name } else { format!("{name}/{version_name}") };
                if version["freshness"] == "Stale" {
                    self.stale.push(api_version.clone());
                }
                for resource in list(&version["resources"]) {
                    let kind = text(&resource["responseKind"]["kind"]);
                    let is_preferred = !seen.contains(&kind);
                    seen.push(kind.clone());
                    let verbs = list(&resource["verbs"]);
                    let found = ResourceType {
                        api_version: api_version.clone(),
                        plural: text(&resource["resource"]),
                        is_namespaced: resource["scope"] == "Namespaced",
                        is_collection: ["list", "watch", "delete"].iter().all(|verb| verbs.iter().any(|v| v == verb)),
                        is_preferred,
                        kind: kind.clone(),
                    };
                    self.types.insert((api_version.clone(), kind), found);
                }
            }
        }
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
        assert!(found.is_preferred && found.is_namespaced && found.is_collection);
        assert!(!known.types[&("apps/v1beta1".to_owned(), "Deployment".to_owned())].is_preferred);
        assert_eq!(found.path("web", Some("a")), "/apis/apps/v1/namespaces/web/deployments/a");
        assert_eq!(found.path("", None), "/apis/apps/v1/deployments");
    }
}
