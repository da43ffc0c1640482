//! A paused instance: nothing is touched but what attachments being deleted had brought.

use serde_json::json;
use threeport::object::Object;
use threeport::v1::{InventoryEntry, ResourceReference, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, Next};

use super::plan::{entry, is_shared_entry};
use super::removal::{Removal, Removals};
use super::source::Source;
use super::work::step_end;
use super::{WorkloadInstances, cluster_of, wait_for_runtime};
use crate::resource::{field_manager, is_shared};

pub async fn reconcile(
    instances: &WorkloadInstances,
    context: &mut Context<WorkloadInstance>,
    source: &Source,
) -> Result<Next, Failure> {
    let mut status = source.status();
    status["health"] = json!("Paused");
    context.set_status(status);
    let leaving = match source.render_leaving() {
        Ok(leaving) => leaving,
        // What can't be told can't be proved gone.
        Err(message) => {
            let message = format!("is paused; what its leaving attachments brought can't be told: {message}");
            context.condition("Ready", false, "Paused", message.clone());
            return Err(Failure::give_up("ValuesInvalid", message));
        }
    };
    let entries = leaving
        .iter()
        .flat_map(|resource| known(context.inventory(), resource.reference(), &source.namespace))
        .cloned()
        .collect::<Vec<_>>();
    if !entries.is_empty()
        && let Some(next) = prune(instances, context, source, entries).await?
    {
        return Ok(next);
    }
    context.condition("Ready", false, "Paused", "is paused: nothing is touched; set `paused: false` to go on");
    context.set_pruned();
    Ok(Next::Done)
}

/// The entries of a resource that several instances can't share. One that names no namespace has the default one, or none:
/// of a custom kind only the cluster knows which, and an instance never has both.
fn known<'a>(
    inventory: &'a [InventoryEntry],
    resource: ResourceReference,
    namespace: &str,
) -> impl Iterator<Item = &'a InventoryEntry> + use<'a> {
    let mut places = Vec::with_capacity(2);
    if resource.namespace.is_empty() && !is_shared(&resource) {
        places.push(ResourceReference { namespace: namespace.to_owned(), ..resource.clone() });
    }
    places.push(resource);
    places.into_iter().filter_map(|place| entry(inventory, &place)).filter(|entry| !is_shared_entry(entry))
}

/// Removes; answers when to look again if something isn't gone yet.
async fn prune(
    instances: &WorkloadInstances,
    context: &mut Context<WorkloadInstance>,
    source: &Source,
    entries: Vec<InventoryEntry>,
) -> Result<Option<Next>, Failure> {
    let cluster = match cluster_of(&instances.clusters, &context.object, source.runtime.as_ref()) {
        Ok(cluster) => cluster,
        Err((reason, message)) => return Ok(Some(wait_for_runtime(context, &source.status(), &reason, &message))),
    };
    context.set_runtime(cluster.runtime_id());
    let instance_id = context.object.meta().id.clone();
    let manager = field_manager(&instance_id);
    let removal = Removal {
        cluster: &cluster,
        lease: context.lease(),
        manager: &manager,
        instance_id: &instance_id,
        until: step_end(),
    };
    let mut removals = Removals::default();
    for entry in entries.iter().rev() {
        let removed = if entry.retained { removal.let_go(entry).await? } else { removal.delete(entry).await? };
        removals.note(entry, removed);
    }
    let next_look = removals.next_look();
    context.forget_inventory(removals.gone);
    context.keep_inventory(removals.kept);
    if let Some((_, error)) = removals.failed.into_iter().next() {
        context.condition("Ready", false, "Paused", format!("is paused; {error}"));
        return Err(Failure::Retry(error.into()));
    }
    let Some(next_look) = next_look else { return Ok(None) };
    let why =
        removals.going.first().map_or("what its leaving attachments brought is being removed", |going| &going.why);
    context.condition("Ready", false, "Paused", format!("is paused; {why}"));
    Ok(Some(Next::CheckIn(next_look)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_resource_without_namespace_is_found_where_the_cluster_put_it() {
        let reference = |namespace: &str| ResourceReference {
            api_version: "acme.io/v1".into(),
            kind: "Widget".into(),
            namespace: namespace.into(),
            name: "x".into(),
        };
        let entry = |namespace: &str| InventoryEntry { resource: Some(reference(namespace)), ..Default::default() };
        for place in ["", "team"] {
            assert_eq!(known(&[entry(place)], reference(""), "team").count(), 1, "in {place:?}");
        }
        assert_eq!(known(&[entry("other")], reference(""), "team").count(), 0);
    }
}
