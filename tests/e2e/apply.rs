//! Applying: whole manifests in an order that works, twice without effect, and all or nothing.

use serde_json::{Value, json};

use crate::system::*;

/// Twelve documents of which each needs a later one.
fn twelve(tag: &str) -> String {
    let namespace = format!("shop-{tag}");
    let basket = resource_definition(&format!("shop-{tag}.example.com"), "Basket", "baskets");
    format!(
        "
apiVersion: shop-{tag}.example.com/v1
kind: Basket
metadata: {{name: basket, namespace: {namespace}}}
spec: {{size: 3}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: nginx:1.27
        envFrom: [{{configMapRef: {{name: settings}}}}, {{secretRef: {{name: keys}}}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: store, namespace: {namespace}}}
spec:
  serviceName: store
  selector: {{matchLabels: {{app: store}}}}
  template:
    metadata: {{labels: {{app: store}}}}
    spec: {{serviceAccountName: web, containers: [{{name: store, image: 'redis:7'}}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: prepare, namespace: {namespace}}}
spec:
  template:
    spec: {{restartPolicy: Never, containers: [{{name: prepare, image: 'busybox:1'}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: store, namespace: {namespace}}}
spec: {{selector: {{app: store}}, ports: [{{port: 6379}}]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: web, namespace: {namespace}}}
rules: [{{apiGroups: [''], resources: [configmaps], verbs: [get]}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: web, namespace: {namespace}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: keys, namespace: {namespace}}}
stringData: {{KEY: twelve-documents-secret}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {namespace}}}
data: {{COLOR: blue}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: reader-{tag}}}
rules: [{{apiGroups: [''], resources: [nodes], verbs: [list]}}]
---
{basket}
---
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_documents_in_any_order_turn_ready_the_first_time_and_belong_to_one_instance() {
    let system = System::start().await;
    let shop = [definition("shop", &twelve(&system.tag)), instance("shop-1", "shop")];
    system.tptctl.apply(&file(&shop), &["--wait"]).await.ok();

    let first = system.api.wait_ready("workload-instance", "shop-1").await;
    let resources = first["status"]["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 12, "{resources:#?}");
    assert!(resources.iter().all(|resource| resource["health"] == "Healthy"), "{resources:#?}");
    assert_eq!(first["status"]["health"], "Healthy (simulated)");
    let warnings = system.api.events("workload-instance", "shop-1").await;
    let warnings = warnings.iter().filter(|event| event.r#type == "Warning").collect::<Vec<_>>();
    assert!(warnings.is_empty(), "the order worked only on a later try: {warnings:#?}");

    let before = system.in_cluster().await;
    system.api.apply(&[instance("shop-2", "shop")]).await.unwrap();
    let second = system
        .api
        .wait_for("workload-instance", "shop-2", "refused", |instance| {
            condition(instance, "Ready")["status"] == "False"
        })
        .await;
    let message = condition(&second, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("`default/shop-1`"), "the condition names who has the resources: {message}");
    assert_eq!(system.in_cluster().await, before, "the second instance made something");
    let settings = format!("/api/v1/namespaces/shop-{}/configmaps/settings", system.tag);
    let settings = system.cluster.get(&settings).await.unwrap();
    assert_eq!(settings["metadata"]["labels"]["threeport.io/instance"], first["meta"]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_twice_says_unchanged_and_writes_nothing() {
    let system = System::start().await;
    let keys = "{apiVersion: v1, kind: Secret, metadata: {name: keys}, stringData: {KEY: applied-twice}}\n";
    let plain = json!({ "image": "nginx:1.27", "port": 8080, "env": { "COLOR": "blue" } });
    let documents = [
        definition("web", &manifests(&[keys, &config_map("settings", "color", "blue")])),
        instance("web-1", "web"),
        document("workload", "plain", plain),
        document(
            "attachment",
            "extra",
            json!({ "workload_instance": "web-1", "secret_data": { "TOKEN": "applied-twice" } }),
        ),
    ];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    system.api.wait_ready("workload-instance", "web-1").await;
    system.api.wait_ready("workload", "plain").await;

    let writes =
        "SELECT (SELECT count(*) FROM commits WHERE actor LIKE 'user:%') + (SELECT sum(revision)::bigint FROM objects)
         + (SELECT sum(wanted)::bigint FROM work WHERE kind <> 'kubernetes-runtime-instance')";
    let before = system.database.number(writes).await;
    let again = system.tptctl.apply(&file(&documents), &[]).await.ok();
    assert_eq!(again.text().matches("unchanged").count(), 4, "{again:#?}");
    let results = system.api.apply(&documents).await.unwrap();
    assert!(
        results.iter().all(|result| result.outcome == "unchanged" && result.differences.is_empty()),
        "{results:#?}"
    );
    // Written back as it was shown, the hidden text keeps the stored value.
    let mut shown = system.api.get("workload-definition", "web").await;
    assert!(shown.to_string().contains("(sensitive)"), "{shown}");
    let shown = document("workload-definition", "web", shown["spec"].take());
    assert_eq!(system.api.apply(&[shown]).await.unwrap()[0].outcome, "unchanged");
    assert_eq!(system.database.number(writes).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invalid_object_among_ten_stores_nothing_and_lists_all_violations() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let mut documents = (0..9)
        .map(|number| document("workload", &format!("good-{number}"), json!({ "image": "nginx" })))
        .collect::<Vec<_>>();
    let invalid =
        json!({ "image": "nginx", "manifest": "kind: Pod", "port": 70000, "instances": [{ "name": "Not A Label" }] });
    documents.insert(4, document("workload", "bad", invalid));
    // Found before the database is asked, and told with the rest.
    documents.push(document("workload", "Bad Name", json!({ "image": "nginx" })));
    let before = system.database.dump().await;

    let refused = refusal(system.api.apply(&documents).await);
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    for field in ["spec.port", "spec.instances[0].name", "objects[10].meta.name"] {
        assert!(refused.message().contains(field), "{field} is missing: {}", refused.message());
    }
    let printed = system.tptctl.apply(&file(&documents), &[]).await.failed();
    assert!(printed.stderr.contains("bad") && printed.stderr.contains("spec.port"), "{printed:#?}");
    assert!(system.api.list("workload").await.is_empty());
    let stored =
        |dump: &str| dump.lines().filter(|line| line.starts_with("objects:") || line.starts_with("commits:")).count();
    assert_eq!(stored(&system.database.dump().await), stored(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_replicas_stay_zero() {
    let system = System::start().await;
    let documents = [document("workload", "idle", json!({ "image": "nginx", "replicas": 0 }))];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", "idle-default").await;
    assert_eq!(system.api.get("workload", "idle").await["spec"]["replicas"], 0);
    let namespace = instance["status"]["namespace"].as_str().unwrap();
    let deployments = system.cluster.list(&format!("/apis/apps/v1/namespaces/{namespace}/deployments")).await;
    let replicas = deployments.iter().map(|deployment| &deployment["spec"]["replicas"]).collect::<Vec<&Value>>();
    assert_eq!(replicas, [&json!(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_changes_nothing_and_the_config_format_is_taken_beside_native_documents() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.yaml"), config_map("settings", "color", "blue")).unwrap();
    let path = folder.path().join("app.yaml");
    let (path, write) = (path.to_str().unwrap(), |text: &str| std::fs::write(&path, text).unwrap());
    let config = "Workload:\n  Name: web\n  YAMLDocument: web.yaml\n";
    write(&format!("{config}---\n{{version: v1, kind: project, name: shop}}\n"));

    let before = system.tptctl.run(&["diff", "-f", path]).await;
    assert_eq!(before.code, 3, "{before:?}");
    assert!(before.stdout.contains("workload/web created") && before.stdout.contains("workload-instance/web-default"));
    assert_eq!(system.api.list("workload").await, Vec::<Value>::new());
    system.tptctl.run(&["apply", "-f", path]).await.ok();
    let same = system.tptctl.run(&["diff", "-f", path]).await.ok();
    assert_eq!(same.stdout, "");

    write(&format!("{config}  KubernetesRuntimeInstance: {{Name: elsewhere}}\n"));
    let wrong = system.tptctl.run(&["diff", "-f", path, "-o", "json"]).await;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("app.yaml:4:3: workload/web "), "{wrong:?}");
    std::fs::write(folder.path().join("web.yaml"), config_map("settings", "color", "red")).unwrap();
    write(config);
    let changed = system.tptctl.run(&["diff", "-f", path, "-o", "json"]).await;
    let json = serde_json::from_str::<Value>(&changed.stdout).unwrap();
    assert_eq!((changed.code, &json[0]["name"], &json[0]["outcome"]), (3, &json!("web"), &json!("updated")));
    assert_eq!(json[0]["children"][0]["kind"], "workload-definition", "{json}");
    system.tptctl.run(&["delete", "-f", path, "--yes"]).await.ok();
}
