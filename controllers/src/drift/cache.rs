//! What the watches have seen: a few facts for each object of ours, by instance. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;
use threeport::v1::{InventoryEntry, ResourceReference};
use uuid::Uuid;

use super::autoscalers::Autoscalers;
use crate::resource::{INSTANCE_LABEL, MADE_FOR, annotation, label, manager_of};
use crate::workload_instance::plan::{Key, Live, Observed, key};

/// A kind in a version: `("apps/v1", "Deployment")`.
pub type KindKey = (String, String);

#[derive(Default)]
pub struct Cache {
    /// Kinds whose list is complete and whose watch runs.
    synced: HashSet<KindKey>,
    /// Kinds that the cluster doesn't serve: nothing of them is there.
    unserved: HashSet<KindKey>,
    objects: HashMap<String, Live>,
    /// The instance of each object, by uid: labels may be changed or taken off.
    owners: HashMap<String, String>,
    /// The instance of what stands in each place.
    places: HashMap<Key, String>,
    pub autoscalers: Autoscalers,
}

/// The instance that an object belongs to: by label, or a namespace by what it was made for. Empty if what stands there is
/// no id: anybody may write a label.
pub fn instance_of(object: &Value) -> &str {
    let labelled = label(object, INSTANCE_LABEL);
    let instance_id = if labelled.is_empty() { annotation(object, MADE_FOR) } else { labelled };
    let is_id = Uuid::try_parse(instance_id).is_ok_and(|id| id.to_string() == instance_id);
    if is_id { instance_id } else { "" }
}

impl Cache {
    pub fn live<'a>(&self, instance_id: &str, kinds: impl IntoIterator<Item = &'a ResourceReference>) -> Option<Live> {
        let is_synced =
            |found: &ResourceReference| self.synced.contains(&(found.api_version.clone(), found.kind.clone()));
        let is_complete = kinds.into_iter().all(is_synced);
        is_complete.then(|| self.objects.get(instance_id).cloned().unwrap_or_default())
    }

    /// Whether the object is healthy as it was left, or not seen so yet; none if its kind isn't followed.
    pub fn is_healthy(&self, instance_id: &str, reference: &ResourceReference, left: &InventoryEntry) -> Option<bool> {
        if !self.synced.contains(&(reference.api_version.clone(), reference.kind.clone())) {
            return None;
        }
        let seen = self.objects.get(instance_id).and_then(|live| live.get(&key(reference)));
        Some(seen.is_some_and(|seen| {
            let is_as_left = seen.uid == left.uid
                && seen.applied_hash == left.applied_hash
                && seen.managed_hash == left.managed_hash;
            is_as_left && seen.health.is_healthy()
        }))
    }

    /// Whether what isn't seen of this kind isn't there.
    pub fn shows_absence(&self, reference: &ResourceReference) -> bool {
        let kind = (reference.api_version.clone(), reference.kind.clone());
        self.synced.contains(&kind) || self.unserved.contains(&kind)
    }

    /// What is seen of an instance.
    pub fn of(&self, instance_id: &str) -> Live {
        self.objects.get(instance_id).cloned().unwrap_or_default()
    }

    /// The cluster doesn't serve the kind (any more); answers the instances that were seen to have some of it, and whether
    /// that is news: then others may have some that was never seen.
    pub fn note_unserved(&mut self, kind: &KindKey) -> (BTreeSet<String>, bool) {
        let is_news = !self.unserved.contains(kind);
        let touched = self.replace(kind, &[]);
        self.synced.remove(kind);
        self.unserved.insert(kind.clone());
        (touched, is_news)
    }

    pub fn unserved(&self) -> Vec<KindKey> {
        self.unserved.iter().cloned().collect()
    }

    /// The cluster serves the kind again; it isn't listed yet.
    pub fn note_served(&mut self, kind: &KindKey) {
        self.unserved.remove(kind);
    }

    /// Takes a complete list of a kind; answers the instances that have or had some of it.
    pub fn replace(&mut self, kind: &KindKey, items: &[Value]) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        for (instance_id, live) in &mut self.objects {
            let before = live.len();
            for seen in live.values().filter(|seen| is_of(seen, kind)) {
                self.owners.remove(&seen.uid);
                self.places.remove(&key(&seen.reference));
            }
            live.retain(|_, seen| !is_of(seen, kind));
            if live.len() != before {
                touched.insert(instance_id.clone());
            }
        }
        touched.extend(items.iter().flat_map(|item| self.put(item)));
        self.objects.retain(|_, live| !live.is_empty());
        self.unserved.remove(kind);
        self.synced.insert(kind.clone());
        touched
    }

    /// Takes an object as it is now; answers the instances for which anything that matters has changed.
    pub fn put(&mut self, object: &Value) -> Vec<String> {
        if is_replica(object) {
            return Vec::new();
        }
        let instance_id = instance_of(object);
        let seen = Observed::of(object, &manager_of(object, instance_id));
        let before = self.owners.get(&seen.uid).filter(|before| *before != instance_id).cloned();
        let mut touched = before.into_iter().filter(|before| self.take(before, &seen)).collect::<Vec<_>>();
        if instance_id.is_empty() {
            self.owners.remove(&seen.uid);
            return touched;
        }
        self.owners.insert(seen.uid.clone(), instance_id.to_owned());
        self.places.insert(key(&seen.reference), instance_id.to_owned());
        let live = self.objects.entry(instance_id.to_owned()).or_default();
        let before = live.insert(key(&seen.reference), seen.clone());
        let is_same =
            before.is_some_and(|before| Observed { resource_version: seen.resource_version.clone(), ..before } == seen);
        if !is_same {
            touched.push(instance_id.to_owned());
        }
        touched
    }

    /// Drops an object that is gone; answers its instance.
    pub fn remove(&mut self, object: &Value) -> Vec<String> {
        let seen = Observed::of(object, "");
        let owner = self.owners.remove(&seen.uid);
        owner.into_iter().filter(|owner| self.take(owner, &seen)).collect()
    }

    /// Takes an object from an instance; says whether it had it.
    fn take(&mut self, instance_id: &str, seen: &Observed) -> bool {
        let Some(live) = self.objects.get_mut(instance_id) else { return false };
        let position = key(&seen.reference);
        let had = live.get(&position).is_some_and(|kept| kept.uid == seen.uid);
        if had {
            live.remove(&position);
            if live.is_empty() {
                self.objects.remove(instance_id);
            }
            if self.places.get(&position).is_some_and(|kept| kept == instance_id) {
                self.places.remove(&position);
            }
        }
        had
    }

    /// The watch of a kind broke: what is cached of it may be old.
    pub fn lose(&mut self, kind: &KindKey) {
        self.synced.remove(kind);
    }

    /// The watch of a kind goes on from where it was.
    pub fn resume(&mut self, kind: &KindKey) {
        self.synced.insert(kind.clone());
    }

    /// The instances of objects whose replicas others own though no autoscaler targets them (any more): what a new watch finds.
    /// Of one kind, or of all.
    pub fn unscaled(&self, of: Option<&KindKey>) -> BTreeSet<String> {
        let Some(targets) = self.autoscalers.targets() else { return BTreeSet::new() };
        let is_unscaled = |(key, seen): (&Key, &Observed)| {
            seen.yields_replicas && of.is_none_or(|kind| is_of(seen, kind)) && !targets.contains(key)
        };
        let has_some = |live: &Live| live.iter().any(is_unscaled);
        self.objects.iter().filter(|(_, live)| has_some(live)).map(|(instance_id, _)| instance_id.clone()).collect()
    }

    /// The instances that have something of these.
    pub fn instances_with<'a>(&self, targets: impl IntoIterator<Item = &'a Key>) -> BTreeSet<String> {
        targets.into_iter().filter_map(|target| self.places.get(target)).cloned().collect()
    }

    /// The instances that have something that isn't healthy.
    pub fn ill(&self) -> BTreeSet<String> {
        let is_ill = |live: &Live| live.values().any(|seen| !seen.health.is_healthy());
        self.objects.iter().filter(|(_, live)| is_ill(live)).map(|(instance_id, _)| instance_id.clone()).collect()
    }
}

/// A pod that something of ours runs: it bears our labels, but is nothing that an inventory knows.
fn is_replica(object: &Value) -> bool {
    object["kind"] == "Pod" && object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty())
}

fn is_of(seen: &Observed, kind: &KindKey) -> bool {
    seen.reference.api_version == kind.0 && seen.reference.kind == kind.1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::field_manager;

    const I: &str = "01980000-0000-7000-8000-00000000000a";
    const J: &str = "01980000-0000-7000-8000-00000000000b";

    fn config_map(name: &str, instance: &str, version: &str, hash: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": name, "namespace": "n", "uid": name, "resourceVersion": version,
            "labels": { INSTANCE_LABEL: instance }, "annotations": { "threeport.io/applied-hash": hash } } })
    }

    fn kind() -> KindKey {
        ("v1".into(), "ConfigMap".into())
    }

    #[test]
    fn only_what_was_left_is_healthy_and_only_where_it_is_followed() {
        let mut cache = Cache::default();
        let found = config_map("a", I, "1", "h");
        let seen = Observed::of(&found, &field_manager(I));
        let left = |hash: &str| InventoryEntry {
            uid: seen.uid.clone(),
            applied_hash: hash.into(),
            managed_hash: seen.managed_hash.clone(),
            ..Default::default()
        };
        assert_eq!(cache.is_healthy(I, &seen.reference, &left("h")), None);
        cache.replace(&kind(), &[]);
        assert_eq!(cache.is_healthy(I, &seen.reference, &left("h")), Some(false));
        cache.put(&found);
        assert_eq!(cache.is_healthy(I, &seen.reference, &left("h")), Some(true));
        assert_eq!(cache.is_healthy(I, &seen.reference, &left("newer")), Some(false), "what is seen is of before");
    }

    #[test]
    fn nothing_is_answered_before_the_list_is_complete_or_after_the_watch_broke() {
        let reference = ResourceReference { api_version: "v1".into(), kind: "ConfigMap".into(), ..Default::default() };
        let mut cache = Cache::default();
        assert!(cache.live(I, [&reference]).is_none());
        cache.replace(&kind(), &[config_map("a", I, "1", "h")]);
        assert_eq!(cache.live(I, [&reference]).unwrap().len(), 1);
        cache.lose(&kind());
        assert!(cache.live(I, [&reference]).is_none());
    }

    #[test]
    fn a_new_version_alone_is_no_change_but_is_kept_for_preconditions() {
        let mut cache = Cache::default();
        assert_eq!(cache.put(&config_map("a", I, "1", "h")), [I]);
        assert!(cache.put(&config_map("a", I, "2", "h")).is_empty());
        assert_eq!(cache.of(I).values().next().unwrap().resource_version, "2");
        assert_eq!(cache.put(&config_map("a", I, "3", "other")), [I]);
    }

    #[test]
    fn a_relist_touches_who_lost_something_meanwhile() {
        let mut cache = Cache::default();
        cache.replace(&kind(), &[config_map("a", I, "1", "h")]);
        assert_eq!(cache.replace(&kind(), &[config_map("b", J, "1", "h")]), BTreeSet::from([I.into(), J.into()]));
        let place = |name: &str| (String::new(), "ConfigMap".to_owned(), "n".to_owned(), name.to_owned());
        assert_eq!(cache.instances_with([&place("a"), &place("b")]), BTreeSet::from([J.into()]));
    }

    #[test]
    fn an_object_whose_label_is_taken_off_is_missed() {
        let mut cache = Cache::default();
        cache.put(&config_map("a", I, "1", "h"));
        let mut unlabelled = config_map("a", I, "2", "h");
        unlabelled["metadata"]["labels"] = json!({});
        assert_eq!(cache.put(&unlabelled), [I]);
        assert!(cache.of(I).is_empty() && cache.objects.is_empty() && cache.places.is_empty());
        assert_eq!(cache.put(&config_map("a", I, "3", "h")), [I]);
    }

    #[test]
    fn replicas_that_others_own_without_an_autoscaler_are_noticed_by_a_new_watch() {
        let manager = field_manager(I);
        let deployment = |owned: Value| {
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": 5 }, "metadata": {
                "name": "web", "namespace": "n", "uid": "u", "labels": { INSTANCE_LABEL: I },
                "managedFields": [{ "manager": manager, "operation": "Apply", "fieldsV1": { "f:spec": owned } }] } })
        };
        let (mut cache, kind) = (Cache::default(), ("apps/v1".to_owned(), "Deployment".to_owned()));
        cache.put(&deployment(json!({ "f:paused": {} })));
        assert!(cache.unscaled(None).is_empty(), "the autoscalers aren't listed yet");
        let autoscaler = json!({ "metadata": { "uid": "a", "namespace": "n" },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } } });
        cache.autoscalers.replace(&[autoscaler]);
        assert!(cache.unscaled(Some(&kind)).is_empty());
        cache.autoscalers.replace(&[]);
        assert_eq!(cache.unscaled(Some(&kind)), BTreeSet::from([I.into()]));
        cache.put(&deployment(json!({ "f:replicas": {} })));
        assert!(cache.unscaled(None).is_empty(), "they are ours again");
    }

    #[test]
    fn a_pod_that_a_deployment_runs_is_no_object_of_the_instance() {
        let mut cache = Cache::default();
        let mut pod = config_map("web-1", I, "1", "h");
        pod["kind"] = json!("Pod");
        assert_eq!(cache.put(&pod), [I], "one that the manifest names is");
        pod["metadata"]["ownerReferences"] = json!([{ "kind": "ReplicaSet" }]);
        pod["metadata"]["name"] = json!("web-2");
        assert!(cache.put(&pod).is_empty());
        assert_eq!(cache.of(I).len(), 1);
    }

    #[test]
    fn a_label_that_is_no_id_is_nobodys() {
        let mut cache = Cache::default();
        assert!(cache.put(&config_map("a", "foo", "1", "h")).is_empty());
        assert!(cache.put(&config_map("a", &I.to_uppercase(), "2", "h")).is_empty());
        cache.put(&config_map("a", I, "3", "h"));
        assert_eq!(cache.put(&config_map("a", "foo", "4", "h")), [I], "and its instance misses it");
    }

    #[test]
    fn of_a_kind_that_the_cluster_does_not_serve_nothing_is_there() {
        let reference = ResourceReference { api_version: "v1".into(), kind: "ConfigMap".into(), ..Default::default() };
        let mut cache = Cache::default();
        cache.replace(&kind(), &[config_map("a", I, "1", "h")]);
        assert_eq!(cache.note_unserved(&kind()), (BTreeSet::from([I.into()]), true));
        assert_eq!(cache.note_unserved(&kind()), (BTreeSet::new(), false));
        assert!(cache.shows_absence(&reference) && cache.live(I, [&reference]).is_none());
        cache.note_served(&kind());
        assert!(!cache.shows_absence(&reference), "not listed yet");
    }
}
