//! What others made is not ours: it is reported, and not touched at all.

use serde_json::{Value, json};

use crate::system::*;

async fn namespace(system: &System) -> String {
    let name = format!("team-{}", system.tag);
    system.cluster.create("/api/v1/namespaces", &json!({ "metadata": { "name": name } })).await;
    name
}

fn in_namespace(name: &str, namespace: &str) -> Value {
    document("workload-instance", name, json!({ "definition": "web", "namespace": namespace }))
}

fn conflict(instance: &Value) -> bool {
    condition(instance, "Ready")["reason"] == "Conflict"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_is_never_touched_also_without_a_field_in_common() {
    let system = System::start().await;
    let namespace = namespace(&system).await;
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    system
        .cluster
        .create(
            &format!("{maps}?fieldManager=somebody"),
            &json!({ "metadata": { "name": "settings" }, "data": { "theirs": "x" } }),
        )
        .await;
    // Of this one the cluster records no manager: it has nothing but a name.
    system.cluster.create(&accounts, &json!({ "metadata": { "name": "web" } })).await;
    let places = [format!("{maps}/settings"), format!("{accounts}/web")];
    let mut before = Vec::new();
    for place in &places {
        before.push(system.cluster.get(place).await.unwrap());
    }

    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}\n";
    let manifest = manifests(&[&config_map("settings", "ours", "y"), account, &config_map("free", "a", "b")]);
    system.api.apply(&[definition("web", &manifest), in_namespace("one", &namespace)]).await.unwrap();
    let instance = system.api.wait_for("workload-instance", "one", "in conflict", conflict).await;
    let resources = instance["status"]["resources"].to_string();
    for part in ["settings", "`somebody`", "nothing tells who made it"] {
        assert!(resources.contains(part), "{part}: {resources}");
    }
    assert!(system.cluster.get(&format!("{maps}/free")).await.is_some(), "the rest is applied");

    system.api.delete("workload-instance", "one").await.unwrap();
    system.api.wait_gone("workload-instance", "one").await;
    for (place, before) in places.iter().zip(before) {
        assert_eq!(system.cluster.get(place).await, Some(before));
    }
    assert!(system.cluster.get(&format!("{maps}/free")).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_instance_is_reported_by_the_name_of_that_instance() {
    let system = System::start().await;
    let namespace = format!("team-{}", system.tag);
    let documents = [definition("web", &config_map("settings", "a", "b")), in_namespace("one", &namespace)];
    system.api.apply(&documents).await.unwrap();
    system.api.wait_ready("workload-instance", "one").await;
    let place = format!("/api/v1/namespaces/{namespace}/configmaps/settings");
    let before = system.cluster.get(&place).await.unwrap();
    system.api.apply(&[in_namespace("two", &namespace)]).await.unwrap();
    let two = system.api.wait_for("workload-instance", "two", "in conflict", conflict).await;
    let message = condition(&two, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("workload-instance `default/one`"), "{message}");
    assert_eq!(system.cluster.get(&place).await, Some(before));
}
