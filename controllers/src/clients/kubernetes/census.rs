//! What a cluster has of the kinds that it has little of, so that a look into a namespace need not ask for each of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, Shared, WeakShared};
use futures::{FutureExt, StreamExt, TryStreamExt};
use serde_json::Value;

use super::cluster::{Cluster, Scope};
use super::discovery::ResourceType;
use super::error::{Error, Result};
use crate::resource::{group, text};

/// Of a kind with more objects than this only the number is taken.
const FEW: &str = "50";
const AT_ONCE: usize = 8;

/// The namespaced objects of a cluster, by metadata.
#[derive(Debug, Default)]
pub struct Census {
    few: HashMap<String, Vec<Value>>,
    /// Kinds that have to be asked for in the namespace itself.
    many: Vec<ResourceType>,
    /// Group and kind of what lives in no namespace.
    cluster_wide: HashSet<(String, String)>,
}

type Taken = BoxFuture<'static, Result<Arc<Census>>>;

/// Takes one census after another, each for all who have asked before it began; nothing is kept of one that all have read.
#[derive(Default)]
pub struct Censuses {
    next: Mutex<Option<WeakShared<Taken>>>,
    turn: tokio::sync::Mutex<()>,
}

impl Census {
    /// What a namespace has of kinds of which the cluster has few.
    pub fn few_in(&self, namespace: &str) -> &[Value] {
        self.few.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    /// The other kinds.
    pub fn many(&self) -> &[ResourceType] {
        &self.many
    }

    /// Whether objects of this kind live in no namespace.
    pub fn is_cluster_wide(&self, group: &str, kind: &str) -> bool {
        self.cluster_wide.contains(&(group.to_owned(), kind.to_owned()))
    }

    fn add(&mut self, resource: ResourceType, (items, is_complete): (Vec<Value>, bool)) {
        if !is_complete {
            self.many.push(resource);
            return;
        }
        for mut item in items {
            for entry in item["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
                // Most of an object's metadata, and nobody asks a census which fields they are.
                entry["fieldsV1"] = Value::Null;
            }
            self.few.entry(text(&item["metadata"]["namespace"]).to_owned()).or_default().push(item);
        }
    }

    #[cfg(test)]
    pub fn of_cluster_wide<const N: usize>(kinds: [(&str, &str); N]) -> Self {
        let cluster_wide = kinds.into_iter().map(|(group, kind)| (group.to_owned(), kind.to_owned())).collect();
        Self { cluster_wide, ..Self::default() }
    }
}

impl Cluster {
    /// A census of all kinds but those that `skips` names, begun after it was asked for: what was made before is in it,
    /// also of a kind that has just come. All who ask while one is taken share the next.
    pub async fn census(self: &Arc<Self>, skips: fn(&ResourceType) -> bool) -> Result<Arc<Census>> {
        self.next_census(skips).await
    }

    fn next_census(self: &Arc<Self>, skips: fn(&ResourceType) -> bool) -> Shared<Taken> {
        let mut next = self.censuses.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = next.as_ref().and_then(WeakShared::upgrade) {
            return asked;
        }
        let cluster = self.clone();
        let taking = async move {
            let _turn = cluster.censuses.turn.lock().await;
            *cluster.censuses.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
            cluster.take_census(skips).await.map(Arc::new)
        };
        let taking = taking.boxed().shared();
        *next = taking.downgrade();
        taking
    }

    async fn take_census(&self, skips: fn(&ResourceType) -> bool) -> Result<Census> {
        let (namespaced, others) =
            self.fresh_types().await?.into_iter().partition::<Vec<_>, _>(|one| one.is_namespaced);
        let is_counted = |found: &ResourceType| found.is_collection && !skips(found);
        let looks = namespaced.into_iter().filter(is_counted).map(|found| self.count(found));
        let counted = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        let cluster_wide = others.into_iter().map(|found| (group(&found.api_version).to_owned(), found.kind));
        let mut census = Census { cluster_wide: cluster_wide.collect(), ..Census::default() };
        for (resource, found) in counted.into_iter().flatten() {
            census.add(resource, found);
        }
        Ok(census)
    }

    async fn count(&self, resource: ResourceType) -> Result<Option<(ResourceType, (Vec<Value>, bool))>> {
        let mut found = self.first_metadata(&resource, &Scope::ALL, FEW).await;
        if let Err(Error::Throttled { retry_after, .. }) = found {
            // Many share a census: one list that is put off must not cost them all.
            tokio::time::sleep(retry_after).await;
            found = self.first_metadata(&resource, &Scope::ALL, FEW).await;
        }
        match found {
            Ok(found) => Ok(Some((resource, found))),
            Err(error) => self.is_nothing_of(&resource, error).await.map(|()| None),
        }
    }

    /// Whether a list failed because there is nothing to list: some kinds can't be listed, or went since discovery. Several
    /// API servers may stand behind one address, and one of them lag: what is still named may be there.
    pub async fn is_nothing_of(&self, resource: &ResourceType, error: Error) -> Result<()> {
        match error {
            Error::Invalid(_) => Ok(()),
            Error::NotFound(_) => match self.resource_type(&resource.api_version, &resource.kind).await {
                Err(Error::UnknownKind { .. }) => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Err(error),
            },
            error => Err(error),
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
        };
        let item = |namespace: &str| json!({ "metadata": { "namespace": namespace } });
        let mut census = Census::default();
        census.add(kind("Secret"), (vec![item("a"), item("b"), item("a")], true));
        census.add(kind("Pod"), (vec![item("a")], false));
        assert_eq!((census.few_in("a").len(), census.few_in("b").len(), census.few_in("c").len()), (2, 1, 0));
        assert_eq!(census.many(), [kind("Pod")]);
    }
}
