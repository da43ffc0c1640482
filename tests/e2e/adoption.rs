//! What others made: reported and left alone until the instance says to take it.

use serde_json::{Value, json};

use crate::system::*;

/// A namespace with the config map `settings`, made by `somebody`; its path.
async fn somebodys(system: &System, data: Value) -> String {
    let name = format!("theirs-{}", system.tag);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    system.cluster.create("/api/v1/namespaces", &namespace).await;
    let path = format!("/api/v1/namespaces/{name}/configmaps/settings");
    let meta = json!({ "name": "settings", "namespace": name });
    let theirs = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data });
    system.cluster.apply(&path, "somebody", &theirs).await;
    path
}

/// The instance `one` in somebody's namespace, which takes what `adopt` names.
fn taking(system: &System, adopt: Value) -> Value {
    let mut one = instance("one", "app");
    one["spec"]["namespace"] = json!(format!("theirs-{}", system.tag));
    one["spec"]["adopt"] = adopt;
    one
}

fn is_conflict(instance: &Value) -> bool {
    condition(instance, "Applied")["status"] == "False"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_resource_is_left_alone_until_it_is_adopted_and_the_taking_is_recorded() {
    let system = System::start().await;
    let path = somebodys(&system, json!({ "color": "red" })).await;
    let app = definition("app", &config_map("settings", "color", "blue"));
    system.api.apply(&[app, taking(&system, json!([]))]).await.unwrap();
    let one = system.api.wait_for("workload-instance", "one", "in conflict", is_conflict).await;
    let message = condition(&one, "Applied")["message"].as_str().unwrap();
    assert!(["settings", "`somebody`", "`adopt`"].iter().all(|part| message.contains(part)), "{message}");
    let found = system.cluster.get(&path).await.unwrap();
    assert_eq!((&found["data"]["color"], &found["metadata"]["labels"]), (&json!("red"), &Value::Null), "{found}");

    // Taking from somebody else is not taking from `somebody`.
    let adopt =
        |manager: &str| json!([{ "resource": { "kind": "ConfigMap", "name": "settings" }, "managers": [manager] }]);
    system.api.apply(&[taking(&system, adopt("nobody"))]).await.unwrap();
    let seen = |instance: &Value| instance["meta"]["settled"] == true && is_conflict(instance);
    system.api.wait_for("workload-instance", "one", "still in conflict", seen).await;
    assert_eq!(system.cluster.get(&path).await.unwrap()["data"]["color"], "red");

    system.tptctl.apply(&file(&[taking(&system, adopt("somebody"))]), &["--wait"]).await.ok();
    let taken = system.cluster.get(&path).await.unwrap();
    assert_eq!((&taken["data"]["color"], &taken["metadata"]["uid"]), (&json!("blue"), &found["metadata"]["uid"]));
    let events = system.api.events("workload-instance", "one").await;
    let adopted = events.iter().find(|event| event.reason == "Adopted").expect("the taking is recorded");
    assert!(["settings", "`somebody`"].iter().all(|part| adopted.note.contains(part)), "{adopted:?}");

    // From now on it is the instance's, and repaired like all that is.
    system.cluster.patch(&path, "somebody", &json!({ "data": { "color": "red" } })).await;
    eventually("what was taken is repaired", MINUTE / 3, async || {
        let found = system.cluster.get(&path).await.ok_or("it is not there")?;
        when(found["data"]["color"] == "blue", &found["data"])
    })
    .await;
}
