//! Changing a definition: who gets it, what is written, and how instances differ.

use serde_json::{Value, json};

use crate::system::*;

/// The path of a config map in the namespace of an instance.
fn settings(instance: &Value, name: &str) -> String {
    format!("/api/v1/namespaces/{}/configmaps/{name}", instance["status"]["namespace"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_every_following_instance_prunes_and_writes_only_what_changed() {
    let system = System::start().await;
    let three = ["kept", "edited", "removed"].map(|name| config_map(name, "color", "blue"));
    let mut pinned = instance("pinned", "web");
    pinned["spec"]["definition_generation"] = json!(1);
    let documents = [definition("web", &three.join("---\n")), instance("one", "web"), instance("two", "web"), pinned];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let mut instances = Vec::new();
    for name in ["one", "two", "pinned"] {
        instances.push(system.api.wait_ready("workload-instance", name).await);
    }
    let versions = async |name: &str| {
        let mut versions = Vec::new();
        for instance in &instances {
            let found = system.cluster.get(&settings(instance, name)).await;
            versions.push(found.map(|found| found["metadata"]["resourceVersion"].clone()));
        }
        versions
    };
    let before = [versions("kept").await, versions("edited").await, versions("removed").await];

    let two = manifests(&[&config_map("kept", "color", "blue"), &config_map("edited", "color", "red")]);
    system.tptctl.apply(&file(&[definition("web", &two)]), &[]).await.ok();
    for instance in &instances[..2] {
        eventually("the edit arrives and what it removed goes", MINUTE / 3, async || {
            let edited = system.cluster.get(&settings(instance, "edited")).await.unwrap();
            let removed = system.cluster.get(&settings(instance, "removed")).await;
            when(edited["data"]["color"] == "red" && removed.is_none(), format!("{edited} {removed:?}"))
        })
        .await;
    }
    for name in ["one", "two"] {
        let following = system.api.wait_ready("workload-instance", name).await;
        assert_eq!(following["status"]["definition_generation"], "2", "{following}");
    }
    let pinned = system.api.wait_ready("workload-instance", "pinned").await;
    assert_eq!((&pinned["status"]["definition_generation"], &pinned["status"]["behind"]), (&json!("1"), &json!(true)));
    assert_eq!(versions("kept").await, before[0], "what the edit left alone was written");
    assert_eq!(versions("edited").await[2], before[1][2], "the pinned instance was written");
    assert_eq!(versions("removed").await, [None, None, before[2][2].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_differ_by_values_and_live_in_namespaces_of_their_own() {
    let system = System::start().await;
    let ingress = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";
    let mut web = definition("web", &manifests(&[&deployment("web", "nginx:1.27", 1), ingress]));
    web["spec"]["inputs"] = json!([
        { "name": "replicas", "type": "integer", "default": 1, "targets": [
            { "resource": { "kind": "Deployment" }, "path": "spec.replicas" }] },
        { "name": "color", "type": "string", "allowed": ["blue", "red"], "required": true, "targets": [
            { "resource": { "kind": "Deployment" }, "path": "metadata.annotations[\"example.com/color\"]" }] },
        { "name": "host", "type": "string", "required": true, "targets": [
            { "resource": { "kind": "Ingress" }, "path": "spec.rules[0].host" }] },
    ]);
    let with = |name: &str, values: Value, env: &str| {
        let mut instance = instance(name, "web");
        instance["spec"]["values"] = values;
        instance["spec"]["patches"] = json!([{ "resource": { "kind": "Deployment" }, "strategic_merge": {
            "spec": { "template": { "spec": { "containers": [{ "name": "main", "env": [{ "name": "STAGE", "value": env }] }] } } } } }]);
        instance
    };
    let test = with("test", json!({ "color": "blue", "host": "test.example.com" }), "test");
    let live = with("live", json!({ "color": "red", "host": "live.example.com", "replicas": 3 }), "live");
    system.tptctl.apply(&file(&[web, test, live]), &["--wait"]).await.ok();

    let mut namespaces = Vec::new();
    for (name, replicas, color) in [("test", 1, "blue"), ("live", 3, "red")] {
        let instance = system.api.wait_ready("workload-instance", name).await;
        let namespace = instance["status"]["namespace"].as_str().unwrap().to_owned();
        let deployment =
            system.cluster.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/web")).await.unwrap();
        assert_eq!(deployment["spec"]["replicas"], replicas);
        assert_eq!(deployment["metadata"]["annotations"]["example.com/color"], color);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!((&container["image"], &container["env"][0]["value"]), (&json!("nginx:1.27"), &json!(name)));
        let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/web");
        assert_eq!(system.cluster.get(&path).await.unwrap()["spec"]["rules"][0]["host"], format!("{name}.example.com"));
        namespaces.push(namespace);
    }
    assert_ne!(namespaces[0], namespaces[1]);

    let refused = with("bad", json!({ "color": "green", "sizes": 3 }), "bad");
    let refused = refusal(system.api.apply(&[refused]).await);
    for part in ["spec.values.color", "spec.values.sizes", "host"] {
        assert!(refused.message().contains(part), "{part} is missing: {}", refused.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_again_at_what_is_as_it_should_be_writes_nothing_to_the_cluster() {
    let system = System::start().await;
    let text = manifests(&[&deployment("web", "nginx:1.27", 1), &config_map("settings", "color", "blue")]);
    system.tptctl.apply(&file(&[definition("web", &text), instance("one", "web")]), &["--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", "one").await;
    let namespace = instance["status"]["namespace"].as_str().unwrap();
    let resources = async || {
        let mut managed = Vec::new();
        for path in ["apis/apps/v1", "api/v1"].iter().zip(["deployments/web", "configmaps/settings"]) {
            let found = system.cluster.get(&format!("/{}/namespaces/{namespace}/{}", path.0, path.1)).await.unwrap();
            managed.push(found["metadata"].clone());
        }
        managed
    };
    let before = resources().await;
    // A comment is a new generation that renders the same.
    system.api.apply(&[definition("web", &format!("# a comment\n{text}"))]).await.unwrap();
    let looked =
        |instance: &Value| instance["status"]["definition_generation"] == "2" && instance["meta"]["settled"] == true;
    system.api.wait_for("workload-instance", "one", "looked at again", looked).await;
    assert_eq!(resources().await, before);
}
