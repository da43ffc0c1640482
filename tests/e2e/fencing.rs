//! Replicas that stop and wake: the database refuses their late Finish, and the cluster ends at what is newest.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::system::*;

const INSTANCES: usize = 30;

fn text(value: &str) -> String {
    let parts = (0..4).map(|number| config_map(&format!("part-{number}"), "value", value));
    parts.collect::<Vec<_>>().join("---\n")
}

fn names() -> Vec<String> {
    (0..INSTANCES).map(|number| format!("i-{number}")).collect()
}

/// The values that the cluster holds for all instances, each as often as it is there.
async fn values(system: &System) -> std::collections::BTreeMap<String, usize> {
    let selector = format!("labelSelector=threeport.io/control-plane={}", system.control_plane().await);
    let mut values = std::collections::BTreeMap::new();
    for map in system.cluster.list(&format!("/api/v1/configmaps?{selector}")).await {
        *values.entry(map["data"]["value"].to_string()).or_default() += 1;
    }
    values
}

async fn all_say(system: &System, value: &str) {
    let expected = std::collections::BTreeMap::from([(format!("{value:?}"), INSTANCES * 4)]);
    eventually(&format!("the cluster says {value} everywhere"), MINUTE * 2, async || {
        let values = values(system).await;
        when(values == expected, format!("{values:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_stopped_amid_its_work_changes_nothing_when_it_wakes_past_its_lease() {
    let mut system = System::start().await;
    let mut documents = vec![definition("web", &text("1"))];
    documents.extend(names().iter().map(|name| instance(name, "web")));
    system.api.apply(&documents).await.unwrap();
    all_say(&system, "1").await;

    // Generation 2 reaches some, then their holder stops in mid-apply.
    system.api.apply(&[definition("web", &text("2"))]).await.unwrap();
    eventually("the replica is amid its work", MINUTE, async || {
        let held = system
            .database
            .number("SELECT count(*) FROM work WHERE holder IS NOT NULL AND kind = 'workload-instance'")
            .await;
        when(held > 0, held)
    })
    .await;
    system.controllers[0].signal(Signal::SIGSTOP);
    let held = "SELECT coalesce(string_agg(object_id || ':' || epoch, ',' ORDER BY object_id), '') FROM work WHERE holder IS NOT NULL";
    let stopped_with = system.database.text(held).await;

    system.add_controllers().await;
    system.api.apply(&[definition("web", &text("3"))]).await.unwrap();
    all_say(&system, "3").await;
    system.controllers[0].signal(Signal::SIGCONT);
    tokio::time::sleep(Duration::from_secs(5)).await;
    all_say(&system, "3").await;
    for name in names() {
        let instance = system.api.wait_ready("workload-instance", &name).await;
        assert_eq!(instance["status"]["definition_generation"], "3", "a late Finish was stored: {instance}");
    }
    // What it held was taken over under another epoch, so that its Finish was refused.
    for lease in stopped_with.split(',').filter(|lease| !lease.is_empty()) {
        let (id, epoch) = lease.split_once(':').unwrap();
        let now = system.database.number(&format!("SELECT epoch FROM work WHERE object_id = '{id}'")).await;
        assert!(now > epoch.parse().unwrap(), "{id} was not taken over");
    }
    assert!(!stopped_with.is_empty(), "the replica held nothing when it stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_create_after_a_delete_is_cleaned_up_but_a_copied_label_is_not() {
    let system = System::start().await;
    let mut gone = instance("gone", "web");
    gone["spec"]["namespace"] = json!(format!("late-{}", system.tag));
    let mut stays = instance("stays", "web");
    stays["spec"]["namespace"] = json!(format!("late-{}", system.tag));
    let text = |name: &str| definition("web", &config_map(name, "a", "b"));
    system.tptctl.apply(&file(&[text("settings"), gone]), &["--wait"]).await.ok();
    let id = system.api.get("workload-instance", "gone").await["meta"]["id"].as_str().unwrap().to_owned();
    system.tptctl.run(&["delete", "workload-instance", "gone", "--wait"]).await.ok();
    eventually("its namespace is gone", MINUTE, async || {
        let namespace = system.cluster.get(&format!("/api/v1/namespaces/late-{}", system.tag)).await;
        when(namespace.is_none(), format!("{namespace:?}"))
    })
    .await;
    system.tptctl.apply(&file(&[stays]), &["--wait"]).await.ok();

    let collection = format!("/api/v1/namespaces/late-{}/configmaps", system.tag);
    let labelled = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": {
            "threeport.io/control-plane": "", "threeport.io/instance": id } } })
    };
    let control_plane = system.control_plane().await;
    let create = async |name: &str, manager: &str| {
        let mut map = labelled(name);
        map["metadata"]["labels"]["threeport.io/control-plane"] = Value::from(control_plane.clone());
        system.cluster.apply(&format!("{collection}/{name}"), manager, &map).await;
    };
    create("copied", "somebody").await;
    let mut empty =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("copied-{}", system.tag) } });
    empty["metadata"]["labels"] = json!({ "threeport.io/control-plane": control_plane });
    empty["metadata"]["annotations"] = json!({ "threeport.io/made-for": id });
    system.cluster.create("/api/v1/namespaces", &empty).await;
    create("late", &format!("threeport-{}", &id[id.len() - 10..])).await;
    eventually("the late one is cleaned up", MINUTE, async || {
        let late = system.cluster.get(&format!("{collection}/late")).await;
        when(late.is_none(), format!("{late:?}"))
    })
    .await;
    assert!(system.cluster.get(&format!("{collection}/copied")).await.is_some(), "a copied label is no proof");
    let copied =
        system.cluster.get(&format!("/api/v1/namespaces/copied-{}", system.tag)).await.expect("nor is an annotation");
    assert_eq!(copied["metadata"]["deletionTimestamp"], Value::Null);
    assert!(system.cluster.get(&format!("{collection}/settings")).await.is_some(), "what lives was cleaned up");
}
