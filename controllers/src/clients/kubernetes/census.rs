//! What a cluster has of the kinds that it has little of, so that a look into a namespace need not ask for each of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::Mutex;

use super::cluster::{Cluster, Scope};
use super::discovery::ResourceType;
use super::error::{Error, Result};
use crate::resource::text;

/// Of a kind with more objects than this only the number is taken.
const FEW: &str = "50";
const AT_ONCE: usize = 8;

/// The namespaced objects of a cluster, by metadata.
#[derive(Debug, Default)]
pub struct Census {
    few: HashMap<String, Vec<Value>>,
    /// Kinds that have to be asked for in the namespace itself.
    many: Vec<ResourceType>,
}

/// The last one taken.
pub type Last = Mutex<Option<(Instant, Arc<Census>)>>;

impl Census {
    /// What a namespace has of kinds of which the cluster has few.
    pub fn few_in(&self, namespace: &str) -> &[Value] {
        self.few.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    /// The other kinds.
    pub fn many(&self) -> &[ResourceType] {
        &self.many
    }

    fn add(&mut self, resource: ResourceType, (items, is_complete): (Vec<Value>, bool)) {
        if !is_complete {
            self.many.push(resource);
            return;
        }
        for item in items {
            self.few.entry(text(&item["metadata"]["namespace"]).to_owned()).or_default().push(item);
        }
    }
}

impl Cluster {
    /// A census of all kinds but those that `skips` names, begun after it was asked for: what was made before is in it,
    /// also of a kind that has just come. All who ask while one is taken share the next.
    pub async fn census(&self, skips: fn(&str) -> bool) -> Result<Arc<Census>> {
        let asked_at = Instant::now();
        let mut last = self.last_census.lock().await;
        if let Some((_, census)) = last.as_ref().filter(|(begun_at, _)| *begun_at >= asked_at) {
            return Ok(census.clone());
        }
        let begun_at = Instant::now();
        let types = self.namespaced_types(Duration::ZERO).await?;
        let looks = types.into_iter().filter(|found| !skips(&found.kind)).map(|found| self.count(found));
        let counted = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        let mut census = Census::default();
        for (resource, found) in counted.into_iter().flatten() {
            census.add(resource, found);
        }
        let census = Arc::new(census);
        *last = Some((begun_at, census.clone()));
        Ok(census)
    }

    async fn count(&self, resource: ResourceType) -> Result<Option<(ResourceType, (Vec<Value>, bool))>> {
        match self.first_metadata(&resource, &Scope::ALL, FEW).await {
            Ok(found) => Ok(Some((resource, found))),
            // Some kinds can't be listed, or went since discovery.
            Err(Error::NotFound(_) | Error::Invalid(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_complete_list_tells_what_a_namespace_has() {
        let kind = |kind: &str| ResourceType {
            api_version: "v1".into(),
            kind: kind.into(),
            plural: String::new(),
            is_namespaced: true,
            is_collection: true,
            is_preferred: true,
        };
        let item = |namespace: &str| json!({ "metadata": { "namespace": namespace } });
        let mut census = Census::default();
        census.add(kind("Secret"), (vec![item("a"), item("b"), item("a")], true));
        census.add(kind("Pod"), (vec![item("a")], false));
        assert_eq!((census.few_in("a").len(), census.few_in("b").len(), census.few_in("c").len()), (2, 1, 0));
        assert_eq!(census.many(), [kind("Pod")]);
    }
}
