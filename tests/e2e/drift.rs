//! Drift: what others do to our resources behind our back, what is repaired, and what is theirs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::system::*;

/// A Ready instance `one` of a deployment `web`, and the deployment's path.
async fn deployed(system: &System, replicas: u32) -> String {
    let documents = [definition("web", &deployment("web", "nginx:1.27", replicas)), instance("one", "web")];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", "one").await;
    format!("/apis/apps/v1/namespaces/{}/deployments/web", instance["status"]["namespace"].as_str().unwrap())
}

fn with_image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

async fn until(system: &System, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, MINUTE / 3, async || {
        let found = system.cluster.get(path).await.ok_or("it is not there")?;
        if holds(&found) { Ok(found) } else { Err(found["spec"].to_string()) }
    })
    .await
}

async fn event(system: &System, parts: &[&str]) {
    eventually(&format!("an event with {parts:?}"), MINUTE / 3, async || {
        let notes = system.api.events("workload-instance", "one").await;
        let notes = notes.into_iter().map(|event| format!("{}: {}", event.reason, event.note)).collect::<Vec<_>>();
        when(notes.iter().any(|note| parts.iter().all(|part| note.contains(part))), format!("{notes:#?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_or_deleted_deployment_is_restored_and_the_event_says_what_and_who() {
    let system = System::start().await;
    let path = deployed(&system, 1).await;
    system.cluster.patch(&path, "kubectl-edit", &with_image("evil:latest")).await;
    let image = |found: &Value| found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.27";
    until(&system, &path, "the image is restored", image).await;
    event(&system, &["image", "kubectl-edit"]).await;

    // Scaling by hand is drift like any other.
    system.cluster.patch(&format!("{path}/scale"), "kubectl-scale", &json!({ "spec": { "replicas": 4 } })).await;
    until(&system, &path, "the replicas are restored", |found| found["spec"]["replicas"] == 1).await;
    event(&system, &["replicas", "kubectl-scale"]).await;

    let before = system.cluster.get(&path).await.unwrap();
    system.cluster.delete(&path).await;
    until(&system, &path, "it is made again", |found| found["metadata"]["uid"] != before["metadata"]["uid"]).await;
    event(&system, &["Deployment", "web", "delete"]).await;
    system.api.wait_ready("workload-instance", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_others_that_we_do_not_set_are_left_alone() {
    let system = System::start().await;
    let path = deployed(&system, 1).await;
    let foreign =
        json!({ "metadata": { "annotations": { "example.com/note": "mine" } }, "spec": { "minReadySeconds": 1 } });
    system.cluster.patch(&path, "somebody", &foreign).await;
    // A repair and a rollout pass over them.
    system.cluster.patch(&path, "kubectl-edit", &json!({ "spec": { "replicas": 2 } })).await;
    until(&system, &path, "the replicas are restored", |found| found["spec"]["replicas"] == 1).await;
    system.api.apply(&[definition("web", &deployment("web", "nginx:1.28", 1))]).await.unwrap();
    let image = |found: &Value| found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.28";
    let found = until(&system, &path, "the new image is there", image).await;
    assert_eq!(found["metadata"]["annotations"]["example.com/note"], "mine");
    assert_eq!(found["spec"]["minReadySeconds"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_an_autoscaler_writes_are_left_to_it() {
    let system = System::start().await;
    let path = deployed(&system, 3).await;
    let (namespace, _) = path.split_once("/deployments/").unwrap();
    let autoscalers = namespace.replace("/apis/apps/v1/", "/apis/autoscaling/v2/") + "/horizontalpodautoscalers";
    // Made by hand and without our labels.
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" }, "minReplicas": 1, "maxReplicas": 9 },
    });
    system.cluster.create(&autoscalers, &autoscaler).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let scale = format!("{path}/scale");
    system.cluster.patch(&scale, "horizontal-pod-autoscaler", &json!({ "spec": { "replicas": 5 } })).await;
    // Other fields are still ours: their repair shows that we looked.
    for image in ["evil:1", "evil:2"] {
        system.cluster.patch(&path, "kubectl-edit", &with_image(image)).await;
        let restored = |found: &Value| found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.27";
        let found = until(&system, &path, "the image is restored", restored).await;
        assert_eq!(found["spec"]["replicas"], 5, "the autoscaler's replicas were overwritten");
    }
    system.api.apply(&[definition("web", &deployment("web", "nginx:1.28", 3))]).await.unwrap();
    let rolled = |found: &Value| found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.28";
    let found = until(&system, &path, "the new image is there", rolled).await;
    assert_eq!(found["spec"]["replicas"], 5, "the autoscaler's replicas were overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fight_over_a_field_stops_and_names_the_other() {
    let system = System::start().await;
    let path = deployed(&system, 1).await;
    let instance = eventually("the fight stops", MINUTE, async || {
        system.cluster.patch(&path, "stubborn", &json!({ "spec": { "replicas": 2 } })).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let instance = system.api.get("workload-instance", "one").await;
        if condition(&instance, "Contended")["status"] == "True" { Ok(instance) } else { Err(instance.to_string()) }
    })
    .await;
    let message = condition(&instance, "Contended")["message"].as_str().unwrap();
    assert!(message.contains("stubborn") && message.contains("replicas"), "{message}");
    system.cluster.patch(&path, "stubborn", &json!({ "spec": { "replicas": 7 } })).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(system.cluster.get(&path).await.unwrap()["spec"]["replicas"], 7, "it still fights");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_by_two_processes_and_after_either_of_them_was_killed() {
    let mut system = Setup { controllers: 2, ..Setup::default() }.start().await;
    let path = deployed(&system, 1).await;
    let drift_is_repaired = async |system: &System, drift: &Value| {
        let before = system.cluster.patch(&path, "kubectl-edit", drift).await;
        let restored = |found: &Value| {
            let spec = &found["spec"];
            spec["template"]["spec"]["containers"][0]["image"] == "nginx:1.27" && spec["replicas"] == 1
        };
        let after = until(system, &path, "the field is restored", restored).await;
        // Once, and not by each of them in turn.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let generation = |found: &Value| found["metadata"]["generation"].as_i64().unwrap();
        assert_eq!(generation(&after), generation(&before) + 1);
        assert_eq!(generation(&system.cluster.get(&path).await.unwrap()), generation(&after), "it was written again");
    };
    drift_is_repaired(&system, &with_image("evil:0")).await;
    // One of the two holds the watch on the cluster. Three repairs of one field would be a fight.
    for (victim, drift) in [with_image("evil:1"), json!({ "spec": { "replicas": 3 } })].iter().enumerate() {
        system.controllers[victim].kill();
        drift_is_repaired(&system, drift).await;
        system.controllers[victim].start_again();
        system.controllers[victim].address().await;
    }
}
