//! Instances that can't become healthy: they say why, cost nothing while nothing changes, and recover by themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::system::*;

/// A deployment whose one pod is bound to a node that nobody runs: what its status says is up to us.
fn unattended(name: &str, node: &str) -> String {
    deployment(name, "nginx:1.27", 1)
        .replace("      containers:", &format!("      nodeName: {node}\n      containers:"))
}

/// The path of the pod of a deployment `web`.
async fn pod(system: &System, instance: &str) -> String {
    let instance = system.api.get("workload-instance", instance).await;
    let pods = format!("/api/v1/namespaces/{}/pods", instance["status"]["namespace"].as_str().unwrap());
    eventually("the pod is there", MINUTE, async || {
        let found = system.cluster.list(&pods).await;
        let name = found.first().and_then(|pod| pod["metadata"]["name"].as_str());
        name.map(|name| format!("{pods}/{name}")).ok_or_else(|| "no pod".to_owned())
    })
    .await
}

async fn say(system: &System, pod: &str, status: &Value) {
    system.cluster.patch(&format!("{pod}/status"), "kubelet", &json!({ "status": status })).await;
}

fn waiting(reason: &str, restarts: u32) -> Value {
    let mut container = json!({ "name": "main", "ready": false, "restartCount": restarts, "image": "x", "imageID": "",
        "state": { "waiting": { "reason": reason, "message": format!("told after {restarts} restarts") } } });
    if restarts > 0 {
        container["lastState"] = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    }
    json!({ "phase": "Pending", "containerStatuses": [container] })
}

async fn wait_for_reason(system: &System, reason: &str) -> Value {
    let what = format!("told to be {reason}");
    system
        .api
        .wait_for("workload-instance", "one", &what, |instance| {
            condition(instance, "Ready")["reason"] == reason && instance["meta"]["settled"] == true
        })
        .await
}

/// How often the instance was begun, and all that is stored about it that could move.
async fn work(system: &System) -> String {
    let query = "SELECT (w.*)::text FROM work w JOIN objects o ON o.id = w.object_id \
                 WHERE o.kind = 'workload-instance' AND o.name = 'one'";
    system.database.text(query).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_instance_says_why_costs_nothing_and_recovers_by_itself() {
    let mut system = System::start().await;
    let node = format!("nowhere-{}", system.tag);
    let documents = [definition("web", &unattended("web", &node)), instance("one", "web")];
    system.api.apply(&documents).await.unwrap();
    system
        .api
        .wait_for("workload-instance", "one", "applied", |one| condition(one, "Applied")["status"] == "True")
        .await;
    let pod = pod(&system, "one").await;
    say(&system, &pod, &waiting("ImagePullBackOff", 0)).await;
    let instance = wait_for_reason(&system, "ImagePullBackOff").await;
    assert_eq!(instance["status"]["health"], "Unhealthy");
    assert!(condition(&instance, "Ready")["message"].as_str().unwrap().contains("told after 0 restarts"), "{instance}");

    // A crash loop is another reason; its turns are not.
    say(&system, &pod, &waiting("CrashLoopBackOff", 1)).await;
    wait_for_reason(&system, "CrashLoopBackOff").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (stored, calls) = (work(&system).await, system.cluster_calls().await);
    let before = system.api.get("workload-instance", "one").await;
    for restarts in 2..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        say(&system, &pod, &waiting("CrashLoopBackOff", restarts)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(since(&calls, &system.cluster_calls().await), Calls::new());
    assert_eq!(work(&system).await, stored);
    assert_eq!(system.api.get("workload-instance", "one").await, before);

    let running = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
        "containerStatuses": [{ "name": "main", "ready": true, "restartCount": 8, "image": "x", "imageID": "", "state": { "running": {} } }] });
    say(&system, &pod, &running).await;
    system.api.wait_ready("workload-instance", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_warning_tells_is_told() {
    let system = System::start().await;
    // No pod of it is admitted, and a stateful set has no condition to say so.
    let set = deployment("web", "nginx:1.27", 1).replace("kind: Deployment", "kind: StatefulSet");
    let set = set.replace("      containers:", "      serviceAccountName: absent\n      containers:");
    system.api.apply(&[definition("web", &set), instance("one", "web")]).await.unwrap();
    let instance = wait_for_reason(&system, "FailedCreate").await;
    let message = condition(&instance, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("absent"), "{message}");
    let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", instance["status"]["namespace"].as_str().unwrap());
    system.cluster.create(&accounts, &json!({ "metadata": { "name": "absent" } })).await;
    system.api.wait_ready("workload-instance", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_with_and_without_the_watch_tell_the_same_reason() {
    let system = Setup { controllers: 2, ..Setup::default() }.start().await;
    let web = unattended("web", &format!("nowhere-{}", system.tag));
    system.api.apply(&[definition("web", &web), instance("one", "web")]).await.unwrap();
    system
        .api
        .wait_for("workload-instance", "one", "applied", |one| condition(one, "Applied")["status"] == "True")
        .await;
    // As of a readiness probe that fails: nothing of the pod itself says so.
    let path = pod(&system, "one").await;
    let pod = system.cluster.get(&path).await.unwrap();
    let about = json!({ "apiVersion": "v1", "kind": "Pod", "namespace": pod["metadata"]["namespace"],
        "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"] });
    let warning = json!({ "metadata": { "name": "probe" }, "type": "Warning", "reason": "Unhealthy", "message": "it answers 503",
        "lastTimestamp": "2099-01-01T00:00:00Z", "involvedObject": about });
    let events = path.split("/pods/").next().unwrap().to_owned() + "/events";
    system.cluster.create(&events, &warning).await;
    wait_for_reason(&system, "Unhealthy").await;
    for round in 0..8 {
        let adopt = json!([{ "resource": { "kind": "Secret", "name": format!("unused-{round}") }, "managers": ["x"] }]);
        let changed = json!({ "definition": "web", "adopt": adopt });
        system.api.apply(&[document("workload-instance", "one", changed)]).await.unwrap();
        let generation = system.api.get("workload-instance", "one").await["meta"]["generation"].clone();
        let seen = system
            .api
            .wait_for("workload-instance", "one", "looked at", |one| one["status"]["observed_generation"] == generation)
            .await;
        assert_eq!(condition(&seen, "Ready")["reason"], "Unhealthy", "round {round}: {seen}");
    }
}
