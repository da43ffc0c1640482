//! What a workload costs its cluster, counted by the controllers.

use serde_json::{Value, json};

use crate::system::*;

/// Four objects of as many kinds.
fn four(name: &str) -> String {
    manifests(&[
        &deployment(name, "nginx:1.27", 0),
        &format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}], selector: {{app: {name}}}}}}}\n"
        ),
        &format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}}}}}\n"),
        &config_map(name, "a", "b"),
    ])
}

/// Deploys an instance and counts the calls until it is settled and Ready.
async fn deploy(system: &mut System, name: &str, spec: Value) -> u64 {
    let before = system.cluster_calls().await;
    let mut spec = spec;
    spec["definition"] = json!(name);
    let documents = [definition(name, &four(name)), document("workload-instance", name, spec)];
    system.api.apply(&documents).await.unwrap();
    system.api.wait_ready("workload-instance", name).await;
    let calls = since(&before, &system.cluster_calls().await);
    let count = calls.values().sum();
    assert!(count <= 7, "{calls:#?}");
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_four_objects_costs_a_call_for_each_and_one_for_a_namespace_that_nobody_has_seen() {
    let mut system = System::start().await;
    // The watches on the cluster list once.
    deployed_first(&mut system).await;
    assert_eq!(deploy(&mut system, "managed", json!({})).await, 5);
    let team = json!({ "namespace": format!("team-{}", system.tag) });
    assert_eq!(deploy(&mut system, "first", team.clone()).await, 5);
    assert_eq!(deploy(&mut system, "second", team).await, 4, "that the namespace is there was seen by the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_again_at_what_is_as_it_should_be_asks_the_cluster_nothing() {
    let mut system = System::start().await;
    deployed_first(&mut system).await;
    let before = system.cluster_calls().await;
    // A change of the instance that changes nothing in the cluster.
    let changed = json!({ "definition": "warm", "adopt": [{ "resource": { "kind": "ConfigMap", "name": "warm" }, "managers": ["somebody"] }] });
    system.api.apply(&[document("workload-instance", "warm", changed)]).await.unwrap();
    let again = system.api.wait_ready("workload-instance", "warm").await;
    assert_eq!(again["status"]["observed_generation"], "2", "{again}");
    assert_eq!(since(&before, &system.cluster_calls().await), Calls::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_its_own_goes_with_all_in_it_in_one_call() {
    let mut system = System::start().await;
    deployed_first(&mut system).await;
    deploy(&mut system, "going", json!({})).await;
    let before = system.cluster_calls().await;
    system.api.delete("workload-instance", "going").await.unwrap();
    system.api.wait_gone("workload-instance", "going").await;
    let calls = since(&before, &system.cluster_calls().await);
    let deletes = calls.iter().filter(|(call, _)| call.starts_with("delete ")).collect::<Vec<_>>();
    assert_eq!(deletes, [(&"delete Namespace 200".to_owned(), &1)], "{calls:#?}");
    let looks = calls.iter().filter(|(call, _)| call.starts_with("get ")).map(|(_, count)| count).sum::<u64>();
    assert!(looks <= 3, "before, and once it is gone: {calls:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_costs_a_call_for_each_object_and_a_look_at_the_namespace_that_stays() {
    let mut system = System::start().await;
    deployed_first(&mut system).await;
    let namespace = format!("team-{}", system.tag);
    let of_ours = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    system.cluster.create("/api/v1/namespaces", &of_ours).await;
    deploy(&mut system, "going", json!({ "namespace": namespace })).await;
    let before = system.cluster_calls().await;
    system.api.delete("workload-instance", "going").await.unwrap();
    system.api.wait_gone("workload-instance", "going").await;
    let calls = since(&before, &system.cluster_calls().await);
    assert_eq!(calls.values().sum::<u64>(), 5, "{calls:#?}");
    system.cluster.delete(&format!("/api/v1/namespaces/{namespace}")).await;
}

/// Deploys one and waits until the watches have listed all they follow.
async fn deployed_first(system: &mut System) {
    let documents = [definition("warm", &four("warm")), instance("warm", "warm")];
    system.api.apply(&documents).await.unwrap();
    system.api.wait_ready("workload-instance", "warm").await;
    let mut last = system.cluster_calls().await;
    eventually("nothing more is asked of the cluster", MINUTE, async || {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let now = system.cluster_calls().await;
        let more = since(&last, &now);
        last = now;
        when(more.is_empty(), format!("{more:?}"))
    })
    .await;
}
