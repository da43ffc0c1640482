//! Clusters: how they are registered, and what their credentials' change means for what runs there.

use base64::Engine;
use serde_json::{Value, json};

use crate::system::*;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// A token of the system's own service account, as a secret that takes it back when it is deleted.
async fn token(system: &System, name: &str) -> String {
    let account = format!("robot-{}", system.tag);
    let meta = json!({ "name": name, "annotations": { "kubernetes.io/service-account.name": account } });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": meta });
    system.cluster.create(SECRETS, &secret).await;
    eventually("the cluster makes the token", MINUTE, async || {
        let secret = system.cluster.get(&format!("{SECRETS}/{name}")).await.ok_or("no secret")?;
        let token = secret["data"]["token"].as_str().ok_or("no token yet")?;
        let token = base64::prelude::BASE64_STANDARD.decode(token).map_err(|error| error.to_string())?;
        String::from_utf8(token).map_err(|error| error.to_string())
    })
    .await
}

async fn make_account(system: &System) {
    let account = format!("robot-{}", system.tag);
    let meta = json!({ "name": account });
    let robot = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta });
    system.cluster.create(ACCOUNTS, &robot).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": "default" }],
    });
    system.cluster.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
}

/// The cluster as a runtime that is reached with a token.
fn with_token(system: &System, token: &str) -> Value {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&system.cluster.kubeconfig).unwrap();
    let cluster = kubeconfig.clusters[0].cluster.as_ref().unwrap();
    let authority = cluster.certificate_authority_data.as_ref().unwrap();
    let authority = String::from_utf8(base64::prelude::BASE64_STANDARD.decode(authority).unwrap()).unwrap();
    let spec = json!({ "endpoint": cluster.server, "ca_certificate": authority, "token": token });
    document("kubernetes-runtime-instance", "robot", spec)
}

async fn says(system: &System, settings: &str, value: &str) {
    eventually(&format!("the cluster says {value}"), MINUTE, async || {
        let found = system.cluster.get(settings).await.ok_or("it is not there")?;
        when(found["data"]["color"] == value, &found["data"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_go_on_with_changed_credentials_and_wrong_ones_are_a_condition() {
    let system = System::start().await;
    make_account(&system).await;
    let [first, second] = ["first", "second"].map(|name| format!("{name}-{}", system.tag));
    let mut one = instance("one", "app");
    one["spec"]["runtime"] = json!("robot");
    let app = |color: &str| definition("app", &config_map("settings", "color", color));
    let documents = [with_token(&system, &token(&system, &first).await), app("red"), one];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", "one").await;
    let namespace = instance["status"]["namespace"].as_str().unwrap();
    let settings = format!("/api/v1/namespaces/{namespace}/configmaps/settings");

    // The old ones are taken back, new ones given: edits and repairs go on.
    system.cluster.delete(&format!("{SECRETS}/{first}")).await;
    let renewed = with_token(&system, &token(&system, &second).await);
    system.api.apply(std::slice::from_ref(&renewed)).await.unwrap();
    system.api.wait_ready("kubernetes-runtime-instance", "robot").await;
    system.api.apply(&[app("green")]).await.unwrap();
    says(&system, &settings, "green").await;
    system.cluster.patch(&settings, "kubectl-edit", &json!({ "data": { "color": "evil" } })).await;
    says(&system, &settings, "green").await;

    // Wrong ones are said of the runtime and of what runs on it, and harm nothing.
    system.api.apply(&[with_token(&system, "no-token-at-all")]).await.unwrap();
    let refused = |object: &Value| condition(object, "Ready")["reason"] == "Unauthorized";
    let runtime = system.api.wait_for("kubernetes-runtime-instance", "robot", "refused", refused).await;
    let message = condition(&runtime, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("credentials"), "{message}");
    system.api.apply(&[app("blue")]).await.unwrap();
    let waiting = |object: &Value| condition(object, "Ready")["status"] == "False";
    let instance = system.api.wait_for("workload-instance", "one", "waiting for credentials", waiting).await;
    let message = condition(&instance, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("robot") && message.contains("credentials"), "{message}");
    assert_eq!(system.cluster.get(&settings).await.unwrap()["data"]["color"], "green");

    system.api.apply(&[renewed]).await.unwrap();
    says(&system, &settings, "blue").await;
    system.api.wait_ready("workload-instance", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_registered_with_a_service_account_made_for_us_and_deployed_to() {
    let system = System::start().await;
    let kubeconfig = system.folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, &system.cluster.kubeconfig).unwrap();
    let programs = system.kubectl.parent().unwrap().to_string_lossy().into_owned();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let tptctl = system.tptctl.clone().with("PATH", &path);
    let arguments = ["runtime", "add", "real", "--kubeconfig", kubeconfig.to_str().unwrap(), "--default", "--wait"];
    let added = tptctl.run(&arguments).await.ok();
    assert!(added.text().contains("threeport-system/threeport"), "it says what it makes: {added:#?}");
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding =
        system.cluster.get(&format!("{bindings}/threeport-cluster-admin")).await.expect("the account is bound");
    assert_eq!(binding["subjects"][0]["name"], "threeport");

    // The user's own credentials are stored nowhere.
    let runtime = system.api.wait_ready("kubernetes-runtime-instance", "real").await;
    assert_eq!((&runtime["spec"]["token"], &runtime["spec"]["kubeconfig"]), (&json!("(sensitive)"), &Value::Null));
    assert!(runtime["spec"]["endpoint"].as_str().unwrap().starts_with("https://"), "{runtime}");
    tptctl.run(&["deploy", "web", "--image", "nginx:1.29", "--port", "80", "--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", "web-default").await;
    assert_eq!(instance["spec"]["runtime"], "real");
    let namespace = instance["status"]["namespace"].as_str().unwrap();
    let deployment = system.cluster.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/web")).await;
    assert_eq!(deployment.expect("it was deployed there")["status"]["readyReplicas"], 1);
    tptctl.run(&["delete", "workload", "web", "--wait"]).await.ok();

    // Without a cluster to ask, it says so and registers nothing.
    let nowhere = tptctl.run(&["runtime", "add", "other", "--kubeconfig", "/nowhere", "--wait"]).await.failed();
    assert!(nowhere.stderr.contains("/nowhere: no such file"), "{nowhere:#?}");
    system.api.find("kubernetes-runtime-instance", "other").await.unwrap_err();
}
