//! `tptctl deploy`: an image as a workload, without a document.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use threeport::object::Object;
use threeport::v1::{
    self, ApplyResult, Difference, HistoryRequest, ObjectMeta, Workload, WorkloadInstanceTemplate, WorkloadSpec,
};
use threeport_sdk::Client;
use threeport_sdk::client::{ApplyOptions, WriteOptions};

use super::apply;
use crate::error::Usage;
use crate::session::Session;
use crate::view;
use crate::wait;

/// Deploy a container image as a workload, or change one that was
///
/// Of a workload that exists only what the flags name changes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl deploy web --image nginx:1.29 --port 80 --wait
  tptctl deploy web --replicas 3                 change one thing
  tptctl deploy web --env LOG_LEVEL=debug --env REGION=eu")]
pub struct Deploy {
    /// The workload's name
    name: String,
    /// The container image
    #[arg(long)]
    image: Option<String>,
    /// The port that the application serves
    #[arg(long)]
    port: Option<u32>,
    /// How many copies run
    #[arg(long)]
    replicas: Option<u32>,
    /// An environment variable; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The runtime to run on; the project's default when left out
    #[arg(long)]
    runtime: Option<String>,
    /// Show what would change and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is ready
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = wait::duration)]
    timeout: Duration,
}

impl Deploy {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let project = session.project()?;
        let existing = match client.get::<Workload>(&project, &self.name).await {
            Ok(workload) => Some(workload),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let result = match existing {
            Some(workload) => self.change(&client, workload).await?,
            None => self.create(&client, &project).await?,
        };
        let results = [result];
        apply::show(session, &results, self.dry_run)?;
        if self.wait && !self.dry_run {
            apply::wait_for(session, &client, &results, self.timeout).await?;
        } else if !self.dry_run {
            session.terminal.note(format_args!("`tptctl wait workload {}` waits until it is ready", self.name));
        }
        Ok(())
    }

    async fn create(&self, client: &Client, project: &str) -> Result<ApplyResult> {
        let Some(image) = self.image.clone() else {
            bail!(Usage(format!(
                "there is no workload `{}` in project `{project}`; say what it runs with --image",
                self.name
            )));
        };
        let instance = |runtime: &String| WorkloadInstanceTemplate {
            name: "default".into(),
            runtime: runtime.clone(),
            ..WorkloadInstanceTemplate::default()
        };
        let spec = WorkloadSpec {
            image,
            port: self.port,
            replicas: self.replicas,
            env: self.env.iter().cloned().collect(),
            instances: self.runtime.iter().map(instance).collect(),
            ..WorkloadSpec::default()
        };
        let meta = ObjectMeta { project: project.into(), name: self.name.clone(), ..ObjectMeta::default() };
        let workload = Workload { meta: Some(meta), spec: Some(spec), status: None };
        let options = ApplyOptions { validate_only: self.dry_run, ..ApplyOptions::default() };
        let results = client.apply_many(vec![workload.to_erased()], options).await?;
        Ok(results.into_iter().next().unwrap_or_default())
    }

    async fn change(&self, client: &Client, mut workload: Workload) -> Result<ApplyResult> {
        let before = workload.meta().revision;
        let mask = self.set(&mut workload)?;
        if mask.is_empty() {
            bail!(Usage(format!("workload `{}` exists; say what to change, e.g. --image", self.name)));
        }
        let options = WriteOptions { validate_only: self.dry_run, ..WriteOptions::default() };
        let object = client.update_erased(workload.to_erased(), &mask, options).await?;
        let outcome = if view::meta(&object).revision == before { "unchanged" } else { "updated" };
        let differences = match outcome {
            "updated" if !self.dry_run => latest_differences(client, &object).await?,
            _ => Vec::new(),
        };
        Ok(ApplyResult { object: Some(object), outcome: outcome.into(), differences, ..ApplyResult::default() })
    }

    /// Sets what the flags say and answers its paths.
    fn set(&self, workload: &mut Workload) -> Result<Vec<&'static str>> {
        let spec = workload.spec.get_or_insert_default();
        let mut mask = Vec::new();
        if let Some(image) = &self.image {
            spec.image.clone_from(image);
            mask.push("spec.image");
        }
        if self.port.is_some() {
            spec.port = self.port;
            mask.push("spec.port");
        }
        if self.replicas.is_some() {
            spec.replicas = self.replicas;
            mask.push("spec.replicas");
        }
        if !self.env.is_empty() {
            spec.env.extend(self.env.iter().cloned());
            mask.push("spec.env");
        }
        if let Some(runtime) = &self.runtime {
            match spec.instances.as_mut_slice() {
                [] => spec.instances.push(WorkloadInstanceTemplate { name: "default".into(), ..Default::default() }),
                [_] => {}
                _ => bail!(Usage(format!(
                    "workload `{}` has {} instances; change their runtimes with `tptctl apply`",
                    self.name,
                    spec.instances.len()
                ))),
            }
            spec.instances[0].runtime.clone_from(runtime);
            mask.push("spec.instances");
        }
        Ok(mask)
    }
}

/// What the write that led to this revision changed.
async fn latest_differences(client: &Client, object: &v1::Object) -> Result<Vec<Difference>> {
    let meta = view::meta(object);
    let request = HistoryRequest {
        kind: object.kind.clone(),
        project: meta.project,
        name: meta.name,
        page_size: 5,
        page_token: String::new(),
    };
    let entries = client.history(request).await?.entries;
    let ours = entries.into_iter().find(|entry| entry.revision == meta.revision);
    Ok(ours.map(|entry| entry.differences).unwrap_or_default())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no variable; write NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        deploy: Deploy,
    }

    #[test]
    fn only_what_the_flags_say_is_changed() {
        let line = Line::parse_from(["", "web", "--replicas", "0", "--env", "B=2=3"]);
        let spec = WorkloadSpec { image: "nginx".into(), env: [("A".into(), "1".into())].into(), ..Default::default() };
        let mut workload = Workload { meta: None, spec: Some(spec), status: None };
        assert_eq!(line.deploy.set(&mut workload).unwrap(), ["spec.replicas", "spec.env"]);
        let spec = workload.spec.unwrap();
        assert_eq!((spec.image.as_str(), spec.replicas), ("nginx", Some(0)));
        assert_eq!((spec.env["A"].as_str(), spec.env["B"].as_str()), ("1", "2=3"));
    }
}
