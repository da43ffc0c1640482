//! A paused instance: nothing is touched but what attachments being deleted had brought.

use serde_json::json;
use threeport::object::Object;
use threeport::v1::{InventoryEntry, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, Next};

use super::plan::entry;
use super::removal::{Removal, Removals};
use super::source::Source;
use super::{WorkloadInstances, wait_for_runtime};
use crate::resource::{field_manager, is_shared};

pub async fn reconcile(
    instances: &WorkloadInstances,
    context: &mut Context<WorkloadInstance>,
    source: &Source,
) -> Result<Next, Failure> {
    let leaving = source.render_leaving().unwrap_or_default();
    let known = leaving.iter().filter_map(|resource| entry(context.inventory(), &resource.reference()));
    let entries = known
        .filter(|entry| entry.resource.as_ref().is_some_and(|known| !is_shared(known)))
        .cloned()
        .collect::<Vec<_>>();
    if !entries.is_empty()
        && let Some(next) = prune(instances, context, source, entries).await?
    {
        return Ok(next);
    }
    let mut status = source.status();
    status["health"] = json!("Paused");
    context.set_status(status);
    context.condition("Ready", false, "Paused", "is paused: nothing is touched; set `paused: false` to go on");
    Ok(Next::Done)
}

/// Removes; answers when to look again if something isn't gone yet.
async fn prune(
    instances: &WorkloadInstances,
    context: &mut Context<WorkloadInstance>,
    source: &Source,
    entries: Vec<InventoryEntry>,
) -> Result<Option<Next>, Failure> {
    let cluster = match instances.cluster(context, source) {
        Ok(cluster) => cluster,
        Err((reason, message)) => return Ok(Some(wait_for_runtime(context, &reason, &message))),
    };
    context.set_runtime(cluster.runtime_id());
    let instance_id = context.object.meta().id.clone();
    let manager = field_manager(&instance_id);
    let removal = Removal { cluster: &cluster, lease: context.lease(), manager: &manager, instance_id: &instance_id };
    let mut removals = Removals::default();
    for entry in entries.iter().rev() {
        let removed = if entry.retained { removal.let_go(entry).await? } else { removal.delete(entry).await? };
        removals.note(entry, removed);
    }
    context.forget_inventory(removals.gone);
    context.keep_inventory(removals.kept);
    if let Some((_, error)) = removals.failed.into_iter().next() {
        return Err(Failure::Retry(error.into()));
    }
    let Some((_, why)) = removals.going.first() else { return Ok(None) };
    context.condition("Ready", false, "Paused", format!("is paused; {why}"));
    Ok(Some(Next::CheckIn(std::time::Duration::from_secs(1))))
}
