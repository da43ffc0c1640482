//! `tptctl apply`: what documents say, in one transaction.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use threeport::v1::{ApplyResult, Object, ObjectReference};
use threeport_sdk::client::ApplyOptions;
use threeport_sdk::{Client, Error, document};

use crate::error::Usage;
use crate::session::Session;
use crate::wait::{self, Goal};
use crate::{differences, view};

/// Create or update what documents describe, all of it or nothing
///
/// Says of each object whether it was created, updated or unchanged, and which fields changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl apply -f shop.yaml --wait              apply and wait until it is ready
  tptctl apply -f platform/ -f shop.yaml        a folder's documents and a file's, in one transaction
  tptctl apply -f shop.yaml --dry-run           only show what would change
  generate | tptctl apply -f -                  from stdin")]
pub struct Apply {
    /// File with documents, folder of such files, or - for stdin
    #[arg(long, short, required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Show what would change and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history: a commit, a ticket
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Wait until all of it is ready
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = wait::duration)]
    timeout: Duration,
}

impl Apply {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let project = session.project()?;
        let registry = client.kinds().await?;
        let objects = document::Reader::new(&registry, &project).read_files(&self.file)?;
        if objects.is_empty() {
            bail!(Usage("the files hold no documents".into()));
        }
        let options =
            ApplyOptions { validate_only: self.dry_run, reason: self.reason.clone(), ..ApplyOptions::default() };
        let results = client.apply_many(objects.clone(), options).await.map_err(|error| explain(error, &objects))?;
        show(session, &results, self.dry_run)?;
        if self.wait && !self.dry_run {
            wait_for(session, &client, &results, self.timeout).await?;
        }
        Ok(())
    }
}

/// Shows what became of each object.
pub fn show(session: &Session, results: &[ApplyResult], is_dry_run: bool) -> Result<()> {
    for result in results {
        for line in differences::lines(result, is_dry_run) {
            session.terminal.data(line)?;
        }
        let title = result.object.as_ref().map(view::title).unwrap_or_default();
        for warning in &result.warnings {
            session.terminal.note(format_args!("warning: {title}: {warning}"));
        }
    }
    Ok(())
}

/// Waits until all that was applied is ready.
pub async fn wait_for(session: &Session, client: &Client, results: &[ApplyResult], timeout: Duration) -> Result<()> {
    let objects: Vec<Object> = results.iter().filter_map(|result| result.object.clone()).collect();
    let references = objects.iter().map(reference).collect();
    wait::wait(client, references, Goal::Ready, timeout, &session.terminal).await?;
    session.terminal.note(format_args!("ready: {}", objects.iter().map(view::title).collect::<Vec<_>>().join(", ")));
    Ok(())
}

pub fn reference(object: &Object) -> ObjectReference {
    let meta = view::meta(object);
    ObjectReference { kind: object.kind.clone(), project: meta.project, name: meta.name, id: String::new() }
}

/// Lists a refusal's violations a line each, with the object's name for its number.
fn explain(error: Error, objects: &[Object]) -> anyhow::Error {
    let violations = error.violations();
    if violations.is_empty() {
        return error.into();
    }
    let mut lines = vec!["nothing was applied:".to_owned()];
    lines.extend(violations.iter().map(|violation| {
        let (place, field) = named(&violation.field, objects);
        format!("  {place}{field}: {}", violation.description)
    }));
    anyhow::anyhow!(lines.join("\n"))
}

/// `workload/web ` and `spec.image` of `objects[1].spec.image`.
fn named<'a>(field: &'a str, objects: &[Object]) -> (String, &'a str) {
    let split = field.strip_prefix("objects[").and_then(|rest| rest.split_once(']'));
    let Some((index, rest)) = split else { return (String::new(), field) };
    match index.parse::<usize>().ok().and_then(|index| objects.get(index)) {
        Some(object) => (format!("{} ", view::title(object)), rest.trim_start_matches('.')),
        None => (String::new(), field),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::view::tests::object;

    #[test]
    fn a_violation_names_the_object_instead_of_its_number() {
        let objects = [object("workload", "web", json!({}), Value::Null)];
        assert_eq!(named("objects[0].spec.image", &objects), ("workload/web ".to_owned(), "spec.image"));
        assert_eq!(named("objects[7].spec.image", &objects), (String::new(), "objects[7].spec.image"));
        assert_eq!(named("request_id", &objects), (String::new(), "request_id"));
    }
}
