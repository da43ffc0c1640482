//! Kubernetes clusters: one cached client for each runtime, with its discovery, limits and breaker.

mod breaker;
mod calls;
mod census;
mod cluster;
mod credentials;
mod discovery;
mod error;
mod metering;
mod watch;

pub use census::Census;
pub use cluster::{Applied, Apply, Cluster, Deletion, Identity, Scope};
pub use credentials::{InvalidCredentials, kubeconfig};
pub use discovery::ResourceType;
pub use error::{Error, FieldConflict, Result};
pub use watch::{Change, Listed};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use threeport::v1::{KubernetesRuntimeInstance, KubernetesRuntimeInstanceSpec};

/// All clusters of this process, by runtime. Cheap to clone.
#[derive(Clone, Default)]
pub struct Clusters {
    by_runtime: Arc<Mutex<HashMap<String, Cached>>>,
}

struct Cached {
    generation: i64,
    cluster: Arc<Cluster>,
}

impl Clusters {
    /// The cluster of a runtime whose spec is in the clear. Connects to nothing; a changed spec makes a new client.
    pub fn of(&self, runtime: &KubernetesRuntimeInstance) -> std::result::Result<Arc<Cluster>, InvalidCredentials> {
        let meta = runtime.meta.as_ref();
        let (id, generation) = meta.map_or(("", 0), |meta| (meta.id.as_str(), meta.generation));
        if let Some(cached) = self.locked().get(id)
            && cached.generation >= generation
        {
            return Ok(cached.cluster.clone());
        }
        let config = credentials::config(runtime.spec.as_ref().unwrap_or(&KubernetesRuntimeInstanceSpec::default()))?;
        let cluster = Arc::new(Cluster::new(id, config)?);
        self.locked().insert(id.to_owned(), Cached { generation, cluster: cluster.clone() });
        Ok(cluster)
    }

    /// Drops the client of a runtime that is gone.
    pub fn forget(&self, runtime_id: &str) {
        self.locked().remove(runtime_id);
    }

    /// The clusters with a client, by runtime id.
    pub fn all(&self) -> Vec<(String, Arc<Cluster>)> {
        self.locked().iter().map(|(id, cached)| (id.clone(), cached.cluster.clone())).collect()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cached>> {
        self.by_runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
