//! A kind registered at run time is stored, served and reconciled like ours.

use serde_json::{Value, json};
use threeport::json::to_struct;
use threeport::v1;
use threeport_sdk::controller::{Context, Error, Next, Reconciler, Runner, RunnerConfig};
use threeport_sdk::{Client, Connection};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::system::*;

/// Gives every widget a workload and a mood.
struct Moods;

impl Reconciler for Moods {
    type Object = Widget;
    const CONTROLLER: &'static str = "widget";

    async fn reconcile(&self, context: &mut Context<Widget>) -> Result<Next, Error> {
        let (name, project) = (context.object.meta.name.clone(), context.object.meta.project.clone());
        let meta = v1::ObjectMeta { name, project, ..Default::default() };
        let size = context.object.spec["size"].as_i64().unwrap_or(1);
        let spec = to_struct(json!({ "image": "nginx", "replicas": size }));
        context.own_erased([v1::Object { kind: "workload".into(), meta: Some(meta), spec: Some(spec), status: None }]);
        let ready = context.children().iter().all(is_ready) && !context.children().is_empty();
        context.set_status(json!({ "mood": if ready { "happy" } else { "waiting" } }));
        context.condition("Ready", ready, if ready { "Happy" } else { "Waiting" }, "waits for its workload");
        Ok(Next::Done)
    }

    async fn cleanup(&self, _context: &mut Context<Widget>) -> Result<Next, Error> {
        Ok(Next::Done)
    }
}

fn is_ready(object: &v1::Object) -> bool {
    condition(&json_of(object.clone()), "Ready")["status"] == "True"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_registered_at_run_time_works_through_everything_and_a_controller() {
    let system = System::start().await;
    system.tptctl.apply(&file(&[widget_kind()]), &[]).await.ok();
    let shutdown = CancellationToken::new();
    let runner =
        Runner::new(system.widget_client(), Some(system.broker.url.clone()), RunnerConfig::default()).add(Moods);
    let running = tokio::spawn(runner.run(shutdown.clone()));

    let spec = json!({ "size": 2, "color": "red", "password": "widget-password" });
    system.tptctl.apply(&file(&[document("widget", "first", spec)]), &["--wait"]).await.ok();
    let widget = system.api.wait_ready("widget", "first").await;
    assert_eq!((&widget["status"]["mood"], &widget["spec"]["password"]), (&json!("happy"), &json!("(sensitive)")));
    let child = system.api.get("workload", "first").await;
    assert_eq!((&child["meta"]["owner"]["kind"], &child["spec"]["replicas"]), (&json!("widget"), &json!(2)));

    // An edit reaches the child; the child's deletion is the owner's affair.
    let change = document("widget", "first", json!({ "size": 3 }));
    system.api.update(&change, "spec.size").await.unwrap();
    system.api.wait_for("workload", "first", "edited through its owner", |child| child["spec"]["replicas"] == 3).await;
    assert!(refusal(system.api.delete("workload", "first").await).message().contains("widget `default/first`"));

    let table = system.tptctl.run(&["get", "widget"]).await.ok().stdout;
    assert!(["NAME", "COLOR", "MOOD", "first", "red"].iter().all(|part| table.contains(part)), "{table}");
    assert!(system.tptctl.run(&["tree", "widget", "first"]).await.ok().stdout.contains("Deployment"));
    over_rest(&system).await;

    let used = refusal(system.api.delete("object-kind", "widget").await);
    assert_eq!(used.code(), Code::FailedPrecondition);
    assert!(used.message().contains("default/first"), "{used}");
    system.tptctl.run(&["delete", "widget", "first", "--wait"]).await.ok();
    assert_eq!(system.api.list("workload").await, Vec::<Value>::new());
    system.tptctl.run(&["delete", "object-kind", "widget", "--yes"]).await.ok();
    system.tptctl.run(&["get", "widget"]).await.failed();
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn over_rest(system: &System) {
    let http = reqwest::Client::new();
    let url = format!("{}/v1/projects/default/widgets", system.api.address);
    let send = async |request: reqwest::RequestBuilder| {
        let response = request.bearer_auth(&system.api.token).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, body) =
        send(http.post(&url).json(&json!({ "meta": { "name": "second" }, "spec": { "color": "blue" } }))).await;
    assert_eq!((status, &body["spec"]["color"]), (200, &json!("blue")), "{body}");
    let (status, body) = send(http.get(&url)).await;
    assert_eq!((status, body["items"].as_array().unwrap().len()), (200, 2), "{body}");
    let (status, body) = send(http.put(format!("{url}/second")).json(&json!({ "spec": { "colour": "blue" } }))).await;
    assert_eq!(status, 400);
    assert!(body.to_string().contains("did you mean `color`"), "{body}");
    let (status, _) = send(http.delete(format!("{url}/second"))).await;
    assert_eq!(status, 200);
    system.api.wait_gone("widget", "second").await;
    let described = format!("{}/openapi.json", system.api.address);
    let (status, document) = send(http.get(&described)).await;
    let write = &document["paths"]["/v1/projects/{project}/widgets/{name}"]["put"];
    assert_eq!((status, write["operationId"].is_string()), (200, true), "{document}");
    assert_eq!(http.get(&described).send().await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_changes_only_compatibly_and_its_references_hold() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    system.api.apply(&[widget_kind()]).await.unwrap();
    let wrong = document("widget", "w", json!({ "definition": "nothing" }));
    assert!(refusal(system.api.apply(&[wrong]).await).message().contains("nothing"));
    let used =
        [definition("web", &config_map("settings", "a", "b")), document("widget", "w", json!({ "definition": "web" }))];
    system.api.apply(&used).await.unwrap();
    let refused = refusal(system.api.delete("workload-definition", "web").await);
    assert!(refused.message().contains("widget `default/w`"), "{refused}");

    let narrowed = changed_widget_kind("string color = 2;", "int64 color = 2;");
    let refused = refusal(system.api.apply(&[narrowed]).await);
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("color"), "{refused}");
    let grown = changed_widget_kind("string color = 2;", "string color = 2;\n  string shape = 5;");
    system.api.apply(&[grown]).await.unwrap();
    let shaped = document("widget", "w", json!({ "definition": "web", "shape": "round" }));
    eventually("every server knows the new field", MINUTE, async || {
        system.api.apply(std::slice::from_ref(&shaped)).await.map(drop).map_err(|status| status.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_sdk_registers_its_kind_and_owns_workloads() {
    let system = System::start().await;
    let website = system.website();
    let site =
        |languages: &[&str]| document("website", "shop", json!({ "image": "nginx:1.29", "languages": languages }));
    eventually("the kind is registered", MINUTE, async || {
        let applied = system.api.apply(&[site(&["en", "de"])]).await;
        applied.map(drop).map_err(|status| format!("{status}\n{}", website.log()))
    })
    .await;
    let shop = system.api.wait_ready("website", "shop").await;
    assert_eq!(condition(&shop, "Ready")["message"], "2 of 2 are ready");
    let german = system.api.get("workload", "shop-de").await;
    assert_eq!((&german["spec"]["env"]["LANGUAGE"], &german["meta"]["owner"]["name"]), (&json!("de"), &json!("shop")));

    // What is no longer listed goes, to the last one.
    system.api.apply(&[site(&["en"])]).await.unwrap();
    system.api.wait_gone("workload", "shop-de").await;
    system.api.apply(&[site(&[])]).await.unwrap();
    system.api.wait_gone("workload", "shop-en").await;
    system.api.wait_ready("website", "shop").await;
    system.tptctl.run(&["delete", "website", "shop", "--wait"]).await.ok();
    assert_eq!(system.api.list("website").await, Vec::<Value>::new());
}

impl System {
    /// The SDK's example as a process, with what a user would set for it.
    fn website(&self) -> Process {
        let environment = [
            ("THREEPORT_SERVER", self.api.address.clone()),
            ("THREEPORT_TOKEN", self.api.token.clone()),
            ("THREEPORT_CONTROLLER_TOKEN", self.controller_token()),
            ("THREEPORT_NATS_URL", self.broker.url.clone()),
        ];
        let mut website = Process::new(self.folder.path(), "website", "examples/website", &[]);
        for (name, value) in environment {
            website.set_environment(name, &value);
        }
        website.start_again();
        website
    }

    /// The SDK's client with the token of the widgets' controller.
    pub fn widget_client(&self) -> Client {
        let token = std::fs::read_to_string(self.folder.path().join("widget-token")).expect("it was written");
        Client::connect(&Connection { server: self.api.address.clone(), token }).expect("the address is a URL")
    }
}
