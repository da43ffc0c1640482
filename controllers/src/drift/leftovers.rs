//! What deleted instances have left in a cluster, by a write that came too late.

use std::collections::BTreeMap;
use std::sync::Arc;

use threeport_sdk::controller::LeaseGuard;

use crate::clients::kubernetes::{Cluster, Deletion, Error, Result};
use crate::resource::{display, field_manager, is_namespace, is_shared, managed_fields};
use crate::workload_instance::contents::{self, Contents};
use crate::workload_instance::desired::Owner;
use crate::workload_instance::plan::{Live, Observed};

/// Deletes, by uid, what our manager made for an instance that has a tombstone. Claims, retained resources, and namespaces
/// with something in them stay.
pub async fn remove(
    cluster: Arc<Cluster>,
    lease: LeaseGuard,
    control_plane_id: String,
    by_instance: BTreeMap<String, Live>,
) {
    for (instance_id, live) in by_instance {
        let leaving = Owner { control_plane_id: &control_plane_id, instance_id: &instance_id };
        for seen in live.values().filter(|seen| !seen.is_retained) {
            let resource = display(&seen.reference);
            match lease.guard(Box::pin(remove_one(&cluster, seen, leaving))).await {
                Ok(Ok(true)) => tracing::info!(instance_id, resource, "removed a leftover of a deleted instance"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(instance_id, resource, %error, "a leftover can't be removed");
                }
                Err(_) => return,
            }
        }
    }
}

async fn remove_one(cluster: &Arc<Cluster>, seen: &Observed, leaving: Owner<'_>) -> Result<bool> {
    if is_shared(&seen.reference) {
        if !is_namespace(&seen.reference) {
            return Ok(false);
        }
        let Some(live) =
            cluster.get(&seen.reference).await?.filter(|live| live["metadata"]["uid"] == seen.uid.as_str())
        else {
            return Ok(false);
        };
        // Its annotation gets copied, too; we create namespaces and don't apply them.
        let manager = field_manager(leaving.instance_id);
        if !managed_fields(&live).iter().any(|entry| entry["manager"] == manager.as_str()) {
            return Ok(false);
        }
        if contents::foreign(cluster, &live, leaving, Contents::Leftovers).await?.is_some() {
            return Ok(false);
        }
    } else if !seen.is_ours() {
        return Ok(false);
    }
    match cluster.delete(&seen.reference, &seen.uid).await {
        Ok(Deletion::Gone | Deletion::Going(_)) => Ok(true),
        Err(Error::Stale(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
