//! Charts: real releases by a real helm, from a repository that the test serves.

mod charts;
mod registry;
mod spy;

use std::process::Command;

use serde_json::{Value, json};

use crate::system::*;
use charts::{Charts, Login};
use registry::Registry;
use spy::Spy;

const KIND: &str = "helm-workload-instance";

/// A system that can run helm, and a repository.
struct Ground {
    system: System,
    charts: Charts,
}

impl Ground {
    async fn start() -> Self {
        let helm = cli::local::servers::helm(&servers::Told).await.expect("helm can be built");
        let system = System::start().await;
        Self { charts: Charts::new(helm), system }
    }

    fn definition(&self, version: &str, more: &Value) -> Value {
        let mut spec = json!({
            "repo": self.charts.url(), "chart": "web", "chart_version": version,
            "values_document": "replicas: 1\ngreeting: definition\n",
        });
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        document("helm-workload-definition", "web", spec)
    }

    async fn apply(&self, documents: &[Value]) {
        self.system.api.apply(documents).await.expect("the documents are valid");
    }

    /// What `helm list` shows, failed and pending ones too.
    fn listed(&self) -> Vec<Value> {
        let kubeconfig = self.system.folder.path().join("kubeconfig-for-helm");
        std::fs::write(&kubeconfig, &self.system.cluster.kubeconfig).unwrap();
        let mut command = Command::new(&self.charts.helm);
        command.args(["list", "--all-namespaces", "--output=json"]).env("KUBECONFIG", kubeconfig);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        all.into_iter().filter(|found| found["name"].as_str().unwrap().contains(&self.system.tag)).collect()
    }

    fn name(&self) -> String {
        format!("web-{}", self.system.tag)
    }

    fn instance(&self, spec: &Value) -> Value {
        let mut whole = json!({ "definition": "web" });
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        document(KIND, &self.name(), whole)
    }

    async fn ready(&self) -> Value {
        self.system.api.wait_ready(KIND, &self.name()).await
    }

    /// Waits until the instance says why it isn't ready.
    async fn says(&self, reason: &str, words: &str) -> Value {
        let what = format!("not ready: {reason}, {words}");
        let holds = |object: &Value| {
            let ready = condition(object, "Ready");
            ready["reason"] == reason && ready["message"].as_str().unwrap_or_default().contains(words)
        };
        self.system.api.wait_for(KIND, &self.name(), &what, holds).await
    }

    async fn delete(&self) {
        self.system.api.delete(KIND, &self.name()).await.unwrap();
        self.system.api.wait_gone(KIND, &self.name()).await;
    }
}

/// A resource in the release's namespace.
fn path(instance: &Value, collection: &str, name: &str) -> String {
    format!("{collection}/{name}").replace("NAMESPACE", instance["status"]["namespace"].as_str().unwrap())
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/NAMESPACE/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_released_upgraded_repaired_and_removed_without_a_trace() {
    let ground = Ground::start().await;
    ground.charts.add("1.0.0", "");
    ground.charts.add("1.1.0", "");
    let secret = random();
    let spy = Spy::on(vec![secret.clone()]);
    let inputs = json!([{ "name": "size", "type": "integer", "targets": [{ "path": "replicas" }] }]);
    let more = json!({ "secret_values": format!("password: {secret}\n"), "inputs": inputs });
    ground.apply(&[ground.definition("1.0.0", &more), ground.instance(&json!({}))]).await;
    let instance = ground.ready().await;
    assert_eq!(instance["status"]["health"], "Healthy (simulated)", "{instance}");
    assert_eq!(instance["status"]["chart_version"], "1.0.0");
    let listed = ground.listed();
    assert_eq!((listed.len(), &listed[0]["status"], &listed[0]["revision"]), (1, &json!("deployed"), &json!("1")));
    let config_map = path(&instance, CONFIG_MAPS, "greeting");
    let greeting = async || ground.system.cluster.get(&config_map).await.map(|found| found["data"]["greeting"].clone());
    assert_eq!(greeting().await, Some(json!("definition")));

    // Values of the instance win, and a new version is one more revision.
    let values = json!({ "values_document": "greeting: instance\n", "values": { "size": 2 } });
    ground.apply(&[ground.definition("1.1.0", &more), ground.instance(&values)]).await;
    let holds = |object: &Value| object["status"]["chart_version"] == "1.1.0" && object["meta"]["settled"] == true;
    let instance = ground.system.api.wait_for(KIND, &ground.name(), "upgraded", holds).await;
    assert_eq!(instance["status"]["resources"].as_array().unwrap().len(), 4, "{instance}");
    assert_eq!(greeting().await, Some(json!("instance")));
    let deployment = path(&instance, "/apis/apps/v1/namespaces/NAMESPACE/deployments", "web");
    let live = ground.system.cluster.get(&deployment).await.unwrap();
    assert_eq!(live["spec"]["replicas"], 2);
    let pod_labels = &live["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod_labels["threeport.io/instance"], instance["meta"]["id"]);

    // What others do behind our back is undone, with a word on it and without helm.
    ground.system.cluster.patch(&config_map, "kubectl-edit", &json!({ "data": { "greeting": "evil" } })).await;
    eventually("the greeting is restored", MINUTE / 3, async || {
        let found = greeting().await;
        when(found == Some(json!("instance")), format!("{found:?}"))
    })
    .await;
    eventually("an event tells of the repair", MINUTE / 3, async || {
        let events = ground.system.api.events(KIND, &ground.name()).await;
        let is_told =
            |event: &threeport::v1::Event| event.reason == "DriftRepaired" && event.note.contains("kubectl-edit");
        when(events.iter().any(is_told), format!("{events:#?}"))
    })
    .await;
    assert_eq!(
        ground.listed()[0]["revision"],
        ground.system.api.get(KIND, &ground.name()).await["status"]["release_revision"]
    );

    let seen = spy.seen();
    assert!(seen.tellers.is_empty() && !seen.helms.is_empty(), "{seen:?}");
    let log = ground.system.controllers[0].log();
    assert!(!log.contains(&secret), "the log tells the secret");
    let history = ground.system.tptctl.run(&["history", "helm-workload-definition", "web", "--diff"]).await;
    assert!(!history.text().contains(&secret), "{history:?}");
    ground.delete().await;
    assert_eq!(ground.listed(), Vec::<Value>::new());
    let left = ground.system.in_cluster().await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upgrade_is_rolled_back_and_told_in_helms_words() {
    let ground = Ground::start().await;
    ground.charts.add("1.0.0", "");
    ground.apply(&[ground.definition("1.0.0", &json!({})), ground.instance(&json!({}))]).await;
    ground.ready().await;
    ground.apply(&[ground.instance(&json!({ "values_document": "replicas: -1\n" }))]).await;
    let instance = ground.says("RolledBack", "spec.replicas: Invalid value: -1").await;
    assert_eq!(condition(&instance, "Released")["status"], "False");
    assert_eq!(instance["status"]["health"], "Healthy (simulated)", "what ran before runs again");
    assert_eq!(ground.listed()[0]["status"], "deployed");
    // The chart's own schema, and a template's own word, stop an upgrade before it begins.
    ground.apply(&[ground.instance(&json!({ "values_document": "refuse: no cats\n" }))]).await;
    ground.says("ReleaseFailed", "no cats").await;
    ground.apply(&[ground.instance(&json!({ "values_document": "greeting: mended\n" }))]).await;
    let instance = ground.ready().await;
    assert_eq!(condition(&instance, "Released")["status"], "True");
    ground.delete().await;
}

/// A hook that waits for a node that there isn't.
const ENDLESS_HOOK: &str = "{{if .Values.hang}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: endless
  annotations: {helm.sh/hook: pre-upgrade}
spec:
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {nowhere: 'true'}
      containers: [{name: main, image: busybox}]
{{end}}";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_cut_short_by_a_crash_is_done_again_as_one_release() {
    let mut ground = Ground::start().await;
    ground.charts.add("1.0.0", ENDLESS_HOOK);
    ground.apply(&[ground.definition("1.0.0", &json!({})), ground.instance(&json!({}))]).await;
    let instance = ground.ready().await;
    ground.apply(&[ground.instance(&json!({ "values_document": "hang: true\n" }))]).await;
    let job = path(&instance, "/apis/batch/v1/namespaces/NAMESPACE/jobs", "endless");
    eventually("the hook runs", MINUTE, async || {
        ground.system.cluster.get(&job).await.ok_or_else(|| "no job".to_owned())
    })
    .await;
    assert_eq!(ground.listed()[0]["status"], "pending-upgrade");
    ground.system.controllers[0].kill();
    // Nobody hangs any more.
    ground.apply(&[ground.instance(&json!({ "values_document": "greeting: after\n" }))]).await;
    ground.system.controllers[0].start_again();
    let config_map = path(&instance, CONFIG_MAPS, "greeting");
    eventually("the upgrade is done", MINUTE, async || {
        let found = ground.system.cluster.get(&config_map).await.ok_or("it is not there")?;
        when(found["data"]["greeting"] == "after", found["data"].to_string())
    })
    .await;
    ground.ready().await;
    let listed = ground.listed();
    assert_eq!((listed.len(), &listed[0]["status"]), (1, &json!("deployed")), "{listed:?}");
    let events = ground.system.api.events(KIND, &ground.name()).await;
    assert!(events.iter().any(|event| event.reason == "Recovered"), "{events:#?}");
    ground.delete().await;
    let left = ground.system.in_cluster().await;
    assert!(left.is_empty(), "the hook's job goes as well: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_somebody_else_is_left_alone() {
    let ground = Ground::start().await;
    ground.charts.add("1.0.0", "");
    let namespace = format!("theirs-{}", ground.system.tag);
    ground.charts.install(&ground.system, &ground.name(), &namespace);
    let before = ground.listed();
    let instance = ground.instance(&json!({ "release_namespace": namespace }));
    ground.apply(&[ground.definition("1.0.0", &json!({})), instance]).await;
    ground.says("ReleaseNameTaken", "isn't of this instance").await;
    assert_eq!(ground.listed(), before);
    ground.delete().await;
    assert_eq!(ground.listed(), before);
    ground.system.cluster.delete(&format!("/api/v1/namespaces/{namespace}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_repository_is_told_and_mended() {
    let mut ground = Ground::start().await;
    ground.charts.add("1.0.0", "");
    let password = random();
    ground.charts.lock(Login { username: "reader".into(), password: password.clone() });
    ground.apply(&[ground.definition("1.0.0", &json!({})), ground.instance(&json!({}))]).await;
    ground.says("CredentialsRefused", "401").await;
    let login = json!({ "repo_credentials": { "username": "reader", "password": password } });
    ground.apply(&[ground.definition("9.9.9", &login)]).await;
    ground.says("ChartNotFound", "9.9.9").await;
    ground.apply(&[ground.definition("1.0.0", &login)]).await;
    ground.ready().await;
    let log = ground.system.controllers[0].log();
    assert!(!log.contains(&password), "the log tells the password");
    ground.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_in_a_registry_is_released_once_the_credential_is_right() {
    let ground = Ground::start().await;
    let (registry, login) = (Registry::start().await, Registry::login());
    registry.push(&ground.charts.helm, &ground.charts.add("1.0.0", ""));
    let credentials = |password: &str| json!({ "username": login.username, "password": password });
    let definition = |password: &str| {
        ground.definition("1.0.0", &json!({ "repo": registry.repo(), "repo_credentials": credentials(password) }))
    };
    ground.apply(&[definition("wrong"), ground.instance(&json!({}))]).await;
    ground.says("CredentialsRefused", "401").await;
    ground.apply(&[definition(&login.password)]).await;
    ground.ready().await;
    ground.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_no_yaml_are_refused_with_their_place() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let spec = json!({ "repo": "https://charts.example.com", "chart": "web", "chart_version": "1.0.0", "values_document": "a: 1\nb: [\n" });
    let status = refusal(system.api.apply(&[document("helm-workload-definition", "web", spec)]).await);
    assert!(status.message().contains("values:2:4: "), "{status:?}");
}
