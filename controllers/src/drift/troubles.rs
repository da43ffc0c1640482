//! Why things aren't healthy, as the cluster tells it beside them: pods that can't run, and warnings. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::cache::instance_of;
use super::warnings::{Said, Warnings, lasting};
use crate::health::{Health, State, is_pod_ready, pod_trouble};
use crate::resource::{text, uid};
use crate::workload_instance::plan::{Key, Observed};

/// What pods and warnings say, by whom they are about.
#[derive(Default)]
pub struct Troubles {
    /// By instance, then by namespace and name.
    pods: HashMap<String, BTreeMap<PodName, Pod>>,
    /// The instance of each pod.
    owners: HashMap<PodName, String>,
    pub warnings: Warnings,
    pub are_pods_synced: bool,
    pub are_warnings_synced: bool,
}

type PodName = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    uid: String,
    labels: BTreeMap<String, String>,
    is_ready: bool,
    trouble: Option<Said>,
    /// When it was made, or last got further: what warned of it before is over.
    advanced_at: String,
}

/// What pods and warnings say of something that isn't healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Not all that could tell is seen.
    Unknown,
    Nothing,
    Better(Better),
}

/// A better word than the object's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Better {
    pub health: Health,
    /// Changes when it is worth telling anew: the message without what changes all the time.
    pub said: String,
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
        if self.owners.get(&pod_name(object)).is_some_and(|owner| owner != instance_id) {
            self.remove_pod(object);
        }
        if instance_id.is_empty() {
            return false;
        }
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(name, value)| (name.clone(), text(value).to_owned())).collect();
        let trouble = pod_trouble(object).map(|(reason, message)| Said { reason, message });
        let advanced_at = advanced_at(object).to_owned();
        let pod = Pod { uid: uid(object).to_owned(), labels, is_ready: is_pod_ready(object), trouble, advanced_at };
        self.owners.insert(pod_name(object), instance_id.to_owned());
        let before = self.pods.entry(instance_id.to_owned()).or_default().insert(pod_name(object), pod.clone());
        let reason = |pod: &Pod| pod.trouble.as_ref().map(|said| said.reason.clone());
        let has_moved = |before: &Pod| before.is_ready != pod.is_ready || before.advanced_at != pod.advanced_at;
        before.is_none_or(|before| reason(&before) != reason(&pod) || has_moved(&before))
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

    /// The instance of a pod.
    pub fn instance_of_pod(&self, (_, kind, namespace, name): &Key) -> Option<&String> {
        if kind == "Pod" { self.owners.get(&(namespace.clone(), name.clone())) } else { None }
    }

    /// The instances of those of these that are pods.
    pub fn instances_of_pods(&self, about: &[Key]) -> BTreeSet<String> {
        about.iter().filter_map(|about| self.instance_of_pod(about)).cloned().collect()
    }

    /// A better word on what isn't healthy, if pods or warnings know more.
    pub fn explain(&self, instance_id: &str, seen: &Observed) -> Told {
        if seen.health.is_healthy() {
            return Told::Nothing;
        }
        let Health { state, message: own, .. } = &seen.health;
        let pods = self.pods_of(instance_id, seen);
        let warned = || self.pods_were_warned(&pods).or_else(|| self.warned(seen, &pods));
        let (state, reason, mut message, mut said) = match pods_say(&pods) {
            Some((pod, said)) => ((*state).max(State::Unhealthy), said.reason, said.message, pod),
            None => match warned() {
                Some(said) => (*state, said.reason, said.message.clone(), lasting(&said.message)),
                None => return Told::Nothing,
            },
        };
        if !own.is_empty() {
            message = format!("{message} ({own})");
            said = format!("{said} ({own})");
        }
        Told::Better(Better { health: Health::new(state, &reason, message), said })
    }

    /// The pods that it runs.
    fn pods_of(&self, instance_id: &str, seen: &Observed) -> Vec<(&PodName, &Pod)> {
        let is_selected = |pod: &Pod| seen.selector.iter().all(|(name, value)| pod.labels.get(name) == Some(value));
        let pods = self.pods.get(instance_id).into_iter().flatten();
        let pods = pods.filter(|((namespace, _), pod)| *namespace == seen.reference.namespace && is_selected(pod));
        if seen.selector.is_empty() { Vec::new() } else { pods.collect() }
    }

    /// A warning about a pod that isn't ready and has got no further since.
    fn pods_were_warned(&self, pods: &[(&PodName, &Pod)]) -> Option<Said> {
        let warned = |((namespace, name), pod): &(&PodName, &Pod)| {
            let key = (String::new(), "Pod".to_owned(), namespace.clone(), name.clone());
            Some(about_pod(name, self.warnings.about(&key, &pod.uid, &pod.advanced_at)?))
        };
        pods.iter().filter(|(_, pod)| !pod.is_ready).find_map(warned)
    }

    /// A warning about the object itself, if none of its pods was made or got further since.
    fn warned(&self, seen: &Observed, pods: &[(&PodName, &Pod)]) -> Option<Said> {
        let since = pods.iter().map(|(_, pod)| pod.advanced_at.as_str()).max().unwrap_or_default();
        self.warnings.about(&super::key(&seen.reference), &seen.uid, since).cloned()
    }
}

/// The trouble of the first pod that has one, with the pod's name.
fn pods_say(pods: &[(&PodName, &Pod)]) -> Option<(String, Said)> {
    let troubled = |((_, name), pod): &(&PodName, &Pod)| Some((name.clone(), about_pod(name, pod.trouble.as_ref()?)));
    pods.iter().filter(|(_, pod)| !pod.is_ready).find_map(troubled)
}

fn about_pod(name: &str, said: &Said) -> Said {
    Said { reason: said.reason.clone(), message: format!("pod `{name}`: {}", said.message) }
}

/// When a pod was made, or last fulfilled a condition.
fn advanced_at(pod: &Value) -> &str {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let met = conditions.filter(|condition| condition["status"] == "True");
    let times = met.map(|condition| text(&condition["lastTransitionTime"]));
    times.chain([text(&pod["metadata"]["creationTimestamp"])]).max().unwrap_or_default()
}

fn pod_name(object: &Value) -> PodName {
    (text(&object["metadata"]["namespace"]).to_owned(), text(&object["metadata"]["name"]).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{INSTANCE_LABEL, reference};

    const I: &str = "01980000-0000-7000-8000-00000000000a";

    fn better(troubles: &Troubles, kind: &str) -> Option<Health> {
        match troubles.explain(I, &ill(kind)) {
            Told::Better(better) => Some(better.health),
            Told::Nothing | Told::Unknown => None,
        }
    }

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
        let health = better(&troubles, "Deployment").unwrap();
        assert_eq!((health.state, health.reason.as_str()), (State::Unhealthy, "ImagePullBackOff"));
        assert!(health.message.contains("pod `a`") && health.message.contains("no such image"), "{}", health.message);
        assert!(troubles.put_pod(I, &pod("a", &json!({ "conditions": [{ "type": "Ready", "status": "True" }] }))));
        assert_eq!(better(&troubles, "Deployment"), None);
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
        let about = troubles.warnings.put(&warning("StatefulSet", "web", "FailedCreate", "1")).unwrap();
        assert_eq!(about.1, "StatefulSet");
        assert_eq!(troubles.warnings.put(&warning("StatefulSet", "web", "FailedCreate", "2")), None, "again the same");
        assert_eq!(troubles.warnings.put(&warning("StatefulSet", "web", "Other", "1")), None, "an older one");
        assert_eq!(better(&troubles, "StatefulSet").unwrap().reason, "FailedCreate");
        troubles.put_pod(I, &pod("web-0", &waiting("ContainerCreating", "")));
        let about = troubles.warnings.put(&warning("Pod", "web-0", "FailedMount", "3")).unwrap();
        assert_eq!(troubles.instance_of_pod(&about).map(String::as_str), Some(I));
        assert_eq!(better(&troubles, "StatefulSet").unwrap().reason, "FailedMount");
    }

    #[test]
    fn a_list_touches_whose_pods_are_otherwise_now() {
        let mut troubles = Troubles::default();
        let failing = pod("a", &waiting("ImagePullBackOff", ""));
        assert_eq!(troubles.replace_pods(std::slice::from_ref(&failing)), BTreeSet::from([I.to_owned()]));
        assert_eq!(troubles.replace_pods(std::slice::from_ref(&failing)), BTreeSet::new());
        assert_eq!(troubles.replace_pods(&[]), BTreeSet::from([I.to_owned()]));
        assert_eq!(better(&troubles, "Deployment"), None);
    }

    #[test]
    fn a_warning_about_what_is_over_explains_nothing() {
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
        let explained = |pod: &Value, warnings: &[Value]| {
            let mut troubles = Troubles::default();
            troubles.put_pod(I, pod);
            troubles.warnings.replace(warnings);
            better(&troubles, "StatefulSet").map(|health| health.reason)
        };
        let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": at(5) });
        let mut started = pod("web-0", &json!({ "conditions": [scheduled] }));
        started["metadata"]["uid"] = json!("new");
        started["metadata"]["creationTimestamp"] = json!(at(2));
        let unscheduled = |second| warning("Pod", "web-0", "FailedScheduling", &at(second));
        assert_eq!(explained(&started, &[unscheduled(4)]), None, "it was scheduled since");
        assert_eq!(explained(&started, &[unscheduled(5)]), Some("FailedScheduling".into()));
        let mut namesake = unscheduled(9);
        namesake["involvedObject"]["uid"] = json!("old");
        assert_eq!(explained(&started, &[namesake]), None, "it was about another pod");
        let uncreated = |second| warning("StatefulSet", "web", "FailedCreate", &at(second));
        assert_eq!(explained(&started, &[uncreated(1)]), None, "a pod was made since");
        assert_eq!(explained(&started, &[uncreated(9)]), Some("FailedCreate".into()));
    }

    #[test]
    fn a_list_of_warnings_drops_what_the_cluster_no_longer_has() {
        let mut troubles = Troubles::default();
        let told = [warning("StatefulSet", "web", "FailedCreate", "1")];
        assert_eq!(troubles.warnings.replace(&told).len(), 1);
        assert!(troubles.warnings.replace(&told).is_empty());
        assert_eq!(troubles.warnings.replace(&[]).len(), 1);
        assert_eq!(better(&troubles, "StatefulSet"), None);
    }

    #[test]
    fn a_pod_that_changes_hands_is_its_former_instances_no_more() {
        const J: &str = "01980000-0000-7000-8000-00000000000b";
        let mut troubles = Troubles::default();
        let failing = pod("a", &waiting("ImagePullBackOff", ""));
        troubles.put_pod(I, &failing);
        troubles.put_pod(J, &failing);
        assert_eq!(better(&troubles, "Deployment"), None);
        assert_eq!(troubles.pods.len(), 1);
    }

    #[test]
    fn a_count_in_a_message_is_nothing_new_and_another_pod_is() {
        let said = |pods: &[Value], warnings: &[Value]| {
            let mut troubles = Troubles::default();
            for pod in pods {
                troubles.put_pod(I, pod);
            }
            troubles.warnings.replace(warnings);
            match troubles.explain(I, &ill("StatefulSet")) {
                Told::Better(better) => better.said,
                other => panic!("{other:?}"),
            }
        };
        let failing = |name: &str, message: &str| [pod(name, &waiting("ImagePullBackOff", message))];
        assert_eq!(said(&failing("a", "back-off 20s"), &[]), said(&failing("a", "back-off 40s"), &[]));
        assert_ne!(said(&failing("a", ""), &[]), said(&failing("b", ""), &[]));
        let warned = |message: &str| {
            let mut warning = warning("StatefulSet", "web", "FailedCreate", "1");
            warning["message"] = json!(message);
            [warning]
        };
        assert_eq!(said(&[], &warned("0/3 nodes: cpu")), said(&[], &warned("0/4 nodes: cpu")));
        assert_ne!(said(&[], &warned("0/3 nodes: cpu")), said(&[], &warned("0/3 nodes: taint")));
    }
}
