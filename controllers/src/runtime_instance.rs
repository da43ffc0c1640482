//! Keeps an eye on a cluster: whether it answers, what it runs, whether its nodes are simulated.

use std::time::Duration;

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::v1::KubernetesRuntimeInstance;
use threeport_sdk::controller::{Context, Error, Next, Reconciler};

use crate::clients::kubernetes::{self, Cluster, Clusters, Scope};
use crate::drift::Watches;

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// kwok's fake nodes carry it.
const SIMULATED_NODE: &str = "kwok.x-k8s.io/node";

/// Reconciles runtime instances.
pub struct RuntimeInstances {
    pub clusters: Clusters,
    pub watches: Watches,
}

/// What a look at a cluster found.
#[derive(Debug, PartialEq)]
struct Seen {
    version: String,
    nodes: usize,
    is_simulated: bool,
}

impl Reconciler for RuntimeInstances {
    type Object = KubernetesRuntimeInstance;
    const CONTROLLER: &'static str = "kubernetes-runtime-instance";

    async fn reconcile(&self, context: &mut Context<KubernetesRuntimeInstance>) -> Result<Next, Error> {
        let cluster = match self.clusters.of(&context.object) {
            Ok(cluster) => cluster,
            Err(invalid) => {
                context.set_status(json!({ "reachable": false }));
                context.condition("Ready", false, "CredentialsInvalid", invalid.to_string());
                return Err(Error::give_up("CredentialsInvalid", invalid.to_string()));
            }
        };
        self.watches.on(&cluster, context.lease(), context.control(), context.control_plane_id());
        match context.lease().guard(look(&cluster)).await? {
            Ok(seen) => {
                context.set_status(json!({
                    "kubernetes_version": seen.version, "reachable": true, "nodes": seen.nodes, "simulated": seen.is_simulated,
                }));
                context.condition("Ready", true, "Connected", "");
            }
            Err(error) => {
                let is_reachable = !matches!(error, kubernetes::Error::Unreachable(_));
                context.set_status(json!({ "reachable": is_reachable }));
                context.condition("Ready", false, error.reason(), advice(&error));
            }
        }
        Ok(Next::CheckIn(LOOK_EVERY))
    }

    /// No workload uses it any more, so nothing of ours is in the cluster.
    async fn cleanup(&self, context: &mut Context<KubernetesRuntimeInstance>) -> Result<Next, Error> {
        self.watches.forget(&context.object.meta().id);
        self.clusters.forget(&context.object.meta().id);
        Ok(Next::Done)
    }

    /// A cluster that doesn't answer must not keep others from being looked at.
    fn gate(&self, object: &KubernetesRuntimeInstance) -> Option<String> {
        // Apart from the gate of its workloads, which may all be waiting for this very look.
        Some(format!("look/{}/{}", object.meta().project, object.meta().name))
    }
}

async fn look(cluster: &Cluster) -> kubernetes::Result<Seen> {
    let version = cluster.version().await?;
    let resource = cluster.resource_type("v1", "Node").await?;
    let nodes = cluster.list_metadata(&resource, &Scope::ALL).await?;
    Ok(Seen { version, nodes: nodes.len(), is_simulated: is_simulated(&nodes) })
}

/// All of its nodes are fake.
fn is_simulated(nodes: &[Value]) -> bool {
    let is_fake = |node: &Value| !node["metadata"]["annotations"][SIMULATED_NODE].is_null();
    !nodes.is_empty() && nodes.iter().all(is_fake)
}

fn advice(error: &kubernetes::Error) -> String {
    match error {
        kubernetes::Error::Unreachable(_) => format!("{error}; check the endpoint and that the cluster runs"),
        kubernetes::Error::Unauthorized(_) => format!("{error}; register it again with valid credentials"),
        kubernetes::Error::Forbidden(_) => format!("{error}; give the service account the role it needs"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_simulated_only_if_all_its_nodes_are() {
        let (fake, real) =
            (json!({ "metadata": { "annotations": { SIMULATED_NODE: "fake" } } }), json!({ "metadata": {} }));
        assert!(is_simulated(std::slice::from_ref(&fake)));
        assert!(!is_simulated(&[fake, real]));
        assert!(!is_simulated(&[]));
    }
}
