//! What to do with each resource. Pure: all that is known comes in, steps come out.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use threeport::v1::{InventoryEntry, ResourceReference};

use super::desired::Desired;
use super::order::Order;
use super::repairs::Repairs;
use crate::health::{self, Health};
use crate::resource::{
    APPLIED_HASH, annotation, group, hash, is_retained, is_same, is_shared, managed_hash, owned_fields, ownership_hash,
    reference, resource_version, selector, uid,
};

/// What was seen of an object: all that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub uid: String,
    pub resource_version: String,
    pub applied_hash: String,
    pub managed_hash: String,
    pub ownership_hash: String,
    pub is_retained: bool,
    pub health: Health,
    /// Whether it has replicas that our manager doesn't own.
    pub yields_replicas: bool,
    /// The labels of the pods it runs; empty for what runs none.
    pub selector: BTreeMap<String, String>,
    pub reference: ResourceReference,
}

impl Observed {
    /// What to remember of a live object of the instance with this field manager.
    pub fn of(object: &Value, manager: &str) -> Self {
        Self {
            uid: uid(object).to_owned(),
            resource_version: resource_version(object).to_owned(),
            applied_hash: annotation(object, APPLIED_HASH).to_owned(),
            managed_hash: managed_hash(object, manager),
            ownership_hash: ownership_hash(object),
            is_retained: is_retained(object),
            health: health::of(object),
            yields_replicas: !object["spec"]["replicas"].is_null()
                && owned_fields(object, manager).is_some_and(|owned| owned["f:spec"]["f:replicas"].is_null()),
            selector: selector(object),
            reference: reference(object),
        }
    }

    /// Whether our manager owns anything in it: labels alone get copied.
    pub fn is_ours(&self) -> bool {
        self.managed_hash != hash(&Value::Null)
    }
}

/// The same for all versions of a resource.
pub type Key = (String, String, String, String);

pub fn key(reference: &ResourceReference) -> Key {
    let ResourceReference { api_version, kind, namespace, name } = reference;
    (group(api_version).to_owned(), kind.clone(), namespace.clone(), name.clone())
}

/// What the cluster has of an instance.
pub type Live = HashMap<Key, Observed>;

/// One thing to do. Indexes are of the desired resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not known to be in the cluster: apply without force.
    Create(usize),
    /// Ours, and to be otherwise: apply with force, if it is still the one that was seen.
    Change(usize),
    /// Ours, and not as we left it: look closer, and repair.
    Inspect(usize),
    /// As we left it.
    Keep(usize),
    /// No longer wanted: delete it and prove its absence.
    Prune(InventoryEntry),
    /// No longer wanted, but kept: take our labels off.
    Retain(InventoryEntry),
    /// A namespace or CRD that is no longer used.
    Release(InventoryEntry),
}

/// The entry for a resource.
pub fn entry<'a>(inventory: &'a [InventoryEntry], reference: &ResourceReference) -> Option<&'a InventoryEntry> {
    inventory.iter().find(|entry| entry.resource.as_ref().is_some_and(|known| is_same(known, reference)))
}

/// Steps for the desired resources in their order, then for what is no longer wanted in reverse order of application.
pub fn plan(desired: &[Desired], inventory: &[InventoryEntry], live: &Live) -> Vec<Step> {
    let mut steps =
        desired.iter().enumerate().map(|(index, one)| step(index, one, inventory, live)).collect::<Vec<_>>();
    let is_wanted = |entry: &InventoryEntry| {
        entry.resource.as_ref().is_none_or(|known| desired.iter().any(|one| is_same(&one.reference, known)))
    };
    let left = inventory.iter().filter(|entry| !entry.observed && !is_wanted(entry));
    let (shared, own): (Vec<_>, Vec<_>) = left.cloned().partition(is_shared_entry);
    let removal = |entry: InventoryEntry| if entry.retained { Step::Retain(entry) } else { Step::Prune(entry) };
    steps.extend(Order::of(inventory).backwards(own).into_iter().map(removal));
    steps.extend(strays(desired, inventory, live).map(Step::Prune));
    steps.extend(shared.into_iter().map(Step::Release));
    steps
}

/// Late creates of ours: labelled and managed by us, but neither wanted nor known.
fn strays(desired: &[Desired], inventory: &[InventoryEntry], live: &Live) -> impl Iterator<Item = InventoryEntry> {
    let is_stray = |seen: &&Observed| {
        let is_wanted = desired.iter().any(|one| is_same(&one.reference, &seen.reference));
        let is_known = entry(inventory, &seen.reference).is_some();
        seen.is_ours() && !is_wanted && !is_known && !seen.is_retained && !is_shared(&seen.reference)
    };
    live.values().filter(is_stray).map(|seen| InventoryEntry {
        resource: Some(seen.reference.clone()),
        uid: seen.uid.clone(),
        ..Default::default()
    })
}

pub fn is_shared_entry(entry: &InventoryEntry) -> bool {
    entry.resource.as_ref().is_some_and(is_shared)
}

fn step(index: usize, one: &Desired, inventory: &[InventoryEntry], live: &Live) -> Step {
    let Some(entry) = entry(inventory, &one.reference).filter(|entry| !entry.uid.is_empty()) else {
        return Step::Create(index);
    };
    if entry.applied_hash != one.hash || entry.observed {
        return Step::Change(index);
    }
    // Namespaces and CRDs carry no label to find them by; a deleted one shows in what needs it.
    if one.is_shared() {
        return Step::Keep(index);
    }
    match live.get(&key(&one.reference)) {
        Some(seen) if !is_drifted(entry, seen) && !is_contended(entry) => Step::Keep(index),
        _ => Step::Inspect(index),
    }
}

/// Whether an object is not as the inventory says we left it.
pub fn is_drifted(entry: &InventoryEntry, seen: &Observed) -> bool {
    seen.uid != entry.uid || seen.applied_hash != entry.applied_hash || seen.managed_hash != entry.managed_hash
}

/// Whether a fight about it was stopped: it stands as the other wrote it, which is not as it should be.
fn is_contended(entry: &InventoryEntry) -> bool {
    Repairs::read(&entry.repairs).contended.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::render::Resource;

    use super::super::desired::{Owner, desired};
    use super::*;

    fn config_map(name: &str, value: &str) -> Resource {
        Resource::new(
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "n" }, "data": { "a": value } }),
        )
    }

    fn wanted(resources: Vec<Resource>) -> Vec<Desired> {
        desired(resources, Owner { control_plane_id: "p", instance_id: "i" })
    }

    fn known(one: &Desired) -> InventoryEntry {
        InventoryEntry {
            resource: Some(one.reference.clone()),
            uid: format!("uid-{}", one.reference.name),
            applied_hash: one.hash.clone(),
            managed_hash: "m".into(),
            retained: one.is_retained,
            ..Default::default()
        }
    }

    fn seen(entry: &InventoryEntry) -> (Key, Observed) {
        let observed = Observed {
            uid: entry.uid.clone(),
            resource_version: "1".into(),
            applied_hash: entry.applied_hash.clone(),
            managed_hash: entry.managed_hash.clone(),
            ownership_hash: String::new(),
            is_retained: entry.retained,
            health: Health::healthy(),
            yields_replicas: false,
            selector: BTreeMap::new(),
            reference: entry.resource.clone().unwrap(),
        };
        (key(entry.resource.as_ref().unwrap()), observed)
    }

    #[test]
    fn everything_new_is_created_in_order() {
        let wanted = wanted(vec![config_map("a", "1"), config_map("b", "1")]);
        assert_eq!(plan(&wanted, &[], &Live::new()), [Step::Create(0), Step::Create(1), Step::Create(2)]);
    }

    #[test]
    fn what_is_as_we_left_it_is_kept() {
        let wanted = wanted(vec![config_map("a", "1")]);
        let inventory = wanted.iter().map(known).collect::<Vec<_>>();
        let live = inventory.iter().map(seen).collect::<Live>();
        assert_eq!(plan(&wanted, &inventory, &live), [Step::Keep(0), Step::Keep(1)]);
    }

    #[test]
    fn only_what_changed_is_applied() {
        let before = wanted(vec![config_map("a", "1"), config_map("b", "1")]);
        let inventory = before.iter().map(known).collect::<Vec<_>>();
        let live = inventory.iter().map(seen).collect::<Live>();
        let after = wanted(vec![config_map("a", "1"), config_map("b", "2")]);
        assert_eq!(plan(&after, &inventory, &live), [Step::Keep(0), Step::Keep(1), Step::Change(2)]);
    }

    #[test]
    fn what_left_the_manifest_is_pruned_and_its_namespace_released() {
        let inventory = wanted(vec![config_map("a", "1"), config_map("b", "1")]).iter().map(known).collect::<Vec<_>>();
        let steps = plan(&[], &inventory, &Live::new());
        assert_eq!(
            steps,
            [Step::Prune(inventory[2].clone()), Step::Prune(inventory[1].clone()), Step::Release(inventory[0].clone())]
        );
    }

    #[test]
    fn claims_are_retained_when_they_leave() {
        let claim = Resource::new(
            json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" } }),
        );
        let inventory = wanted(vec![claim]).iter().map(known).collect::<Vec<_>>();
        assert_eq!(plan(&[], &inventory, &Live::new()), [Step::Retain(inventory[0].clone())]);
    }

    #[test]
    fn what_is_missing_replaced_or_edited_is_inspected() {
        let wanted = wanted(vec![config_map("a", "1")]);
        let inventory = wanted.iter().map(known).collect::<Vec<_>>();
        assert_eq!(plan(&wanted, &inventory, &Live::new())[1], Step::Inspect(1));
        for change in [
            |seen: &mut Observed| seen.uid = "other".into(),
            |seen: &mut Observed| seen.managed_hash = "other".into(),
            |seen: &mut Observed| seen.applied_hash = "late".into(),
        ] {
            let mut live = inventory.iter().map(seen).collect::<Live>();
            live.values_mut().for_each(change);
            assert_eq!(plan(&wanted, &inventory, &live)[1], Step::Inspect(1));
        }
    }

    #[test]
    fn what_is_contended_is_looked_at_each_time() {
        let wanted = wanted(vec![config_map("a", "1")]);
        let mut inventory = wanted.iter().map(known).collect::<Vec<_>>();
        let live = inventory.iter().map(seen).collect::<Live>();
        inventory[1].repairs = r#"{"contended":{"field":"data.a","manager":"k","since":0,"ownership":"o"}}"#.into();
        assert_eq!(plan(&wanted, &inventory, &live)[1], Step::Inspect(1));
    }

    #[test]
    fn what_was_recorded_but_never_seen_is_created_without_force() {
        let wanted = wanted(vec![config_map("a", "1")]);
        let mut inventory = wanted.iter().map(known).collect::<Vec<_>>();
        inventory[1].uid.clear();
        assert_eq!(plan(&wanted, &inventory, &Live::new())[1], Step::Create(1));
    }

    #[test]
    fn a_late_create_is_pruned_and_a_copied_label_is_not() {
        let inventory = wanted(vec![config_map("late", "1")]).iter().map(known).collect::<Vec<_>>();
        let mut live = Live::from([seen(&inventory[1])]);
        assert!(matches!(&plan(&[], &[], &live)[..], [Step::Prune(entry)] if entry.uid == "uid-late"));
        for seen in live.values_mut() {
            seen.managed_hash = hash(&Value::Null);
        }
        assert_eq!(plan(&[], &[], &live), []);
    }

    #[test]
    fn what_the_cluster_made_is_left_alone() {
        let entry =
            InventoryEntry { resource: Some(ResourceReference::default()), observed: true, ..Default::default() };
        assert_eq!(plan(&[], &[entry], &Live::new()), []);
    }
}
