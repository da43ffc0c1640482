//! How a Kubernetes object is doing, by the rules of kstatus (kubernetes-sigs/cli-utils) and in the cluster's own words.

mod workloads;

pub use workloads::{is_pod_ready, pod_trouble};

use std::fmt;

use serde_json::Value;

use crate::resource::{group, hash, is_terminating, text};

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Healthy,
    /// On its way.
    Reconciling,
    /// Some of it works.
    Unhealthy,
    /// None of it works.
    Down,
    /// It could not be applied or looked at.
    Error,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "Healthy",
            Self::Reconciling => "Reconciling",
            Self::Unhealthy => "Unhealthy",
            Self::Down => "Down",
            Self::Error => "Error",
        })
    }
}

/// A state with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub state: State,
    /// CamelCase.
    pub reason: String,
    /// Empty when there is nothing to say.
    pub message: String,
}

impl Health {
    pub fn healthy() -> Self {
        Self::new(State::Healthy, "Current", "")
    }

    pub fn new(state: State, reason: &str, message: impl Into<String>) -> Self {
        Self { state, reason: reason.to_owned(), message: message.into() }
    }

    pub fn reconciling(reason: &str, message: impl Into<String>) -> Self {
        Self::new(State::Reconciling, reason, message)
    }

    pub fn is_healthy(&self) -> bool {
        self.state == State::Healthy
    }

    /// State and reason.
    pub fn brief(&self) -> String {
        format!("{}/{}", self.state, self.reason.replace('\n', " "))
    }

    /// What the inventory keeps: changes when somebody should look again.
    pub fn summary(&self) -> String {
        self.summary_with("", &self.message)
    }

    /// The summary with the reason that pods or warnings tell for it, and a mark of what they say.
    pub fn summary_with(&self, told: &str, said: &str) -> String {
        let said = mark(said);
        let kept = [self.brief(), told.replace('\n', " "), said].join("\n");
        kept.trim_end().to_owned()
    }
}

/// A kept summary in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    pub brief: &'a str,
    /// The reason that pods or warnings told; empty if they told nothing.
    pub told: &'a str,
    /// [`mark`] of what was said.
    pub said: &'a str,
}

impl<'a> Kept<'a> {
    pub fn read(summary: &'a str) -> Self {
        let mut lines = summary.split('\n').map(str::trim);
        let mut next = || lines.next().unwrap_or_default();
        Self { brief: next(), told: next(), said: next() }
    }
}

/// Short, and the same for the same text; empty for none.
pub fn mark(said: &str) -> String {
    if said.is_empty() { String::new() } else { hash(&Value::from(said))[..8].to_owned() }
}

/// The health of a live object.
pub fn of(object: &Value) -> Health {
    if is_terminating(object) {
        let finalizers =
            object["metadata"]["finalizers"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
        return Health::reconciling("Terminating", format!("is being deleted; finalizers: {finalizers}"));
    }
    if let Some(lagging) = unobserved(object) {
        return lagging;
    }
    let kind = text(&object["kind"]);
    match (group(text(&object["apiVersion"])), kind) {
        ("apps", "Deployment") => workloads::deployment(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("apps", "DaemonSet") => workloads::daemon_set(object),
        ("apps", "ReplicaSet") => workloads::replica_set(object),
        ("", "Pod") => workloads::pod(object),
        ("batch", "Job") => workloads::job(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd(object),
        ("policy", "PodDisruptionBudget") => disruption_budget(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object),
        ("", "ConfigMap" | "Secret" | "ServiceAccount" | "Namespace") | ("batch", "CronJob") => Health::healthy(),
        _ => generic(object),
    }
}

/// What the controller of the object has not looked at yet.
fn unobserved(object: &Value) -> Option<Health> {
    let generation = object["metadata"]["generation"].as_i64()?;
    let observed = object["status"]["observedGeneration"].as_i64()?;
    let message = format!("its controller has seen generation {observed} of {generation}");
    (observed < generation).then(|| Health::reconciling("NotObserved", message))
}

/// The status, reason and message of a condition.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == name)?;
    Some((text(&found["status"]), text(&found["reason"]), text(&found["message"])))
}

fn or<'a>(reason: &'a str, default: &'a str) -> &'a str {
    if reason.is_empty() { default } else { reason }
}

/// The conventions that most controllers follow: Reconciling, Stalled, Ready.
fn generic(object: &Value) -> Health {
    if let Some(("True", reason, message)) = condition(object, "Stalled") {
        return Health::new(State::Unhealthy, or(reason, "Stalled"), message);
    }
    if let Some(("True", reason, message)) = condition(object, "Reconciling") {
        return Health::reconciling(or(reason, "Reconciling"), message);
    }
    match condition(object, "Ready").or_else(|| condition(object, "Available")) {
        Some(("False", reason, message)) => Health::reconciling(or(reason, "NotReady"), message),
        Some(("Unknown", reason, message)) => Health::reconciling(or(reason, "Unknown"), message),
        _ => Health::healthy(),
    }
}

fn claim(object: &Value) -> Health {
    match text(&object["status"]["phase"]) {
        "Bound" => Health::healthy(),
        "Lost" => Health::new(State::Down, "Lost", "its volume is gone"),
        _ => Health::reconciling("Pending", "is not bound to a volume yet"),
    }
}

fn service(object: &Value) -> Health {
    let is_waiting = object["spec"]["type"] == "LoadBalancer"
        && object["status"]["loadBalancer"]["ingress"].as_array().is_none_or(Vec::is_empty);
    if is_waiting { Health::reconciling("NoAddress", "has no load balancer address yet") } else { Health::healthy() }
}

fn crd(object: &Value) -> Health {
    if let Some(("False", reason, message)) = condition(object, "NamesAccepted") {
        return Health::new(State::Down, or(reason, "NamesNotAccepted"), message);
    }
    match condition(object, "Established") {
        Some(("True", ..)) => Health::healthy(),
        Some((_, reason, message)) => Health::reconciling(or(reason, "Installing"), message),
        None => Health::reconciling("Installing", "is not established yet"),
    }
}

/// A budget that allows no disruption is no illness; one that its controller can't compute is.
fn disruption_budget(object: &Value) -> Health {
    match condition(object, "DisruptionAllowed") {
        Some(("False", "SyncFailed", message)) => Health::new(State::Unhealthy, "SyncFailed", message),
        _ => Health::healthy(),
    }
}

/// Without metrics it can't scale, but the workload runs: told, not held against it.
fn autoscaler(object: &Value) -> Health {
    match condition(object, "AbleToScale") {
        Some(("False", reason, message)) => Health::reconciling(or(reason, "NotAbleToScale"), message),
        _ => Health::healthy(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(object: &Value) -> String {
        of(object).brief()
    }

    #[test]
    fn what_is_kept_comes_apart_again_whatever_its_reasons_are() {
        let ill = Health::reconciling("Waiting; see events", "0 of 3");
        let of_others = ill.summary_with("Image/Pull", "pod a");
        let kept = Kept { brief: "Reconciling/Waiting; see events", told: "Image/Pull", said: &mark("pod a") };
        assert_eq!(Kept::read(&of_others), kept);
        let own = ill.summary();
        assert_eq!(Kept::read(&own), Kept { told: "", said: &mark("0 of 3"), ..kept });
        assert_ne!(own, Health::reconciling("Waiting; see events", "2 of 3").summary());
        assert_eq!(Health::healthy().summary(), "Healthy/Current");
    }

    #[test]
    fn plain_objects_are_healthy_as_soon_as_they_exist() {
        assert_eq!(state(&json!({ "apiVersion": "v1", "kind": "ConfigMap" })), "Healthy/Current");
        assert_eq!(state(&json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role" })), "Healthy/Current");
    }

    #[test]
    fn custom_resources_follow_the_conventions() {
        let with = |conditions: Value| json!({ "apiVersion": "acme.io/v1", "kind": "Widget", "status": { "conditions": conditions } });
        assert_eq!(state(&with(json!([{ "type": "Ready", "status": "True" }]))), "Healthy/Current");
        assert_eq!(
            state(&with(json!([{ "type": "Ready", "status": "False", "reason": "Waiting" }]))),
            "Reconciling/Waiting"
        );
        assert_eq!(state(&with(json!([{ "type": "Stalled", "status": "True", "reason": "Bad" }]))), "Unhealthy/Bad");
    }

    #[test]
    fn what_its_controller_has_not_seen_is_reconciling() {
        let object = json!({ "kind": "X", "apiVersion": "a/v1", "metadata": { "generation": 2 }, "status": { "observedGeneration": 1 } });
        assert_eq!(state(&object), "Reconciling/NotObserved");
    }

    #[test]
    fn something_being_deleted_names_its_finalizers() {
        let object = json!({ "metadata": { "deletionTimestamp": "now", "finalizers": ["acme.io/keep"] } });
        assert!(of(&object).message.contains("acme.io/keep"));
    }

    #[test]
    fn a_definition_is_healthy_once_established() {
        let crd = |conditions: Value| json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "status": { "conditions": conditions } });
        assert_eq!(state(&crd(json!([]))), "Reconciling/Installing");
        assert_eq!(state(&crd(json!([{ "type": "Established", "status": "True" }]))), "Healthy/Current");
        let refused =
            json!([{ "type": "NamesAccepted", "status": "False", "reason": "PluralConflict", "message": "taken" }]);
        assert_eq!(state(&crd(refused)), "Down/PluralConflict");
    }

    #[test]
    fn a_load_balancer_needs_an_address_and_a_claim_a_volume() {
        let service = json!({ "apiVersion": "v1", "kind": "Service", "spec": { "type": "LoadBalancer" } });
        assert_eq!(state(&service), "Reconciling/NoAddress");
        let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": { "phase": "Pending" } });
        assert_eq!(state(&claim), "Reconciling/Pending");
    }
}
