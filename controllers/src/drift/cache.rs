//! What the watches have seen: a few facts for each object of ours, by instance. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;
use threeport::v1::ResourceReference;

use crate::resource::{INSTANCE_LABEL, MADE_FOR, annotation, field_manager, group, label, text, uid};
use crate::workload_instance::plan::{Key, Live, Observed, key};

/// A kind in a version: `("apps/v1", "Deployment")`.
pub type KindKey = (String, String);

#[derive(Default)]
pub struct Cache {
    /// Kinds whose list is complete and whose watch runs.
    synced: HashSet<KindKey>,
    objects: HashMap<String, Live>,
    /// The instance of each object, by uid: labels may be changed or taken off.
    owners: HashMap<String, String>,
    /// What each autoscaler targets, by its uid; none until they are listed.
    autoscalers: Option<HashMap<String, Key>>,
}

/// The instance that an object belongs to: by label, or a namespace by what it was made for.
pub fn instance_of(object: &Value) -> &str {
    let labelled = label(object, INSTANCE_LABEL);
    if labelled.is_empty() { annotation(object, MADE_FOR) } else { labelled }
}

impl Cache {
    pub fn live<'a>(&self, instance_id: &str, kinds: impl IntoIterator<Item = &'a ResourceReference>) -> Option<Live> {
        let is_synced =
            |found: &ResourceReference| self.synced.contains(&(found.api_version.clone(), found.kind.clone()));
        let is_complete = kinds.into_iter().all(is_synced);
        is_complete.then(|| self.objects.get(instance_id).cloned().unwrap_or_default())
    }

    pub fn autoscaled(&self) -> Option<Vec<Key>> {
        Some(self.autoscalers.as_ref()?.values().cloned().collect())
    }

    pub fn is_synced(&self, reference: &ResourceReference) -> bool {
        self.synced.contains(&(reference.api_version.clone(), reference.kind.clone()))
    }

    /// What is seen of an instance.
    pub fn of(&self, instance_id: &str) -> Live {
        self.objects.get(instance_id).cloned().unwrap_or_default()
    }

    /// Takes a complete list of a kind; answers the instances that have or had some of it.
    pub fn replace(&mut self, kind: &KindKey, items: &[Value]) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        for (instance_id, live) in &mut self.objects {
            let before = live.len();
            for seen in live.values().filter(|seen| is_of(seen, kind)) {
                self.owners.remove(&seen.uid);
            }
            live.retain(|_, seen| !is_of(seen, kind));
            if live.len() != before {
                touched.insert(instance_id.clone());
            }
        }
        touched.extend(items.iter().flat_map(|item| self.put(item)));
        self.objects.retain(|_, live| !live.is_empty());
        self.synced.insert(kind.clone());
        touched
    }

    /// Takes an object as it is now; answers the instances for which anything that matters has changed.
    pub fn put(&mut self, object: &Value) -> Vec<String> {
        let instance_id = instance_of(object);
        let seen = Observed::of(object, &field_manager(instance_id));
        let before = self.owners.get(&seen.uid).filter(|before| *before != instance_id).cloned();
        let mut touched = before.into_iter().filter(|before| self.take(before, &seen)).collect::<Vec<_>>();
        if instance_id.is_empty() {
            self.owners.remove(&seen.uid);
            return touched;
        }
        self.owners.insert(seen.uid.clone(), instance_id.to_owned());
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

    /// Takes a complete list of autoscalers.
    pub fn replace_autoscalers(&mut self, items: &[Value]) {
        self.autoscalers = Some(items.iter().map(|item| (uid(item).to_owned(), target(item))).collect());
    }

    pub fn lose_autoscalers(&mut self) {
        self.autoscalers = None;
    }

    /// Takes a change of an autoscaler; answers the instances of what it targets now, or no longer does.
    pub fn change_autoscaler(&mut self, autoscaler: &Value, is_gone: bool) -> BTreeSet<String> {
        let Some(autoscalers) = &mut self.autoscalers else { return BTreeSet::new() };
        let now = (!is_gone).then(|| target(autoscaler));
        let before = match &now {
            Some(now) => autoscalers.insert(uid(autoscaler).to_owned(), now.clone()),
            None => autoscalers.remove(uid(autoscaler)),
        };
        if before == now {
            return BTreeSet::new();
        }
        let targets = before.into_iter().chain(now).collect::<Vec<_>>();
        let has_target = |live: &Live| targets.iter().any(|target| live.contains_key(target));
        self.objects.iter().filter(|(_, live)| has_target(live)).map(|(instance_id, _)| instance_id.clone()).collect()
    }
}

fn is_of(seen: &Observed, kind: &KindKey) -> bool {
    seen.reference.api_version == kind.0 && seen.reference.kind == kind.1
}

/// What an autoscaler targets.
pub fn target(autoscaler: &Value) -> Key {
    let target = &autoscaler["spec"]["scaleTargetRef"];
    let namespace = text(&autoscaler["metadata"]["namespace"]).to_owned();
    (
        group(text(&target["apiVersion"])).to_owned(),
        text(&target["kind"]).to_owned(),
        namespace,
        text(&target["name"]).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str, instance: &str, version: &str, hash: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": name, "namespace": "n", "uid": name, "resourceVersion": version,
            "labels": { INSTANCE_LABEL: instance }, "annotations": { "threeport.io/applied-hash": hash } } })
    }

    fn kind() -> KindKey {
        ("v1".into(), "ConfigMap".into())
    }

    #[test]
    fn nothing_is_answered_before_the_list_is_complete_or_after_the_watch_broke() {
        let reference = ResourceReference { api_version: "v1".into(), kind: "ConfigMap".into(), ..Default::default() };
        let mut cache = Cache::default();
        assert!(cache.live("i", [&reference]).is_none());
        cache.replace(&kind(), &[config_map("a", "i", "1", "h")]);
        assert_eq!(cache.live("i", [&reference]).unwrap().len(), 1);
        cache.lose(&kind());
        assert!(cache.live("i", [&reference]).is_none());
    }

    #[test]
    fn a_new_version_alone_is_no_change_but_is_kept_for_preconditions() {
        let mut cache = Cache::default();
        assert_eq!(cache.put(&config_map("a", "i", "1", "h")), ["i"]);
        assert!(cache.put(&config_map("a", "i", "2", "h")).is_empty());
        assert_eq!(cache.of("i").values().next().unwrap().resource_version, "2");
        assert_eq!(cache.put(&config_map("a", "i", "3", "other")), ["i"]);
    }

    #[test]
    fn a_relist_touches_who_lost_something_meanwhile() {
        let mut cache = Cache::default();
        cache.replace(&kind(), &[config_map("a", "i", "1", "h")]);
        assert_eq!(cache.replace(&kind(), &[config_map("b", "j", "1", "h")]), BTreeSet::from(["i".into(), "j".into()]));
    }

    #[test]
    fn an_object_whose_label_is_taken_off_is_missed() {
        let mut cache = Cache::default();
        cache.put(&config_map("a", "i", "1", "h"));
        let mut unlabelled = config_map("a", "i", "2", "h");
        unlabelled["metadata"]["labels"] = json!({});
        assert_eq!(cache.put(&unlabelled), ["i"]);
        assert!(cache.of("i").is_empty());
        assert_eq!(cache.put(&config_map("a", "i", "3", "h")), ["i"]);
    }

    #[test]
    fn an_autoscaler_touches_the_instance_of_its_target() {
        let mut cache = Cache::default();
        cache.put(&config_map("web", "i", "1", "h"));
        cache.replace_autoscalers(&[]);
        let autoscaler = json!({ "metadata": { "uid": "u", "namespace": "n" },
            "spec": { "scaleTargetRef": { "apiVersion": "v1", "kind": "ConfigMap", "name": "web" } } });
        assert_eq!(cache.change_autoscaler(&autoscaler, false), BTreeSet::from(["i".into()]));
        assert_eq!(cache.change_autoscaler(&autoscaler, false), BTreeSet::new());
        assert_eq!(cache.change_autoscaler(&autoscaler, true), BTreeSet::from(["i".into()]));
    }
}
