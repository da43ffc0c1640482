//! Takes an instance out of its cluster: everything it had, by uid, in reverse order, with proof.

use std::sync::Arc;

use serde_json::json;
use threeport::object::Object;
use threeport::v1::{InventoryEntry, RecordRequest, ResourceReference, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, EventType, Next};

use super::claims::{self, Leaver};
use super::contents::Contents;
use super::deployment::Deployment;
use super::order::Order;
use super::plan::is_shared_entry;
use super::removal::{Removal, Removals, Removed};
use super::source::Source;
use super::work::step_end;
use super::{WorkloadInstances, cluster_of, volume_claims};
use crate::clients::kubernetes::{Cluster, Result as ClusterResult};
use crate::resource::{display, field_manager, group, is_namespace};

/// One pass; done when all is proved gone, or kept and no longer marked as ours.
pub async fn run(instances: &WorkloadInstances, context: &mut Context<WorkloadInstance>) -> Result<Next, Failure> {
    if context.inventory().is_empty() {
        return Ok(Next::Done);
    }
    let source = Source::of(context)?;
    let cluster = match cluster_of(&instances.clusters, &context.object, source.runtime.as_ref()) {
        Ok(cluster) => cluster,
        Err((reason, message)) => return Err(stuck(context, &reason, &message)),
    };
    let watch = instances.watches.on(&cluster, context.lease(), context.control(), context.control_plane_id());
    let _in_flight = watch.begin(&context.object.meta().id);
    clear(context, &cluster).await
}

/// One pass over the inventory of whatever kind of deployment.
pub async fn clear(context: &mut Context<impl Deployment>, cluster: &Arc<Cluster>) -> Result<Next, Failure> {
    let until = step_end();
    context.set_runtime(cluster.runtime_id());
    let entries = match entries(context, cluster).await? {
        Ok(entries) => entries,
        Err(error) => return Err(stuck(context, error.reason(), &error.to_string())),
    };
    let order = Order::of(&entries);
    let (shared, own): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_shared_entry);
    let own = order.backwards(own);
    let manager = field_manager(&context.object.meta().id);
    let (whole, mut shared) = goes_whole(shared, &own, &manager, &order);
    let leaver = Leaver { context, cluster, manager: &manager, until };
    let released = claims::release(&leaver, &whole, Contents::All).await?;
    shared.extend(whole.into_iter().filter(|entry| is_among(&released.occupied, entry)));
    let own = own.into_iter().filter(|entry| !goes_along(entry, released.waiting.iter().map(|going| &going.reference)));
    let (gone, own): (Vec<_>, Vec<_>) = own.partition(|entry| goes_along(entry, &released.absent));
    let mut removals = remove_own(&leaver, own, &order).await?;
    removals.gone.extend(gone.into_iter().filter_map(|entry| entry.resource));
    removals.note_released(released);
    if removals.are_over() {
        let released = claims::release(&leaver, &shared, Contents::Leftovers).await?;
        let absent = released.absent.clone();
        removals.note_released(released);
        if removals.are_over() {
            removals.notes.extend(removals.kept.iter().filter_map(|entry| stays(entry, &absent)));
            // Told once, also if something wakes the instance before it is gone.
            removals.gone.extend(removals.kept.iter().filter_map(|entry| entry.resource.clone()));
        }
    }
    report(context, removals)
}

fn is_among(references: &[ResourceReference], entry: &InventoryEntry) -> bool {
    entry.resource.as_ref().is_some_and(|reference| references.contains(reference))
}

/// The namespace that bears the instance's own number, apart from what else is shared: if nothing in it may have to be kept,
/// or to go before the rest, it takes all in it along. One call deletes what would else be one for each resource and one more.
fn goes_whole(
    shared: Vec<InventoryEntry>,
    own: &[InventoryEntry],
    manager: &str,
    order: &Order,
) -> (Vec<InventoryEntry>, Vec<InventoryEntry>) {
    let number = manager.rsplit('-').next().unwrap_or_default();
    let is_managed = |reference: &ResourceReference| {
        is_namespace(reference) && reference.name.rsplit('-').next().is_some_and(|last| last == number)
    };
    let goes_alone = |one: &InventoryEntry| one.retained || order.is_custom(one);
    let is_whole =
        |reference: &ResourceReference| !own.iter().any(|one| goes_alone(one) && goes_along(one, [reference]));
    shared.into_iter().partition(|entry| entry.resource.as_ref().is_some_and(|one| is_managed(one) && is_whole(one)))
}

/// Whether it is in one of these namespaces.
fn goes_along<'a>(entry: &InventoryEntry, namespaces: impl IntoIterator<Item = &'a ResourceReference>) -> bool {
    let place = entry.resource.as_ref().map_or("", |reference| reference.namespace.as_str());
    !place.is_empty() && namespaces.into_iter().any(|namespace| is_namespace(namespace) && namespace.name == place)
}

/// The inventory, with the claims that stateful sets have made by now.
pub async fn entries(
    context: &Context<impl Deployment>,
    cluster: &Cluster,
) -> Result<ClusterResult<Vec<InventoryEntry>>, Failure> {
    let mut entries = context.inventory().to_vec();
    let mut found = match context.lease().guard(claims_of_sets(context.inventory(), cluster)).await? {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    found.retain(|claim| !entries.iter().any(|entry| entry.resource == claim.resource));
    if !found.is_empty() {
        // Before the set goes: afterwards nothing leads to its claims.
        let runtime_id = cluster.runtime_id().to_owned();
        context.record(RecordRequest { runtime_id, entries: found.clone(), ..Default::default() }).await?;
        entries.extend(found);
    }
    Ok(Ok(entries))
}

async fn claims_of_sets(inventory: &[InventoryEntry], cluster: &Cluster) -> ClusterResult<Vec<InventoryEntry>> {
    let is_stateful_set =
        |known: &&ResourceReference| known.kind == "StatefulSet" && group(&known.api_version) == "apps";
    let mut found = Vec::new();
    for reference in inventory.iter().filter_map(|entry| entry.resource.as_ref()).filter(is_stateful_set) {
        if let Some(live) = cluster.get(reference).await? {
            found.extend(volume_claims::of(cluster, &live).await?);
        }
    }
    Ok(found)
}

/// Deletes in this order; keeps what outlives the instance unless its data is to go too. Custom resources are waited for:
/// what removes their finalizers must not go before them.
async fn remove_own(
    leaver: &Leaver<'_, impl Deployment>,
    own: Vec<InventoryEntry>,
    order: &Order,
) -> Result<Removals, Failure> {
    let Leaver { context, cluster, manager, until } = *leaver;
    let instance_id = context.object.meta().id.clone();
    let removal = Removal { cluster, lease: context.lease(), manager, instance_id: &instance_id, until };
    let mut removals = Removals::default();
    let mut goes_first = false;
    for entry in &own {
        if goes_first && !order.is_custom(entry) && !removals.are_over() {
            break;
        }
        goes_first |= order.is_custom(entry);
        let is_kept = entry.retained && !context.delete_data();
        let removed = match is_kept {
            true if entry.observed => Removed::Kept,
            true => removal.let_go(entry).await?,
            false => removal.delete(entry).await?,
        };
        removals.note(entry, removed);
    }
    Ok(removals)
}

/// What is said of something kept, once all else is gone. It has no owner any more: only its cluster's own tools remove it.
fn stays(entry: &InventoryEntry, absent: &[ResourceReference]) -> Option<String> {
    let reference = entry.resource.as_ref()?;
    let ResourceReference { kind, namespace, name, .. } = reference;
    if goes_along(entry, absent) {
        return Some(format!("{} went with its namespace, which was being deleted when it came", display(reference)));
    }
    let flag = if namespace.is_empty() { String::new() } else { format!(" -n {namespace}") };
    Some(format!("{} stays; `kubectl{flag} delete {}/{name}` removes it", display(reference), kind.to_lowercase()))
}

fn report(context: &mut Context<impl Deployment>, removals: Removals) -> Result<Next, Failure> {
    for note in &removals.notes {
        context.event(EventType::Normal, "Kept", note.clone());
    }
    let next_look = removals.next_look();
    context.forget_inventory(removals.gone);
    if let Some((_, error)) = removals.failed.first() {
        return Err(stuck(context, error.reason(), &error.to_string()));
    }
    let Some(next_look) = next_look else { return Ok(Next::Done) };
    let message = match removals.going.first() {
        Some(going) => format!("waiting for the cluster: {}", going.why),
        None => "its resources are being removed".to_owned(),
    };
    context.set_status(json!({ "health": "Reconciling" }));
    context.condition("Ready", false, "Deleting", message);
    Ok(Next::CheckIn(next_look))
}

/// Never a silent success: the instance stays, and says why.
pub fn stuck(context: &mut Context<impl Deployment>, reason: &str, message: &str) -> Failure {
    let message =
        format!("can't be deleted yet: {message}; delete with --orphan to give it up and leave its resources behind");
    context.set_status(json!({ "health": "Error" }));
    context.condition("Ready", false, reason, message.clone());
    Failure::Retry(anyhow::anyhow!(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, namespace: &str, name: &str, retained: bool) -> InventoryEntry {
        let (kind, namespace, name) = (kind.into(), namespace.into(), name.into());
        let resource = Some(ResourceReference { api_version: "v1".into(), kind, namespace, name });
        InventoryEntry { resource, retained, ..Default::default() }
    }

    #[test]
    fn only_a_namespace_of_its_own_with_nothing_to_keep_goes_whole() {
        let shared = || vec![entry("Namespace", "", "web-0123456789", false), entry("Namespace", "", "team", false)];
        let whole = |own: &[InventoryEntry]| {
            let (whole, rest) = goes_whole(shared(), own, "threeport-0123456789", &Order::of(&[]));
            assert_eq!(whole.len() + rest.len(), 2);
            whole.into_iter().filter_map(|entry| entry.resource).map(|found| found.name).collect::<Vec<_>>()
        };
        let plain = entry("ConfigMap", "web-0123456789", "a", false);
        let claim = entry("PersistentVolumeClaim", "web-0123456789", "a", true);
        assert_eq!(whole(std::slice::from_ref(&plain)), ["web-0123456789"]);
        assert!(whole(&[plain, claim]).is_empty());
        assert_eq!(whole(&[entry("PersistentVolumeClaim", "team", "a", true)]), ["web-0123456789"]);
    }

    #[test]
    fn what_is_kept_stays_unless_its_namespace_was_on_its_way() {
        let (claim, namespace) =
            (entry("PersistentVolumeClaim", "web", "a", true), entry("Namespace", "", "web", false));
        let said = stays(&claim, &[]).unwrap();
        assert!(said.ends_with("stays; `kubectl -n web delete persistentvolumeclaim/a` removes it"), "{said}");
        assert!(!stays(&claim, &[namespace.resource.unwrap()]).unwrap().contains("stays"));
    }

    #[test]
    fn what_no_namespace_holds_goes_along_with_none() {
        let namespace = entry("Namespace", "", "web", false).resource.unwrap();
        assert!(goes_along(&entry("ConfigMap", "web", "a", false), [&namespace]));
        assert!(!goes_along(&entry("ClusterRole", "", "a", false), [&namespace]));
    }
}
