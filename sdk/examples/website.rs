use threeport_sdk::controller::{Context, Error, Next, Reconciler, Runner, RunnerConfig};
use threeport_sdk::custom::{Custom, CustomKind, object_kind};
use threeport_sdk::threeport::{object::Object, v1};
use threeport_sdk::{Client, Conditions};

const PROTO: &str = r#"
    syntax = "proto3";
    package acme.v1;
    import "threeport/v1/meta.proto";
    message Website { threeport.v1.ObjectMeta meta = 1; WebsiteSpec spec = 2; WebsiteStatus status = 3; }
    message WebsiteSpec { string image = 1; repeated string languages = 2; }
    message WebsiteStatus { int64 observed_generation = 1; repeated threeport.v1.Condition conditions = 2; uint32 up = 3; }
"#;

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct WebsiteSpec {
    image: String,
    languages: Vec<String>,
}

#[derive(Clone)]
struct Website;
impl CustomKind for Website {
    const KIND: &'static str = "website";
    type Spec = WebsiteSpec;
    type Status = serde_json::Value;
}

impl Reconciler for Website {
    type Object = Custom<Website>;
    const CONTROLLER: &'static str = "website";

    async fn reconcile(&self, context: &mut Context<Custom<Website>>) -> Result<Next, Error> {
        let Custom { meta, spec, .. } = context.object.clone();
        let workload = |language: &String| {
            let (image, env) = (spec.image.clone(), [("LANGUAGE".to_owned(), language.clone())].into());
            let (project, name) = (meta.project.clone(), format!("{}-{language}", meta.name));
            let meta = v1::ObjectMeta { project, name, ..Default::default() };
            let spec = v1::WorkloadSpec { image, env, port: Some(80), ..Default::default() };
            v1::Workload { meta: Some(meta), spec: Some(spec), status: None }.to_erased()
        };
        let wanted = spec.languages.iter().map(workload).collect::<Vec<_>>();
        let name = |object: &v1::Object| object.meta.as_ref().map(|meta| meta.name.clone());
        let is_up = |object: &v1::Object| context.children().iter().any(|c| name(c) == name(object) && c.is_ready());
        let (up, all) = (wanted.iter().filter(|object| is_up(object)).count(), wanted.len());
        context.own(wanted); // all of them: what is no longer listed goes
        context.set_status(serde_json::json!({ "up": up }));
        let reason = if up == all { "Up" } else { "Waiting" };
        context.condition("Ready", up == all, reason, format!("{up} of {all} languages are up"));
        Ok(Next::Done) // a child that turns Ready wakes its owner
    }

    async fn cleanup(&self, _: &mut Context<Custom<Website>>) -> Result<Next, Error> {
        Ok(Next::Done) // nothing was made outside Threeport, and the workloads went before their owner
    }
}

#[tokio::main]
async fn main() -> Result<(), threeport_sdk::Error> {
    let kind = object_kind("website", PROTO, "acme.v1.Website", Website::CONTROLLER, &["workload"])?;
    Client::from_env("THREEPORT_TOKEN")?.apply(&kind).await?;
    let (client, broker) = (Client::from_env("THREEPORT_CONTROLLER_TOKEN")?, std::env::var("THREEPORT_NATS_URL").ok());
    Runner::new(client, broker, RunnerConfig::default()).add(Website).run_until_signal().await
}
