//! `tptctl apply`: what documents say, in one transaction.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use threeport::v1::{ApplyResult, Object, ObjectReference};
use threeport_sdk::client::ApplyOptions;
use threeport_sdk::document::{self, Document};
use threeport_sdk::{Client, Error};

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
        let (client, results) = send(session, &self.file, self.dry_run, self.reason.clone()).await?;
        show(session, &results, self.dry_run)?;
        if self.wait && !self.dry_run {
            wait_for(session, &client, &results, self.timeout).await?;
        }
        Ok(())
    }
}

/// Sends all documents of the files; answers what became of each, or would.
pub async fn send(
    session: &Session,
    files: &[PathBuf],
    is_dry_run: bool,
    reason: String,
) -> Result<(Client, Vec<ApplyResult>)> {
    let client = session.client()?;
    let project = session.project()?;
    let registry = client.kinds().await?;
    let documents = document::Reader::new(&registry, &project).read_files(files)?;
    if documents.is_empty() {
        bail!(Usage("the files hold no documents".into()));
    }
    let options = ApplyOptions { validate_only: is_dry_run, reason, ..ApplyOptions::default() };
    let objects = documents.iter().map(|document| document.object.clone()).collect();
    let results = client.apply_many(objects, options).await.map_err(|error| explain(error, &documents))?;
    Ok((client, results))
}

/// Shows what became of each object.
pub fn show(session: &Session, results: &[ApplyResult], is_dry_run: bool) -> Result<()> {
    for line in results.iter().flat_map(|result| differences::lines(result, is_dry_run)) {
        session.terminal.data(line)?;
    }
    warn(session, results);
    Ok(())
}

/// Says what looks wrong.
pub fn warn(session: &Session, results: &[ApplyResult]) {
    for result in results {
        let title = result.object.as_ref().map(view::title).unwrap_or_default();
        for warning in &result.warnings {
            session.terminal.note(format_args!("warning: {title}: {warning}"));
        }
    }
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

/// Lists a refusal's violations a line each, with the place in its file for the object's number.
fn explain(error: Error, documents: &[Document]) -> anyhow::Error {
    let violations = error.violations();
    if violations.is_empty() {
        return error.into();
    }
    let mut lines = vec!["nothing was applied:".to_owned()];
    lines.extend(violations.iter().map(|violation| {
        let (place, field) = placed(&violation.field, documents);
        format!("  {place}{field}: {}", violation.description)
    }));
    anyhow::anyhow!(lines.join("\n"))
}

/// `shop.yaml:7:3: workload/web ` and `spec.image` of `objects[1].spec.image`; of one document, fields have no number.
fn placed<'a>(field: &'a str, documents: &[Document]) -> (String, &'a str) {
    let numbered = field.strip_prefix("objects[").and_then(|rest| rest.split_once(']'));
    let (document, rest) = match (numbered, documents) {
        (Some((index, rest)), _) => {
            let index = index.parse::<usize>().ok();
            (index.and_then(|index| documents.get(index)), rest.trim_start_matches('.'))
        }
        (None, [only]) if field.starts_with("spec") || field.starts_with("meta") => (Some(only), field),
        _ => (None, field),
    };
    match document {
        Some(document) => (format!("{}: {} ", document.place_of(rest), view::title(&document.object)), rest),
        None => (String::new(), field),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use threeport::registry::Registry;

    use super::*;

    #[test]
    fn a_violation_names_the_place_and_the_object_instead_of_its_number() {
        let text =
            "version: v1\nkind: project\nname: shop\n---\nversion: v1\nkind: workload\nname: web\nspec:\n  image: x\n";
        let reader = document::Reader::new(Registry::built_in(), "default");
        let documents = reader.read_text("shop.yaml", text, Path::new(".")).unwrap();
        let at = |field: &'static str| placed(field, &documents);
        assert_eq!(at("objects[1].spec.image"), ("shop.yaml:9:3: workload/web ".to_owned(), "spec.image"));
        assert_eq!(at("objects[1].spec.port"), ("shop.yaml:8:1: workload/web ".to_owned(), "spec.port"));
        assert_eq!(at("objects[0].meta.name"), ("shop.yaml:3:1: project/shop ".to_owned(), "meta.name"));
        assert_eq!(at("objects[7].spec.image"), (String::new(), "objects[7].spec.image"));
        assert_eq!(at("request_id"), (String::new(), "request_id"));
        let only = &documents[1..];
        assert_eq!(placed("spec.image", only), ("shop.yaml:9:3: workload/web ".to_owned(), "spec.image"));
        assert_eq!(placed("request_id", only), (String::new(), "request_id"));
    }
}
