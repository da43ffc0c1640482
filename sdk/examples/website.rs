use threeport_sdk::controller::{Context, Error, Next, Reconciler, Runner};
use threeport_sdk::custom::{Custom, CustomKind, Shape};
use threeport_sdk::threeport::v1::{ObjectMeta, Workload, WorkloadSpec};
use threeport_sdk::{Client, custom};

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Website {
    image: String,
    languages: Vec<String>,
}

impl CustomKind for Website {
    const KIND: &'static str = "website";
    const SHAPE: Shape = Shape::of_spec("acme.v1", "string image = 1; repeated string languages = 2;");
    type Status = serde_json::Value;
}

struct Websites;

impl Reconciler for Websites {
    type Object = Custom<Website>;
    const CONTROLLER: &'static str = "website";
    const OWNS: &'static [&'static str] = &["workload"];

    async fn reconcile(&self, context: &mut Context<Custom<Website>>) -> Result<Next, Error> {
        let Custom { meta, spec, .. } = context.object.clone();
        context.own(spec.languages.iter().map(|language| {
            let env = [("LANGUAGE".into(), language.clone())].into();
            let meta = ObjectMeta { name: format!("{}-{language}", meta.name), ..Default::default() };
            let spec = WorkloadSpec { image: spec.image.clone(), env, port: Some(80), ..Default::default() };
            Workload { meta: Some(meta), spec: Some(spec), status: None }
        }));
        context.ready_with_children();
        Ok(Next::Done) // a child that turns Ready wakes its owner
    }

    async fn cleanup(&self, _: &mut Context<Custom<Website>>) -> Result<Next, Error> {
        Ok(Next::Done) // nothing was made outside, and the workloads are gone before
    }
}

#[tokio::main]
async fn main() -> Result<(), threeport_sdk::Error> {
    custom::register::<Websites, _>(&Client::from_env()?).await?;
    Runner::from_env()?.add(Websites).run_until_signal().await
}
