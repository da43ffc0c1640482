//! Why things aren't healthy, as the cluster tells it beside them: pods that can't run, and warnings. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::cache::instance_of;
use crate::health::{Health, State, is_pod_ready, pod_trouble};
use crate::resource::{group, text, uid};
use crate::workload_instance::plan::{Key, Observed};

/// More warnings than this are not kept; the newest are.
const WARNINGS: usize = 4096;

/// What pods and warnings say, by whom they are about.
#[derive(Default)]
pub struct Troubles {
    /// By instance, then by namespace and name.
    pods: HashMap<String, BTreeMap<PodName, Pod>>,
    /// The instance of each pod.
    owners: HashMap<PodName, String>,
    /// The last warning about anything.
    warnings: HashMap<Key, Warning>,
    pub are_pods_synced: bool,
    pub are_warnings_synced: bool,
}

type PodName = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    labels: BTreeMap<String, String>,
    is_ready: bool,
    trouble: Option<Said>,
}

/// A CamelCase reason and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    reason: String,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Warning {
    said: Said,
    seen_at: String,
    event: String,
}

impl Troubles {
    /// Whether what isn't known isn't there.
    pub fn are_complete(&self) -> bool {
        self.are_pods_synced && self.are_warnings_synced
    }

    /// Takes a complete list of pods; answers the instances of which some pod came, went, or is otherwise now.
    pub fn replace_pods(&mut self, items: &[Value]) -> BTreeSet<String> {
        let before = std::mem::take(&mut self.pods);
        self.owners.clear();
        for item in items {
            self.put_pod(instance_of(item), item);
        }
        let ids = before.keys().chain(self.pods.keys());
        ids.filter(|id| before.get(*id) != self.pods.get(*id)).cloned().collect()
    }

    /// Takes a pod of an instance as it is now; says whether anything that matters has changed.
    pub fn put_pod(&mut self, instance_id: &str, object: &Value) -> bool {
        if instance_id.is_empty() {
            return false;
        }
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(name, value)| (name.clone(), text(value).to_owned())).collect();
        let trouble = pod_trouble(object).map(|(reason, message)| Said { reason, message });
        let pod = Pod { labels, is_ready: is_pod_ready(object), trouble };
        self.owners.insert(pod_name(object), instance_id.to_owned());
        let before = self.pods.entry(instance_id.to_owned()).or_default().insert(pod_name(object), pod.clone());
        let reason = |pod: &Pod| pod.trouble.as_ref().map(|said| said.reason.clone());
        before.is_none_or(|before| reason(&before) != reason(&pod) || before.is_ready != pod.is_ready)
    }

    /// Drops a pod that is gone; answers its instance.
    pub fn remove_pod(&mut self, object: &Value) -> Option<String> {
        let name = pod_name(object);
        let instance_id = self.owners.remove(&name)?;
        let pods = self.pods.get_mut(&instance_id)?;
        pods.remove(&name);
        if pods.is_empty() {
            self.pods.remove(&instance_id);
        }
        Some(instance_id)
    }

    /// Takes a warning; answers what it is about if that wasn't the last word about it.
    pub fn put_warning(&mut self, event: &Value) -> Option<Key> {
        let said = Said { reason: text(&event["reason"]).to_owned(), message: text(&event["message"]).to_owned() };
        let warning = Warning { said, seen_at: seen_at(event).to_owned(), event: uid(event).to_owned() };
        let about = subject(event);
        let before = self.warnings.get(&about);
        if before.is_some_and(|before| before.seen_at > warning.seen_at) {
            return None;
        }
        let is_news = before.is_none_or(|before| before.said.reason != warning.said.reason);
        self.warnings.insert(about.clone(), warning);
        self.forget_old();
        is_news.then_some(about)
    }

    /// Forgets a warning that the cluster no longer keeps. That is no news: it was told an hour ago.
    pub fn remove_warning(&mut self, event: &Value) {
        let about = subject(event);
        if self.warnings.get(&about).is_some_and(|warning| warning.event == uid(event)) {
            self.warnings.remove(&about);
        }
    }

    /// The instance of a pod.
    pub fn instance_of_pod(&self, (_, kind, namespace, name): &Key) -> Option<&String> {
        if kind == "Pod" { self.owners.get(&(namespace.clone(), name.clone())) } else { None }
    }

    /// A better word on what isn't healthy, if pods or warnings know more.
    pub fn explain(&self, instance_id: &str, seen: &Observed) -> Option<Health> {
        if seen.health.is_healthy() {
            return None;
        }
        let (state, said) = match self.pods_say(instance_id, seen) {
            Some((true, said)) => (seen.health.state.max(State::Unhealthy), said),
            Some((false, said)) => (seen.health.state, said),
            None => (seen.health.state, self.warnings.get(&super::key(&seen.reference))?.said.clone()),
        };
        let Said { reason, mut message } = said;
        if !seen.health.message.is_empty() {
            message = format!("{message} ({})", seen.health.message);
        }
        Some(Health::new(state, &reason, message))
    }

    /// The trouble of the first pod that has one, or else a warning about one that isn't ready; and which of them it is.
    fn pods_say(&self, instance_id: &str, seen: &Observed) -> Option<(bool, Said)> {
        if seen.selector.is_empty() {
            return None;
        }
        let is_selected = |pod: &Pod| seen.selector.iter().all(|(name, value)| pod.labels.get(name) == Some(value));
        let pods = self.pods.get(instance_id)?.iter();
        let pods = pods.filter(|((namespace, _), pod)| *namespace == seen.reference.namespace && is_selected(pod));
        let ill = pods.filter(|(_, pod)| !pod.is_ready).collect::<Vec<_>>();
        let about = |name: &str, said: &Said| Said {
            reason: said.reason.clone(),
            message: format!("pod `{name}`: {}", said.message),
        };
        let troubled = ill.iter().find_map(|((_, name), pod)| Some((true, about(name, pod.trouble.as_ref()?))));
        troubled.or_else(|| {
            let warned = |((namespace, name), _): &(&PodName, &Pod)| {
                let key = (String::new(), "Pod".to_owned(), namespace.clone(), name.clone());
                Some((false, about(name, &self.warnings.get(&key)?.said)))
            };
            ill.iter().find_map(warned)
        })
    }

    /// Keeps the newer half once there are twice as many as are to be kept.
    fn forget_old(&mut self) {
        if self.warnings.len() < WARNINGS * 2 {
            return;
        }
        let mut times = self.warnings.values().map(|warning| warning.seen_at.clone()).collect::<Vec<_>>();
        times.sort_unstable();
        let oldest = times.swap_remove(WARNINGS);
        self.warnings.retain(|_, warning| warning.seen_at >= oldest);
        // Many of one second are all as old.
        if self.warnings.len() >= WARNINGS * 2 {
            self.warnings.clear();
        }
    }
}

fn pod_name(object: &Value) -> PodName {
    (text(&object["metadata"]["namespace"]).to_owned(), text(&object["metadata"]["name"]).to_owned())
}

fn subject(event: &Value) -> Key {
    let about = &event["involvedObject"];
    let namespace = text(&about["namespace"]).to_owned();
    let (kind, name) = (text(&about["kind"]).to_owned(), text(&about["name"]).to_owned());
    (group(text(&about["apiVersion"])).to_owned(), kind, namespace, name)
}

fn seen_at(event: &Value) -> &str {
    let times = [
        &event["lastTimestamp"],
        &event["series"]["lastObservedTime"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.into_iter().map(text).find(|time| !time.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{INSTANCE_LABEL, reference};

    const I: &str = "01980000-0000-7000-8000-00000000000a";

    fn pod(name: &str, status: &Value) -> Value {
        json!({ "apiVersion": "v1", "kind": "Pod", "status": status,
            "metadata": { "name": name, "namespace": "n", "labels": { INSTANCE_LABEL: I, "app": "web" } } })
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({ "containerStatuses": [{ "name": "main", "state": { "waiting": { "reason": reason, "message": message } } }] })
    }

    fn ill(kind: &str) -> Observed {
        let object = json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "web", "namespace": "n" },
            "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } } }, "status": { "observedGeneration": 1 } });
        assert_eq!(reference(&object).kind, kind);
        Observed::of(&object, "")
    }

    fn warning(kind: &str, name: &str, reason: &str, at: &str) -> Value {
        json!({ "metadata": { "uid": at }, "reason": reason, "message": "told", "lastTimestamp": at,
            "involvedObject": { "apiVersion": if kind == "Pod" { "v1" } else { "apps/v1" }, "kind": kind, "namespace": "n", "name": name } })
    }

    #[test]
    fn a_pod_that_fails_explains_what_runs_it_until_it_is_ready() {
        let mut troubles = Troubles::default();
        assert!(troubles.put_pod(I, &pod("a", &waiting("ImagePullBackOff", "no such image"))));
        let health = troubles.explain(I, &ill("Deployment")).unwrap();
        assert_eq!((health.state, health.reason.as_str()), (State::Unhealthy, "ImagePullBackOff"));
        assert!(health.message.contains("pod `a`") && health.message.contains("no such image"), "{}", health.message);
        assert!(troubles.put_pod(I, &pod("a", &json!({ "conditions": [{ "type": "Ready", "status": "True" }] }))));
        assert_eq!(troubles.explain(I, &ill("Deployment")), None);
    }

    #[test]
    fn only_a_changed_reason_is_news() {
        let mut troubles = Troubles::default();
        assert!(troubles.put_pod(I, &pod("a", &waiting("ErrImagePull", "not found"))));
        assert!(!troubles.put_pod(I, &pod("a", &waiting("ImagePullBackOff", "back-off"))), "they take turns");
        assert!(troubles.put_pod(I, &pod("a", &waiting("CreateContainerConfigError", "no secret"))));
    }

    #[test]
    fn a_crash_loop_is_one_trouble_in_all_its_turns() {
        let mut troubles = Troubles::default();
        let ended = json!({ "terminated": { "reason": "Error", "exitCode": 1 } });
        let turns = [
            json!({ "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s" } }, "lastState": ended }),
            json!({ "state": { "running": {} }, "lastState": ended }),
            json!({ "state": ended, "lastState": ended }),
            json!({ "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } }, "lastState": ended }),
        ];
        let news = turns.into_iter().enumerate().map(|(count, mut container)| {
            container["name"] = json!("main");
            container["restartCount"] = json!(count + 1);
            troubles.put_pod(I, &pod("a", &json!({ "containerStatuses": [container] })))
        });
        assert_eq!(news.collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    fn a_warning_explains_what_has_no_pods_and_pods_that_say_nothing() {
        let mut troubles = Troubles::default();
        let about = troubles.put_warning(&warning("StatefulSet", "web", "FailedCreate", "1")).unwrap();
        assert_eq!(about.1, "StatefulSet");
        assert_eq!(troubles.put_warning(&warning("StatefulSet", "web", "FailedCreate", "2")), None, "again the same");
        assert_eq!(troubles.put_warning(&warning("StatefulSet", "web", "Other", "1")), None, "an older one");
        assert_eq!(troubles.explain(I, &ill("StatefulSet")).unwrap().reason, "FailedCreate");
        troubles.put_pod(I, &pod("web-0", &waiting("ContainerCreating", "")));
        let about = troubles.put_warning(&warning("Pod", "web-0", "FailedMount", "3")).unwrap();
        assert_eq!(troubles.instance_of_pod(&about).map(String::as_str), Some(I));
        assert_eq!(troubles.explain(I, &ill("StatefulSet")).unwrap().reason, "FailedMount");
    }

    #[test]
    fn a_list_touches_whose_pods_are_otherwise_now() {
        let mut troubles = Troubles::default();
        let failing = pod("a", &waiting("ImagePullBackOff", ""));
        assert_eq!(troubles.replace_pods(std::slice::from_ref(&failing)), BTreeSet::from([I.to_owned()]));
        assert_eq!(troubles.replace_pods(std::slice::from_ref(&failing)), BTreeSet::new());
        assert_eq!(troubles.replace_pods(&[]), BTreeSet::from([I.to_owned()]));
        assert_eq!(troubles.explain(I, &ill("Deployment")), None);
    }

    #[test]
    fn no_flood_of_warnings_is_kept() {
        let mut troubles = Troubles::default();
        for number in 0..WARNINGS * 5 {
            troubles.put_warning(&warning("Pod", &number.to_string(), "Failed", &format!("{number:08}")));
        }
        assert!(troubles.warnings.len() < WARNINGS * 2);
        let last = subject(&warning("Pod", &(WARNINGS * 5 - 1).to_string(), "", ""));
        assert!(troubles.warnings.contains_key(&last));
    }
}
