//! Namespaces and custom resource definitions, which several instances and projects may meet in.

use serde_json::{Value, json};

use crate::system::*;

fn custom(tag: &str) -> String {
    let basket = resource_definition(&format!("lost-{tag}.example.com"), "Basket", "baskets");
    format!(
        "
{basket}
---
apiVersion: lost-{tag}.example.com/v1
kind: Basket
metadata: {{name: basket}}
spec: {{size: 3}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_resources_deleted_behind_our_back_comes_again_with_what_it_defined() {
    let system = System::start().await;
    let tag = &system.tag;
    let documents = [definition("custom", &custom(tag)), instance("one", "custom")];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let one = system.api.wait_ready("workload-instance", "one").await;
    let namespace = one["status"]["namespace"].as_str().unwrap();
    let kind = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/baskets.lost-{tag}.example.com");
    let basket = format!("/apis/lost-{tag}.example.com/v1/namespaces/{namespace}/baskets/basket");
    let before = system.cluster.get(&basket).await.expect("it was applied");

    system.cluster.delete(&kind).await;
    eventually("definition and resource are there again", MINUTE, async || {
        let Some(found) = system.cluster.get(&basket).await else {
            return Err(system.api.get("workload-instance", "one").await["status"].to_string());
        };
        when(found["metadata"]["uid"] != before["metadata"]["uid"] && found["spec"]["size"] == 3, found)
    })
    .await;
    system.api.wait_ready("workload-instance", "one").await;
}

/// A project `name` and an instance in it, on the runtime of project `default`, in `namespace`.
fn visitor(name: &str, namespace: &str, value: &str) -> String {
    let mut app = definition("app", &config_map("visitor", "key", value));
    let mut one = instance("visitor", "app");
    one["spec"]["runtime"] = json!("default/local");
    one["spec"]["namespace"] = json!(namespace);
    app["project"] = json!(name);
    one["project"] = json!(name);
    file(&[document("project", name, json!({})), app, one])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_another_project_is_refused_by_name_until_it_is_free() {
    let system = System::start().await;
    let mut runtime =
        document("kubernetes-runtime-instance", "local", json!({ "kubeconfig": system.cluster.kubeconfig }));
    runtime["shared_with"] = json!(["*"]);
    let namespace = format!("team-{}", system.tag);
    let mut owner = instance("owner", "app");
    owner["spec"]["namespace"] = json!(namespace);
    let documents = [runtime, definition("app", &config_map("owner", "a", "b")), owner];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();

    system.tptctl.apply(&visitor("guests", &namespace, "first"), &[]).await.ok();
    let get = async || {
        let arguments = ["get", "workload-instance", "visitor", "--project", "guests", "-o", "json"];
        let shown = system.tptctl.run(&arguments).await.ok();
        serde_json::from_str::<Value>(&shown.stdout).expect("it is JSON")
    };
    let taken = eventually("the visitor is refused", MINUTE, async || {
        let visitor = get().await;
        let ready = condition(&visitor, "Ready").clone();
        if ready["reason"] == "NamespaceTaken" { Ok(ready) } else { Err(visitor.to_string()) }
    })
    .await;
    let message = taken["message"].as_str().unwrap();
    assert!(message.contains(&namespace) && message.contains("project `default`"), "{message}");
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    assert!(system.cluster.get(&format!("{path}/visitor")).await.is_none(), "it was applied all the same");

    // With its last user the namespace goes, and is free for whoever asks again.
    system.tptctl.run(&["delete", "workload-instance", "owner", "--wait"]).await.ok();
    system.tptctl.apply(&visitor("guests", &namespace, "second"), &["--wait"]).await.ok();
    assert_eq!(system.cluster.get(&format!("{path}/visitor")).await.unwrap()["data"]["key"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_into_a_namespace_stays_also_of_a_kind_that_has_just_come() {
    let system = System::start().await;
    let group = format!("guest-{}.example.com", system.tag);
    let documents = [definition("app", &config_map("app", "a", "b")), instance("one", "app"), instance("two", "app")];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let one = system.api.wait_ready("workload-instance", "one").await;
    let namespace = one["status"]["namespace"].as_str().unwrap();
    // The controllers know by now which kinds there are.
    system.api.delete("workload-instance", "two").await.unwrap();
    system.api.wait_gone("workload-instance", "two").await;

    let kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let name = format!("guests.{group}");
    system.cluster.create(kinds, &resource_definition(&group, "Guest", "guests")).await;
    let guests = format!("/apis/{group}/v1/namespaces/{namespace}/guests");
    let is_served = async || system.cluster.get(&guests).await.map(drop).ok_or_else(|| "it isn't".to_owned());
    eventually("the kind is served", MINUTE, is_served).await;
    let guest = json!({ "apiVersion": format!("{group}/v1"), "kind": "Guest", "metadata": { "name": "somebody" } });
    system.cluster.create(&guests, &guest).await;

    system.api.delete("workload-instance", "one").await.unwrap();
    system.api.wait_gone("workload-instance", "one").await;
    let there = system.cluster.get(&format!("/api/v1/namespaces/{namespace}")).await.expect("it is not empty");
    assert_eq!(there["metadata"]["deletionTimestamp"], serde_json::Value::Null);
    assert!(system.cluster.get(&format!("{guests}/somebody")).await.is_some(), "it is somebody else's");
    assert!(system.cluster.get(&format!("/api/v1/namespaces/{namespace}/configmaps/app")).await.is_none());
    system.cluster.delete(&format!("{kinds}/{name}")).await;
}
