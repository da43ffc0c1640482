//! Fields that an instance leaves to others, by name or because an autoscaler has them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::system::*;

async fn applied(system: &System, documents: &[Value]) -> String {
    system.tptctl.apply(&file(documents), &["--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", "one").await;
    format!("/apis/apps/v1/namespaces/{}/deployments/web", instance["status"]["namespace"].as_str().unwrap())
}

async fn until(system: &System, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, MINUTE / 3, async || {
        let found = system.cluster.get(path).await.ok_or("it is not there")?;
        if holds(&found) { Ok(found) } else { Err(found["spec"].to_string()) }
    })
    .await
}

fn image(found: &Value) -> &Value {
    &found["spec"]["template"]["spec"]["containers"][0]["image"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_yielded_by_its_path_is_left_to_others_and_the_rest_is_repaired() {
    let system = System::start().await;
    let mut one = instance("one", "web");
    one["spec"]["yield"] =
        json!([{ "resource": { "kind": "Deployment" }, "path": "spec.template.spec.containers[name=main].image" }]);
    let path = applied(&system, &[definition("web", &deployment("web", "nginx:1.27", 2)), one.clone()]).await;
    assert_eq!(image(&system.cluster.get(&path).await.unwrap()), "nginx:1.27", "nobody else has it at first");

    let theirs =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "nginx:9" }] } } } });
    system.cluster.patch(&path, "image-updater", &theirs).await;
    // Another field's repair shows that we looked.
    system.cluster.patch(&path, "kubectl-edit", &json!({ "spec": { "replicas": 5 } })).await;
    let found = until(&system, &path, "the replicas are restored", |found| found["spec"]["replicas"] == 2).await;
    assert_eq!(image(&found), "nginx:9");
    system.api.apply(&[definition("web", &deployment("web", "nginx:1.28", 3))]).await.unwrap();
    let found = until(&system, &path, "the definition's edit arrives", |found| found["spec"]["replicas"] == 3).await;
    assert_eq!(image(&found), "nginx:9", "an edit overwrote what is yielded");

    // Yielded no longer, it is ours again.
    one["spec"]["yield"] = json!([]);
    one["spec"]["adopt"] =
        json!([{ "resource": { "kind": "Deployment", "name": "web" }, "managers": ["image-updater"] }]);
    system.api.apply(&[one]).await.unwrap();
    until(&system, &path, "the image is ours again", |found| image(found) == "nginx:1.28").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_autoscaler_scaling_by_hand_is_drift_again() {
    let system = System::start().await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" }, "minReplicas": 1, "maxReplicas": 9 },
    });
    let plain = deployment("web", "nginx:1.27", 3);
    let scaled = manifests(&[&plain, &format!("{autoscaler}\n")]);
    let path = applied(&system, &[definition("web", &scaled), instance("one", "web")]).await;
    let scale = async |manager: &str, replicas: u32| {
        system.cluster.patch(&format!("{path}/scale"), manager, &json!({ "spec": { "replicas": replicas } })).await
    };
    scale("horizontal-pod-autoscaler", 7).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(system.cluster.get(&path).await.unwrap()["spec"]["replicas"], 7, "the autoscaler's replicas");

    system.api.apply(&[definition("web", &plain)]).await.unwrap();
    until(&system, &path, "the replicas are ours again", |found| found["spec"]["replicas"] == 3).await;
    scale("kubectl", 5).await;
    until(&system, &path, "scaling by hand is undone", |found| found["spec"]["replicas"] == 3).await;
}
