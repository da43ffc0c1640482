//! `tptctl deploy`: an image as a workload, without a document.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use threeport::object::Object;
use threeport::v1::{
    self, ApplyResult, Autoscale, Difference, HistoryRequest, ObjectMeta, Workload, WorkloadInstanceTemplate,
};
use threeport_sdk::client::{ApplyOptions, WriteOptions};
use threeport_sdk::{Client, Error};

use super::apply;
use crate::error::Usage;
use crate::session::Session;
use crate::view;
use crate::wait;

/// Writes that others may come before.
const ATTEMPTS: u32 = 10;

/// Deploy a container image as a workload, or change one that was
///
/// Of a workload that exists only what the flags name changes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl deploy web --image nginxinc/nginx-unprivileged:1.29 --port 8080 --wait
  tptctl deploy web --replicas 3                 change one thing
  tptctl deploy web --autoscale 2-10 --reason \"more visitors\"
  tptctl deploy web --env LOG_LEVEL=debug --env REGION-")]
pub struct Deploy {
    /// The workload's name
    name: String,
    /// The container image; one that runs as root needs --run-as-user
    #[arg(long)]
    image: Option<String>,
    /// The port that the application serves
    #[arg(long)]
    port: Option<u32>,
    /// An HTTP path that answers 2xx when the application is well
    #[arg(long, value_name = "PATH")]
    health_path: Option<String>,
    /// How many copies run
    #[arg(long, conflicts_with = "autoscale")]
    replicas: Option<u32>,
    /// How many copies run at least and at most, by load
    #[arg(long, value_name = "MIN-MAX", value_parser = bounds)]
    autoscale: Option<(u32, u32)>,
    /// An environment variable, or NAME- to unset one; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, Option<String>)>,
    /// The user id that it runs as; 0 is root
    #[arg(long, value_name = "ID")]
    run_as_user: Option<i64>,
    /// The runtime to run on; the project's default when left out
    #[arg(long)]
    runtime: Option<String>,
    /// Why, for the history: a commit, a ticket
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
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
        let result = self.deploy(&client, &project).await?;
        let results = [result];
        apply::show(session, &results, self.dry_run)?;
        if self.wait && !self.dry_run {
            apply::wait_for(session, &client, &results, self.timeout).await?;
        } else if !self.dry_run {
            session.terminal.note(format_args!("`tptctl wait workload {}` waits until it is ready", self.name));
        }
        Ok(())
    }

    /// Reads and writes until nobody else has written in between.
    async fn deploy(&self, client: &Client, project: &str) -> Result<ApplyResult> {
        let mut attempts = ATTEMPTS;
        loop {
            let written = match client.get::<Workload>(project, &self.name).await {
                Ok(workload) => self.change(client, workload).await,
                Err(error) if error.is_not_found() => self.create(client, project).await,
                Err(error) => Err(error.into()),
            };
            let is_stale = |error: &Error| error.reason() == "Stale";
            attempts -= 1;
            match written {
                Err(error) if attempts > 0 && error.downcast_ref().is_some_and(is_stale) => {}
                written => return written,
            }
        }
    }

    async fn create(&self, client: &Client, project: &str) -> Result<ApplyResult> {
        if self.image.is_none() {
            bail!(Usage(format!(
                "there is no workload `{}` in project `{project}`; say what it runs with --image",
                self.name
            )));
        }
        let instance = |runtime: &String| WorkloadInstanceTemplate {
            name: "default".into(),
            runtime: runtime.clone(),
            ..WorkloadInstanceTemplate::default()
        };
        let mut workload = Workload::default();
        workload.spec.get_or_insert_default().instances = self.runtime.iter().map(instance).collect();
        self.set(&mut workload)?;
        workload.meta = Some(ObjectMeta { project: project.into(), name: self.name.clone(), ..ObjectMeta::default() });
        let options =
            ApplyOptions { validate_only: self.dry_run, reason: self.reason.clone(), ..ApplyOptions::default() };
        let results = client.apply_many(vec![workload.to_erased()], options).await?;
        Ok(results.into_iter().next().unwrap_or_default())
    }

    async fn change(&self, client: &Client, mut workload: Workload) -> Result<ApplyResult> {
        let before = workload.meta().revision;
        let mask = self.set(&mut workload)?;
        if mask.is_empty() {
            bail!(Usage(format!("workload `{}` exists; say what to change, e.g. --image", self.name)));
        }
        let options =
            WriteOptions { validate_only: self.dry_run, reason: self.reason.clone(), ..WriteOptions::default() };
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
        if let Some(path) = &self.health_path {
            spec.health_path.clone_from(path);
            mask.push("spec.health_path");
        }
        if self.replicas.is_some() || self.autoscale.is_some() {
            spec.replicas = self.replicas;
            spec.autoscale = self.autoscale.map(|(min, max)| {
                let cpu = spec.autoscale.as_ref().and_then(|autoscale| autoscale.cpu);
                Autoscale { min: Some(min), max: Some(max), cpu }
            });
            mask.extend(["spec.replicas", "spec.autoscale"]);
        }
        if self.run_as_user.is_some() {
            spec.run_as_user = self.run_as_user;
            mask.push("spec.run_as_user");
        }
        if !self.env.is_empty() {
            for (name, value) in &self.env {
                match value {
                    Some(value) => spec.env.insert(name.clone(), value.clone()),
                    None => spec.env.remove(name),
                };
            }
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

/// `NAME=VALUE`, or `NAME-` for none.
fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let found = match (text.split_once('='), text.strip_suffix('-')) {
        (Some((name, value)), _) => Some((name, Some(value.to_owned()))),
        (None, Some(name)) => Some((name, None)),
        (None, None) => None,
    };
    match found {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value)),
        _ => Err(format!("`{text}` is no variable; write NAME=VALUE, or NAME- to unset it")),
    }
}

/// `2-10`.
fn bounds(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('-').and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` is no range; write MIN-MAX, such as 2-10"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use threeport::v1::WorkloadSpec;

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
        assert_eq!(line.deploy.set(&mut workload).unwrap(), ["spec.replicas", "spec.autoscale", "spec.env"]);
        let spec = workload.spec.unwrap();
        assert_eq!((spec.image.as_str(), spec.replicas), ("nginx", Some(0)));
        assert_eq!((spec.env["A"].as_str(), spec.env["B"].as_str()), ("1", "2=3"));
    }

    #[test]
    fn variables_are_unset_and_scaling_by_load_takes_the_place_of_a_number() {
        let line = Line::parse_from(["", "web", "--autoscale", "2-10", "--env", "A-"]);
        let autoscale = Some(Autoscale { cpu: Some(70), ..Autoscale::default() });
        let env = [("A".into(), "1".into())].into();
        let spec = WorkloadSpec { replicas: Some(3), autoscale, env, ..Default::default() };
        let mut workload = Workload { meta: None, spec: Some(spec), status: None };
        line.deploy.set(&mut workload).unwrap();
        let spec = workload.spec.unwrap();
        let autoscale = spec.autoscale.unwrap();
        assert_eq!((autoscale.min, autoscale.max, autoscale.cpu), (Some(2), Some(10), Some(70)));
        assert!(spec.replicas.is_none() && spec.env.is_empty());
        assert!(bounds("2").is_err() && variable("A").is_err() && variable("-").is_err());
    }
}
