//! Crashes amid a hundred workloads: everything converges, nothing is lost, nothing is made twice.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::system::*;

const WORKLOADS: usize = 100;

/// A hundred workloads, the cheapest there are.
fn hundred(system: &System) -> Vec<Value> {
    let workload = |number| {
        let manifest = config_map(&format!("settings-{}", system.tag), "number", &format!("{number}"));
        document("workload", &format!("w-{number}-{}", system.tag), json!({ "manifest": manifest }))
    };
    (0..WORKLOADS).map(workload).collect()
}

async fn ready(system: &System) -> usize {
    let count = "SELECT count(*) FROM work WHERE kind = 'workload' AND ready->>'status' = 'True'";
    usize::try_from(system.database.number(count).await).unwrap()
}

/// Waits until some but not all are done, so that what comes next comes amid.
async fn amid(system: &System) {
    eventually("some workloads are ready", MINUTE, async || {
        let ready = ready(system).await;
        when(ready >= WORKLOADS / 10, ready)
    })
    .await;
    let ready = ready(system).await;
    assert!(ready < WORKLOADS, "all were done before anything crashed");
}

/// Every workload is Ready, with one config map that says what it is to say, in one namespace.
async fn assert_converged(system: &System) {
    eventually("all workloads are ready", MINUTE * 3, async || {
        let workloads = system.api.try_list("workload").await.map_err(|status| status.to_string())?;
        let unready = workloads.iter().filter(|workload| condition(workload, "Ready")["status"] != "True");
        let unready =
            unready.map(|workload| format!("{} {}", workload["meta"]["name"], workload["status"])).collect::<Vec<_>>();
        when(unready.is_empty(), format!("{} unready: {:?}", unready.len(), unready.first()))
    })
    .await;
    let selector = format!("labelSelector=threeport.io/control-plane={}", system.control_plane().await);
    let maps = system.cluster.list(&format!("/api/v1/configmaps?{selector}")).await;
    let numbers = maps.iter().map(|map| map["data"]["number"].as_str().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!((maps.len(), numbers.len()), (WORKLOADS, WORKLOADS));
    let namespaces = system.cluster.list("/api/v1/namespaces").await;
    let ours =
        namespaces.iter().filter(|namespace| namespace["metadata"]["name"].as_str().unwrap().contains(&system.tag));
    assert_eq!(ours.count(), WORKLOADS, "a workload got a second namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_controllers_lose_nothing() {
    let mut system = System::start().await;
    system.api.apply(&hundred(&system)).await.unwrap();
    amid(&system).await;
    system.controllers[0].kill();
    system.controllers[0].start_again();
    assert_converged(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_loses_its_store_loses_no_work() {
    let mut system = System::start().await;
    system.api.apply(&hundred(&system)).await.unwrap();
    amid(&system).await;
    system.broker.lose();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    system.broker.start_again().await;
    assert_converged(&system).await;
    // Hints flow again.
    system.api.apply(&[document("workload", "after", json!({ "image": "nginx" }))]).await.unwrap();
    system.api.wait_ready("workload", "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_api_server_loses_nothing() {
    let mut system = System::start().await;
    system.api.apply(&hundred(&system)).await.unwrap();
    amid(&system).await;
    system.api_servers[0].kill();
    system.api_servers[0].start_again();
    assert_converged(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_told_to_stop_end_what_they_hold() {
    let mut system = System::start().await;
    system.api.apply(&hundred(&system)).await.unwrap();
    amid(&system).await;
    system.controllers[0].stop().await;
    let held = system.database.number("SELECT count(*) FROM work WHERE holder IS NOT NULL").await;
    assert_eq!(held, 0, "a stopped replica still holds objects");
    system.api_servers[0].stop().await;
    system.api_servers[0].start_again();
    system.api_servers[0].address().await;
    system.controllers[0].start_again();
    assert_converged(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_made_right_before_a_crash_goes_with_its_instance() {
    let mut system = System::start().await;
    system.controllers[0].kill();
    // It dies after its first change, the namespace, and before it has noted that it made one.
    system.controllers[0].set_environment("FAILPOINTS", "kubernetes.changed=abort@1");
    system.controllers[0].start_again();
    system.api.apply(&[definition("web", &config_map("settings", "a", "b")), instance("web-1", "web")]).await.unwrap();
    eventually("the controllers die", MINUTE, async || when(system.controllers[0].has_ended(), "they run")).await;
    assert_eq!(system.in_cluster().await.len(), 1, "only the namespace was made: {:?}", system.in_cluster().await);
    system.api.delete("workload-instance", "web-1").await.unwrap();
    system.controllers[0].set_environment("FAILPOINTS", "");
    system.controllers[0].start_again();
    system.api.wait_gone("workload-instance", "web-1").await;
    let left = system.in_cluster().await;
    assert!(left.is_empty(), "it is gone, and these are left: {left:?}");
}
