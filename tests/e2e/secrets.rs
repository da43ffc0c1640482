//! No secret of a run appears in any output, log, difference, history or row.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use threeport::v1::WatchRequest;

use crate::system::*;

/// Secrets of every kind that a user can hand us.
struct Secrets {
    definition: String,
    later: String,
    workload: String,
    attachment: String,
    runtime: String,
    kubeconfig: String,
}

impl Secrets {
    fn new() -> Self {
        let secret = |kind: &str| format!("{kind}-{}", &random()[..20]);
        Self {
            definition: secret("definition"),
            later: secret("later"),
            workload: secret("workload"),
            attachment: secret("attachment"),
            runtime: secret("runtime"),
            kubeconfig: secret("kubeconfig"),
        }
    }

    /// Each as it is and as a cluster would encode it.
    fn forms(&self, system: &System) -> Vec<String> {
        use base64::Engine;
        let plain = [
            &self.definition,
            &self.later,
            &self.workload,
            &self.attachment,
            &self.runtime,
            &self.kubeconfig,
            &system.api.token,
            &system.controller_token(),
        ];
        let encode = |secret: &String| base64::prelude::BASE64_STANDARD.encode(secret);
        plain.iter().flat_map(|secret| [(*secret).clone(), encode(secret)]).collect()
    }

    fn documents(&self, definition_secret: &str) -> Vec<Value> {
        use base64::Engine;
        let encoded = base64::prelude::BASE64_STANDARD.encode(definition_secret);
        let secret = |name: &str, field: &str, value: &str| {
            format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}, {field}: {{KEY: {value}}}}}\n")
        };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": "https://127.0.0.1:1" } }],
            "users": [{ "name": "it", "user": { "token": self.kubeconfig } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
        });
        vec![
            definition(
                "web",
                &manifests(&[&secret("a", "stringData", definition_secret), &secret("b", "data", &encoded)]),
            ),
            instance("web-1", "web"),
            document("workload", "shop", json!({ "manifest": secret("keys", "stringData", &self.workload) })),
            document(
                "attachment",
                "extra",
                json!({
                    "workload_instance": "web-1",
                    "secret_data": { "TOKEN": self.attachment },
                    "manifest": secret("more", "stringData", &self.attachment),
                }),
            ),
            document(
                "kubernetes-runtime-instance",
                "by-token",
                json!({ "endpoint": "https://127.0.0.1:1", "token": self.runtime }),
            ),
            document("kubernetes-runtime-instance", "by-file", json!({ "kubeconfig": kubeconfig.to_string() })),
        ]
    }
}

/// Everything that a user can have printed about the objects, by where it was printed.
async fn printed(system: &System, documents: &[Value]) -> BTreeMap<String, String> {
    let mut printed = BTreeMap::new();
    for document in documents {
        let [kind, name] = ["kind", "name"].map(|field| document[field].as_str().unwrap());
        let mut runs = vec![vec!["describe", kind, name], vec!["history", kind, name], vec!["events", kind, name]];
        runs.extend(["table", "wide", "json", "yaml", "name"].map(|format| vec!["get", kind, name, "-o", format]));
        runs.extend(["get", "tree"].map(|verb| vec![verb, kind, name]));
        if kind.starts_with("workload") {
            runs.push(vec!["render", kind, name]);
        }
        for run in runs {
            printed.insert(run.join(" "), format!("{:?}", system.tptctl.run(&run).await));
        }
        let path = format!("/v1/projects/default/{kind}s/{name}");
        let response =
            reqwest::Client::new().get(format!("{}{path}", system.api.address)).bearer_auth(&system.api.token);
        printed.insert(path, response.send().await.unwrap().text().await.unwrap());
    }
    printed
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_appears_in_any_output_log_difference_history_or_row() {
    let system = System::start().await;
    let secrets = Secrets::new();
    let documents = secrets.documents(&secrets.definition);
    let mut seen = BTreeMap::new();
    seen.insert("first apply".to_owned(), format!("{:?}", system.tptctl.apply(&file(&documents), &[]).await.ok()));
    system.api.wait_ready("workload-instance", "web-1").await;
    system.api.wait_ready("workload", "shop").await;

    let later = secrets.documents(&secrets.later);
    let difference = system.tptctl.apply(&file(&later), &["--dry-run"]).await.ok();
    assert!(difference.text().contains("changed"), "a changed secret is a difference: {difference:?}");
    seen.insert("dry run".to_owned(), format!("{difference:?}"));
    seen.insert("second apply".to_owned(), format!("{:?}", system.api.apply(&later).await.unwrap()));
    // Mistakes are answered without the text that has them.
    let mut wrong = later.clone();
    for document in &mut wrong {
        document["spec"]["colour"] = json!("blue");
    }
    seen.insert("refused apply".to_owned(), format!("{:?}", system.tptctl.apply(&file(&wrong), &[]).await.failed()));
    system.api.wait_ready("workload-instance", "web-1").await;
    let namespace =
        system.api.get("workload-instance", "web-1").await["status"]["namespace"].as_str().unwrap().to_owned();
    let applied = system.cluster.get(&format!("/api/v1/namespaces/{namespace}/secrets/a")).await.unwrap();
    assert!(
        secrets.forms(&system).contains(&applied["data"]["KEY"].as_str().unwrap().to_owned()),
        "the cluster has it"
    );

    seen.extend(printed(&system, &documents).await);
    seen.insert("watch".to_owned(), watched(&system).await);
    for process in system.api_servers.iter().chain(&system.controllers) {
        seen.insert(process.name.clone(), process.log());
    }
    seen.insert("database".to_owned(), system.database.dump().await);
    let found = seen.iter().flat_map(|(place, text)| {
        let forms = secrets.forms(&system);
        forms
            .into_iter()
            .filter(|form| text.contains(form.as_str()))
            .map(move |form| format!("{form} in {place}"))
            .collect::<Vec<_>>()
    });
    let found = found.collect::<Vec<_>>();
    assert!(found.is_empty(), "secrets appear: {found:#?}");
    assert!(
        seen["get workload-definition web -o yaml"].contains("(sensitive)"),
        "{}",
        seen["get workload-definition web -o yaml"]
    );
}

/// The whole log as watchers see it.
async fn watched(system: &System) -> String {
    let request = WatchRequest { from_position: 1, ..Default::default() };
    let mut stream = system.api.client.clone().watch(request).await.unwrap().into_inner();
    let last = system.database.number("SELECT max(position) FROM positions").await;
    let mut text = String::new();
    while let Some(commit) = tokio::time::timeout(MINUTE, stream.message()).await.expect("the log goes on").unwrap() {
        for object in commit.events.into_iter().filter_map(|event| event.object) {
            text.push_str(&json_of(object).to_string());
        }
        if commit.position >= last {
            break;
        }
    }
    text
}
