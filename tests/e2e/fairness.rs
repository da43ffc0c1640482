//! Nobody waits for somebody else's trouble, and who waits costs nothing.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::system::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_cluster_delays_no_workload_of_another_one() {
    let system = System::start().await;
    // Takes connections and never answers: worse than one that refuses.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", silent.local_addr().unwrap());
    let mut documents = vec![
        document("kubernetes-runtime-instance", "dead", json!({ "endpoint": endpoint, "token": "dead-token" })),
        definition("web", &config_map("settings", "a", "b")),
    ];
    for number in 0..50 {
        let mut stuck = instance(&format!("stuck-{number}"), "web");
        stuck["spec"]["runtime"] = json!("dead");
        documents.push(stuck);
    }
    system.api.apply(&documents).await.unwrap();
    let unready = |object: &Value| condition(object, "Ready")["status"] == "False";
    system.api.wait_for("workload-instance", "stuck-0", "known to be stuck", unready).await;
    for round in 0..3 {
        let names = (0..10).map(|number| format!("fine-{round}-{number}")).collect::<Vec<_>>();
        system.api.apply(&names.iter().map(|name| instance(name, "web")).collect::<Vec<_>>()).await.unwrap();
        eventually("the living cluster's workloads are ready", MINUTE / 3, async || {
            let instances = system.api.list("workload-instance").await;
            let ready = instances.iter().filter(|instance| condition(instance, "Ready")["status"] == "True").count();
            when(ready == (round + 1) * 10, ready)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_given_up_or_waiting_costs_no_work() {
    let system = System::start().await;
    let mut paused = instance("paused", "web");
    paused["spec"]["paused"] = json!(true);
    // Valid for us, refused by the cluster.
    let invalid = "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 99999}]}}\n";
    let nowhere = deployment("nowhere", "nginx:1.27", 1)
        .replace("      containers:", "      nodeSelector: {no: where}\n      containers:");
    let documents = [
        definition("web", &config_map("settings", "a", "b")),
        definition("invalid", invalid),
        definition("nowhere", &nowhere),
        paused,
        instance("given-up", "invalid"),
        instance("waiting", "nowhere"),
    ];
    system.api.apply(&documents).await.unwrap();
    for name in ["paused", "given-up", "waiting"] {
        let known = |object: &Value| condition(object, "Ready")["status"] == "False";
        let object = system.api.wait_for("workload-instance", name, "known not to be ready", known).await;
        assert!(!condition(&object, "Ready")["message"].as_str().unwrap().is_empty(), "{object}");
    }
    let epochs = async |names: &str| {
        let query = format!(
            "SELECT sum(w.epoch)::bigint FROM work w JOIN objects o ON o.id = w.object_id
             WHERE o.kind = 'workload-instance' AND o.name IN ({names})"
        );
        system.database.number(&query).await
    };
    // Until the last echo of their beginning is gone.
    eventually("they come to rest", MINUTE, async || {
        let before = epochs("'paused', 'given-up'").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = epochs("'paused', 'given-up'").await;
        when(before == after, format!("{before} → {after}"))
    })
    .await;
    let commits = "SELECT count(*) FROM commits";
    let before = (epochs("'paused', 'given-up'").await, system.database.number(commits).await);
    let waiting = epochs("'waiting'").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = (epochs("'paused', 'given-up'").await, system.database.number(commits).await);
    assert_eq!(after, before, "reconciles and commits of objects that wait for somebody");
    // Pods that fail change nothing that is watched: looks for those come at doubling distances.
    let looks = epochs("'waiting'").await - waiting;
    assert!(looks <= 2, "{looks} looks at what waits for the cluster");
}
