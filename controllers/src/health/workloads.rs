//! The health of what runs pods.

use serde_json::Value;

use super::{Health, State, condition, or};
use crate::resource::text;

fn wanted(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

/// Its controller reports `observedGeneration`; without it nobody has looked.
fn unseen(object: &Value) -> Option<Health> {
    object["status"]["observedGeneration"]
        .is_null()
        .then(|| Health::reconciling("NotObserved", "its controller has not seen it yet"))
}

pub fn deployment(object: &Value) -> Health {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    let (wanted, available, ready) =
        (wanted(object), count(object, "availableReplicas"), count(object, "readyReplicas"));
    if let Some(("False", "ProgressDeadlineExceeded", message)) = condition(object, "Progressing") {
        let state = if available == 0 { State::Down } else { State::Unhealthy };
        return Health::new(state, "ProgressDeadlineExceeded", message);
    }
    if let Some(("True", reason, message)) = condition(object, "ReplicaFailure") {
        let state = if available == 0 { State::Down } else { State::Unhealthy };
        return Health::new(state, or(reason, "ReplicaFailure"), message);
    }
    let (updated, total) = (count(object, "updatedReplicas"), count(object, "replicas"));
    let progress = if updated < wanted {
        Some(("RolloutInProgress", format!("{updated} of {wanted} replicas are updated")))
    } else if total > updated {
        Some(("RolloutInProgress", format!("{} old replicas are still there", total - updated)))
    } else if available < updated || available < wanted {
        Some(("NotAvailable", format!("{available} of {wanted} replicas are available")))
    } else if ready < wanted {
        Some(("NotReady", format!("{ready} of {wanted} replicas are ready")))
    } else {
        None
    };
    match progress {
        Some((reason, message)) => Health::reconciling(reason, message),
        None => Health::healthy(),
    }
}

pub fn stateful_set(object: &Value) -> Health {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    let (wanted, ready, updated) = (wanted(object), count(object, "readyReplicas"), count(object, "updatedReplicas"));
    if ready < wanted {
        return Health::reconciling("NotReady", format!("{ready} of {wanted} replicas are ready"));
    }
    let partition = object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    let is_on_delete = object["spec"]["updateStrategy"]["type"] == "OnDelete";
    let rolled = object["status"]["currentRevision"] == object["status"]["updateRevision"];
    if !is_on_delete && !rolled && updated < (wanted - partition).max(0) {
        return Health::reconciling("RolloutInProgress", format!("{updated} of {wanted} replicas are updated"));
    }
    Health::healthy()
}

pub fn daemon_set(object: &Value) -> Health {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    let wanted = count(object, "desiredNumberScheduled");
    let (updated, available) = (count(object, "updatedNumberScheduled"), count(object, "numberAvailable"));
    if updated < wanted && object["spec"]["updateStrategy"]["type"] != "OnDelete" {
        return Health::reconciling("RolloutInProgress", format!("{updated} of {wanted} nodes are updated"));
    }
    if available < wanted {
        return Health::reconciling("NotAvailable", format!("available on {available} of {wanted} nodes"));
    }
    Health::healthy()
}

pub fn replica_set(object: &Value) -> Health {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    if let Some(("True", reason, message)) = condition(object, "ReplicaFailure") {
        return Health::new(State::Down, or(reason, "ReplicaFailure"), message);
    }
    let (wanted, available) = (wanted(object), count(object, "availableReplicas"));
    if available < wanted {
        return Health::reconciling("NotAvailable", format!("{available} of {wanted} replicas are available"));
    }
    Health::healthy()
}

pub fn job(object: &Value) -> Health {
    if let Some(("True", reason, message)) = condition(object, "Failed") {
        return Health::new(State::Down, or(reason, "Failed"), message);
    }
    if let Some(("True", ..)) = condition(object, "Complete") {
        return Health::healthy();
    }
    if object["spec"]["suspend"] == true {
        return Health::healthy();
    }
    let wanted = object["spec"]["completions"].as_i64().unwrap_or(1);
    Health::reconciling(
        "Running",
        format!("{} of {wanted} completions, {} failed", count(object, "succeeded"), count(object, "failed")),
    )
}

pub fn pod(object: &Value) -> Health {
    match text(&object["status"]["phase"]) {
        "Succeeded" => Health::healthy(),
        "Failed" => Health::new(State::Down, or(text(&object["status"]["reason"]), "Failed"), pod_message(object)),
        "Running" if is_pod_ready(object) => Health::healthy(),
        _ => match pod_trouble(object) {
            Some((reason, message)) => Health::new(State::Unhealthy, &reason, message),
            None => Health::reconciling("NotReady", pod_message(object)),
        },
    }
}

fn pod_message(object: &Value) -> String {
    let message = text(&object["status"]["message"]);
    let ready = condition(object, "Ready").map(|(_, _, message)| message).unwrap_or_default();
    or(message, or(ready, "is not ready")).to_owned()
}

pub fn is_pod_ready(pod: &Value) -> bool {
    text(&pod["status"]["phase"]) == "Succeeded" || matches!(condition(pod, "Ready"), Some(("True", ..)))
}

/// Why a pod can't run: what a container waits for or ended with, or the scheduler's word. The same through all of a
/// crash loop, whichever turn of it is seen.
pub fn pod_trouble(pod: &Value) -> Option<(String, String)> {
    if let Some(("False", "Unschedulable", message)) = condition(pod, "PodScheduled") {
        return Some(("Unschedulable".into(), message.to_owned()));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let containers = statuses.iter().flat_map(|field| pod["status"][*field].as_array().into_iter().flatten());
    containers.into_iter().find_map(container_trouble)
}

fn container_trouble(container: &Value) -> Option<(String, String)> {
    let name = text(&container["name"]);
    let waiting = &container["state"]["waiting"];
    let told = |reason: &str| {
        let message = or(text(&waiting["message"]), reason);
        Some((reason.to_owned(), format!("container `{name}`: {message}{}", advice(reason, message))))
    };
    match text(&waiting["reason"]) {
        // The two take turns.
        "ErrImagePull" | "ImagePullBackOff" => told("ImagePullBackOff"),
        "" | "ContainerCreating" | "PodInitializing" | "CrashLoopBackOff" => crash(container),
        reason => told(reason),
    }
}

/// How a container that isn't ready has ended the last time, unless it has done what it was to do.
fn crash(container: &Value) -> Option<(String, String)> {
    let ended = |state: &'static str| Some(&container[state]["terminated"]).filter(|ended| ended.is_object());
    let last = ended("state").or(ended("lastState"));
    let is_looping = container["restartCount"].as_i64().unwrap_or(0) > 0;
    let is_over = last.is_some_and(|last| last["exitCode"] == 0) && !is_looping;
    if container["ready"] == true || is_over {
        return None;
    }
    let name = text(&container["name"]);
    let how = last.map(|last| format!("{} (code {})", or(text(&last["reason"]), "Error"), last["exitCode"]));
    match (how, is_looping) {
        (Some(how), true) => Some(("CrashLoopBackOff".into(), format!("container `{name}` keeps ending; last: {how}"))),
        (Some(how), false) => {
            Some((or(text(&last?["reason"]), "Error").to_owned(), format!("container `{name}` ended: {how}")))
        }
        (None, _) if container["state"]["waiting"]["reason"] == "CrashLoopBackOff" => {
            Some(("CrashLoopBackOff".into(), format!("container `{name}` keeps ending")))
        }
        (None, _) => None,
    }
}

/// What to do where the cluster only says what is wrong.
fn advice(reason: &str, message: &str) -> &'static str {
    if reason == "CreateContainerConfigError" && message.contains("runAsNonRoot") {
        "; use an image that runs without root, or set `run_as_user` on the workload (0 is root)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rolled_out(replicas: i64, status: &Value) -> Value {
        json!({ "spec": { "replicas": replicas }, "status": status })
    }

    #[test]
    fn a_deployment_is_healthy_when_all_new_replicas_are_available_and_no_old_is_left() {
        let status = |updated: i64, total: i64, available: i64| {
            let counts = json!({ "observedGeneration": 1, "updatedReplicas": updated, "replicas": total, "availableReplicas": available, "readyReplicas": available });
            deployment(&rolled_out(2, &counts)).brief()
        };
        assert_eq!(status(2, 2, 2), "Healthy/Current");
        assert_eq!(status(1, 2, 2), "Reconciling/RolloutInProgress");
        assert_eq!(status(2, 3, 3), "Reconciling/RolloutInProgress");
        assert_eq!(status(2, 2, 1), "Reconciling/NotAvailable");
        assert_eq!(deployment(&rolled_out(0, &json!({ "observedGeneration": 1 }))).brief(), "Healthy/Current");
        assert_eq!(deployment(&rolled_out(1, &json!({}))).brief(), "Reconciling/NotObserved");
    }

    #[test]
    fn a_rollout_past_its_deadline_is_down_or_unhealthy_by_what_still_runs() {
        let stuck = |available: i64| {
            let conditions = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out" }]);
            deployment(&rolled_out(
                2,
                &json!({ "observedGeneration": 1, "availableReplicas": available, "conditions": conditions }),
            ))
            .state
        };
        assert_eq!(stuck(0), State::Down);
        assert_eq!(stuck(1), State::Unhealthy);
    }

    #[test]
    fn a_job_runs_until_it_completes_or_fails() {
        assert_eq!(job(&json!({ "status": { "active": 1 } })).brief(), "Reconciling/Running");
        let ended = |name: &str| json!({ "status": { "conditions": [{ "type": name, "status": "True", "reason": "BackoffLimitExceeded" }] } });
        assert_eq!(job(&ended("Complete")).brief(), "Healthy/Current");
        assert_eq!(job(&ended("Failed")).brief(), "Down/BackoffLimitExceeded");
    }

    #[test]
    fn a_stateful_set_rolls_down_to_its_partition() {
        let status = json!({ "observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b" });
        let mut set = rolled_out(3, &status);
        assert_eq!(stateful_set(&set).brief(), "Reconciling/RolloutInProgress");
        set["spec"]["updateStrategy"] = json!({ "rollingUpdate": { "partition": 2 } });
        assert_eq!(stateful_set(&set).brief(), "Healthy/Current");
    }

    #[test]
    fn a_pod_tells_why_it_waits() {
        let pod_status = json!({ "phase": "Pending", "containerStatuses": [{ "name": "web", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } }] });
        let health = pod(&json!({ "status": pod_status }));
        assert_eq!((health.state, health.message.as_str()), (State::Unhealthy, "container `web`: no such image"));
        let waiting = json!({ "reason": "CreateContainerConfigError", "message": "container has runAsNonRoot and image will run as root" });
        let pod_status =
            json!({ "phase": "Pending", "containerStatuses": [{ "name": "web", "state": { "waiting": waiting } }] });
        assert!(pod(&json!({ "status": pod_status })).message.contains("set `run_as_user`"));
    }
}
