//! A tour through tptctl, verb by verb, as a user would take it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::system::*;

const SHOP: &str = "
version: v1
kind: workload-definition
name: shop
spec:
  manifest: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: settings}
    data: {color: blue}
  inputs:
  - {name: color, type: string, default: blue, targets: [{resource: {kind: ConfigMap}, path: data.color}]}
---
version: v1
kind: workload-instance
name: shop-1
labels: {tier: dev}
spec: {definition: shop, values: {color: red}}
";

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_applied_shown_explained_and_deleted() {
    let system = System::start().await;
    let tptctl = &system.tptctl;
    let dry = tptctl.apply(SHOP, &["--dry-run"]).await.ok();
    assert!(dry.text().contains("shop-1") && system.api.list("workload-instance").await.is_empty(), "{dry:#?}");
    let applied = tptctl.apply(SHOP, &["--wait"]).await.ok();
    assert_eq!(applied.text().matches("created").count(), 2, "{applied:#?}");

    let table = tptctl.run(&["get", "workload-instance"]).await.ok().stdout;
    assert!(table.starts_with("NAME") && table.contains("shop-1") && table.contains("Healthy"), "{table}");
    assert_eq!(
        tptctl.run(&["get", "workload-instances", "-o", "name"]).await.ok().stdout.trim(),
        "workload-instance/shop-1"
    );
    let one = tptctl.run(&["get", "workload-instance", "shop-1", "-o", "json"]).await.ok().stdout;
    let one: Value = serde_json::from_str(&one).expect("it is JSON");
    assert!(one.to_string().contains("\"color\":\"red\""), "{one}");
    // What is shown as YAML can be applied again.
    let yaml = tptctl.run(&["get", "workload-definition", "shop", "-o", "yaml"]).await.ok().stdout;
    let again = tptctl.apply(&yaml, &[]).await.ok();
    assert!(again.text().contains("unchanged"), "{again:#?}\n{yaml}");
    let nowhere = tptctl.run(&["get", "workloads", "-p", "nosuch"]).await.failed();
    assert!(nowhere.stderr.contains("project `nosuch` not found"), "{nowhere:#?}");
    let guarded = tptctl.run(&["delete", "runtime", "local"]).await.failed();
    assert!(guarded.stderr.contains("workload-instance `default/shop-1`; delete them first"), "{guarded:#?}");
    let missing = tptctl.run(&["get", "workload", "nothing"]).await.failed();
    assert!(missing.stderr.contains("workload `nothing` not found") && missing.stdout.is_empty(), "{missing:#?}");

    let rendered = tptctl.run(&["render", "workload-instance/shop-1"]).await.ok().stdout;
    assert!(rendered.contains("color: red"), "{rendered}");
    let described = tptctl.run(&["describe", "workload-instance/shop-1"]).await.ok().stdout;
    assert!(["shop-1", "Ready", "Healthy", "settings"].iter().all(|part| described.contains(part)), "{described}");
    let history = tptctl.run(&["history", "workload-instance/shop-1"]).await.ok().stdout;
    assert!(history.contains("created") && history.contains("user:"), "{history}");
    tptctl.run(&["events", "workload-instance/shop-1"]).await.ok();
    tptctl.run(&["wait", "workload-instance/shop-1"]).await.ok();
    let version = tptctl.run(&["version"]).await.ok();
    let ours = env!("CARGO_PKG_VERSION");
    assert_eq!(version.stdout, format!("tptctl {ours}\nserver {ours} at {}\n", system.api.address));

    let dry = tptctl.run_with_input(&["delete", "-f", "-", "--dry-run"], SHOP).await.ok();
    assert_eq!(dry.stdout.matches("would be deleted").count(), 2, "{dry:#?}");
    let deleted = tptctl.run_with_input(&["delete", "-f", "-", "--wait"], SHOP).await.ok();
    assert!(deleted.text().contains("shop-1"), "{deleted:#?}");
    assert!(system.api.list("workload-definition").await.is_empty());
    let again = tptctl.run_with_input(&["delete", "-f", "-"], SHOP).await.failed();
    assert!(again.stderr.contains("`default/shop`") && again.stderr.contains("--ignore-not-found"), "{again:#?}");
    let again = tptctl.run_with_input(&["delete", "-f", "-", "--ignore-not-found"], SHOP).await.ok();
    assert!(again.stderr.contains("workload-instance/shop-1 not found") && again.stdout.is_empty(), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_deployed_as_a_tree_and_ejected_as_a_manifest() {
    let system = System::start().await;
    let tptctl = &system.tptctl;
    tptctl.run(&["deploy", "web", "--image", "nginx:1.27", "--port", "8080", "--wait"]).await.ok();
    let tree = tptctl.run(&["tree", "workload", "web"]).await.ok().stdout;
    let parts = ["web", "web-default", "Deployment", "Service"];
    assert!(parts.iter().all(|part| tree.contains(part)), "{tree}");
    let workload = system.api.wait_ready("workload", "web").await;
    assert_eq!(workload["status"]["instances"][0]["instance"], "web-default");

    let ejected = tptctl.run(&["render", "workload", "web", "--eject"]).await.ok().stdout;
    assert!(ejected.contains("kind: Deployment") && ejected.contains("nginx:1.27"), "{ejected}");
    // Applied, it takes the place of the plain form, and nothing in the cluster changes.
    let namespace = workload["status"]["instances"][0]["namespace"].as_str().unwrap();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let before = system.cluster.list(&path).await[0]["metadata"]["generation"].clone();
    tptctl.apply(&ejected, &["--wait"]).await.ok();
    assert!(system.api.get("workload", "web").await["spec"]["manifest"].is_string());
    assert_eq!(system.cluster.list(&path).await[0]["metadata"]["generation"], before);
    let owned = tptctl.run(&["delete", "workload-instance", "web-default"]).await.failed();
    assert!(owned.stderr.contains("workload `default/web`"), "{owned:#?}");
    tptctl.run(&["delete", "workload", "web", "--wait"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_fails_says_what_is_not_ready_and_why() {
    let system = System::start().await;
    let service = "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 99999}]}}\n";
    let documents = [definition("bad", service), instance("bad-1", "bad")];
    let waited = tokio::time::timeout(MINUTE, system.tptctl.apply(&file(&documents), &["--wait"])).await;
    let waited = waited.expect("a wait ends when what it waits for has given up").failed();
    assert!(waited.stderr.contains("bad-1") && waited.stderr.contains("99999"), "{waited:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_are_kept_in_a_file_of_ones_own() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let listed = system.tptctl.run(&["context", "list"]).await.ok();
    assert_eq!(listed.stdout.matches("http://").count(), 0, "{listed:#?}");
    let wrong = system.tptctl.clone().with("THREEPORT_TOKEN", "wrong").run(&["get", "workload"]).await.failed();
    assert!(wrong.stderr.contains("token") && wrong.stdout.is_empty(), "{wrong:#?}");
    let away = system.tptctl.clone().with("THREEPORT_SERVER", &format!("http://127.0.0.1:{}", free_port()));
    let away = tokio::time::timeout(Duration::from_mins(2), away.run(&["get", "workload"])).await;
    let away = away.expect("an absent server is no hang").failed();
    assert!(away.stderr.contains("127.0.0.1") && !away.stderr.contains("panicked"), "{away:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_table_follows_what_happens() {
    let system = System::start().await;
    let shown = |parts: &'static [&'static str]| move |line: &str| parts.iter().all(|part| line.contains(part));
    system.tptctl.apply(SHOP, &["--wait"]).await.ok();
    let mut watch = system.tptctl.start(&["get", "workload-instance", "--watch"]);
    watch.line("the heading", |line| line.starts_with("NAME")).await;
    watch.line("what is there", shown(&["shop-1", "Healthy"])).await;
    system.api.apply(&[instance("shop-2", "shop")]).await.unwrap();
    watch.line("a new one", shown(&["shop-2"])).await;
    watch.line("that turns ready", shown(&["shop-2", "Healthy", "True"])).await;
    system
        .api
        .update(&document("workload-instance", "shop-2", json!({ "paused": true })), "spec.paused")
        .await
        .unwrap();
    watch.line("that is paused", shown(&["shop-2", "Paused"])).await;

    let mut named = system.tptctl.start(&["get", "workload-instance", "shop-1", "--watch", "-o", "name"]);
    named.line("the one", |line| line == "workload-instance/shop-1").await;
    let mut selected = system.tptctl.start(&["get", "wi", "--watch", "--selector", "tier=dev", "-o", "name"]);
    selected.line("what is selected", |line| line == "workload-instance/shop-1").await;
    system.tptctl.run(&["delete", "workload-instance", "shop-1", "--wait"]).await.ok();
    selected.line("its end where it was selected", shown(&["workload-instance/shop-1", "gone"])).await;
    named.line("its end", shown(&["workload-instance/shop-1", "gone"])).await;
    watch.line("its end in the table", shown(&["workload-instance/shop-1", "gone"])).await;
}
