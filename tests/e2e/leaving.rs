//! What the namespace of a deleted instance takes along, and what not.

use serde_json::{Value, json};

use crate::system::*;

/// Instances of one config map `app` each, all ready; answers the namespace of the first.
async fn deployed(system: &System, names: &[&str]) -> String {
    let mut documents = vec![definition("app", &config_map("app", "a", "b"))];
    documents.extend(names.iter().map(|name| instance(name, "app")));
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let first = system.api.wait_ready("workload-instance", names[0]).await;
    first["status"]["namespace"].as_str().unwrap().to_owned()
}

fn maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

async fn deleted(system: &System, name: &str) {
    system.api.delete("workload-instance", name).await.unwrap();
    system.api.wait_gone("workload-instance", name).await;
}

fn named(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_were_copied_do_not_make_an_object_ours() {
    let system = System::start().await;
    let namespace = deployed(&system, &["one"]).await;
    let app = system.cluster.get(&format!("{}/app", maps(&namespace))).await.unwrap();
    let mut copy = named("copy");
    copy["metadata"]["labels"] = app["metadata"]["labels"].clone();
    system.cluster.create(&maps(&namespace), &copy).await;
    deleted(&system, "one").await;
    let left = system.cluster.get(&format!("/api/v1/namespaces/{namespace}")).await.expect("it is not empty");
    assert_eq!(left["metadata"]["deletionTimestamp"], Value::Null);
    assert!(system.cluster.get(&format!("{}/copy", maps(&namespace))).await.is_some(), "it is somebody else's");
    assert!(system.cluster.get(&format!("{}/app", maps(&namespace))).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_once_the_instance_has_gone_does_not_keep_its_namespace() {
    let system = System::start().await;
    let namespace = deployed(&system, &["one"]).await;
    // As an operator does that removes what it made when its custom resource goes.
    let finalizers = json!({ "metadata": { "finalizers": ["example.com/operator"] } });
    let app = format!("{}/app", maps(&namespace));
    system.cluster.patch(&app, "operator", &finalizers).await;
    system.cluster.create(&maps(&namespace), &named("child")).await;
    system.api.delete("workload-instance", "one").await.unwrap();
    eventually("the instance's own goes first", MINUTE, async || {
        let app = system.cluster.get(&app).await.expect("a finalizer keeps it");
        when(app["metadata"]["deletionTimestamp"].is_string(), app)
    })
    .await;
    let child = format!("{}/child", maps(&namespace));
    assert_eq!(system.cluster.get(&child).await.unwrap()["metadata"]["deletionTimestamp"], Value::Null);
    system.cluster.delete(&child).await;
    system.cluster.patch(&app, "operator", &json!({ "metadata": { "finalizers": [] } })).await;
    system.api.wait_gone("workload-instance", "one").await;
    assert!(system.cluster.get(&format!("/api/v1/namespaces/{namespace}")).await.is_none(), "nothing was left in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_marked_in_the_cluster_stays_and_is_told_once() {
    let system = System::start().await;
    let namespace = deployed(&system, &["one"]).await;
    let app = format!("{}/app", maps(&namespace));
    let mark = json!({ "metadata": { "annotations": { "threeport.io/on-delete": "retain" } } });
    system.cluster.patch(&app, "kubectl-annotate", &mark).await;
    eventually("the mark is noted", MINUTE, async || {
        let kept = system.database.number("SELECT count(*) FROM inventory WHERE name = 'app' AND retained").await;
        when(kept == 1, kept)
    })
    .await;
    let printed = system.tptctl.run(&["delete", "workload-instance", "one", "--wait"]).await.ok();
    assert!(printed.text().contains(&format!("kubectl -n {namespace} delete configmap/app")), "{printed:#?}");
    let left = system.cluster.get(&app).await.expect("it is marked");
    assert_eq!(left["metadata"]["labels"]["threeport.io/instance"], Value::Null, "it is nobody's now");
    let events = system.api.events("workload-instance", "one").await;
    let kept = events.iter().filter(|event| event.reason == "Kept").collect::<Vec<_>>();
    assert!(kept.len() == 2 && kept.iter().all(|event| event.count == 1), "the map and its namespace: {kept:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_absence_of_one_namespace_proves_nothing_of_another_with_its_name() {
    let system = System::start().await;
    let namespace = deployed(&system, &["one"]).await;
    let paused = |paused: bool| document("workload-instance", "one", json!({ "definition": "app", "paused": paused }));
    system.api.apply(&[paused(true)]).await.unwrap();
    system
        .api
        .wait_for("workload-instance", "one", "paused", |one| condition(one, "Ready")["reason"] == "Paused")
        .await;
    let path = format!("/api/v1/namespaces/{namespace}");
    system.cluster.delete(&path).await;
    let is_gone = async || {
        let left = system.cluster.get(&path).await;
        when(left.is_none(), format!("{left:?}"))
    };
    eventually("the namespace is gone", MINUTE, is_gone).await;
    let anew = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    system.cluster.create("/api/v1/namespaces", &anew).await;
    system.api.apply(&[paused(false)]).await.unwrap();
    let app = format!("{}/app", maps(&namespace));
    let is_there = async || system.cluster.get(&app).await.map(drop).ok_or_else(|| "missing".to_owned());
    eventually("what it has is made anew", MINUTE, is_there).await;
    system.api.wait_ready("workload-instance", "one").await;

    deleted(&system, "one").await;
    assert!(system.cluster.get(&app).await.is_none(), "it was called gone");
    assert!(system.cluster.get(&path).await.is_some(), "somebody else made it");
}
