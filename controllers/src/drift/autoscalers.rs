//! What the autoscalers of a cluster target. Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::resource::{group, text, uid};
use crate::workload_instance::plan::Key;

#[derive(Default)]
pub struct Autoscalers {
    /// What each targets, by its uid; none until they are listed.
    targets: Option<HashMap<String, Key>>,
    pub are_synced: bool,
}

impl Autoscalers {
    /// All that is targeted, if that is known.
    pub fn targets(&self) -> Option<Vec<Key>> {
        let targets = self.targets.as_ref().filter(|_| self.are_synced)?;
        Some(targets.values().cloned().collect())
    }

    /// Takes a complete list; answers what came to be targeted meanwhile, or no longer is.
    pub fn replace(&mut self, items: &[Value]) -> Vec<Key> {
        let now = items.iter().map(|item| (uid(item).to_owned(), target(item))).collect::<HashMap<_, _>>();
        self.are_synced = true;
        let Some(before) = self.targets.replace(now.clone()) else { return Vec::new() };
        let (before, now) = (before.into_values().collect::<HashSet<_>>(), now.into_values().collect());
        before.symmetric_difference(&now).cloned().collect()
    }

    /// Takes a change of one; answers what it targets now, or no longer does.
    pub fn change(&mut self, autoscaler: &Value, is_gone: bool) -> Vec<Key> {
        let Some(targets) = &mut self.targets else { return Vec::new() };
        let now = (!is_gone).then(|| target(autoscaler));
        let before = match &now {
            Some(now) => targets.insert(uid(autoscaler).to_owned(), now.clone()),
            None => targets.remove(uid(autoscaler)),
        };
        if before == now { Vec::new() } else { before.into_iter().chain(now).collect() }
    }
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

    fn autoscaler() -> Value {
        json!({ "metadata": { "uid": "u", "namespace": "n" },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } } })
    }

    #[test]
    fn one_that_comes_or_goes_touches_its_target() {
        let (mut autoscalers, one) = (Autoscalers::default(), autoscaler());
        autoscalers.replace(&[]);
        assert_eq!(autoscalers.change(&one, false), [target(&one)]);
        assert!(autoscalers.change(&one, false).is_empty());
        assert_eq!(autoscalers.change(&one, true), [target(&one)]);
    }

    #[test]
    fn those_that_came_or_went_while_the_watch_was_broken_are_noticed() {
        let (mut autoscalers, one) = (Autoscalers::default(), autoscaler());
        assert!(autoscalers.replace(&[]).is_empty());
        autoscalers.are_synced = false;
        assert!(autoscalers.targets().is_none());
        assert_eq!(autoscalers.replace(std::slice::from_ref(&one)), [target(&one)]);
        assert!(autoscalers.replace(std::slice::from_ref(&one)).is_empty());
        autoscalers.are_synced = false;
        autoscalers.are_synced = true;
        assert_eq!(autoscalers.targets().map(|targets| targets.len()), Some(1));
        assert_eq!(autoscalers.replace(&[]), [target(&one)]);
    }
}
