//! `tptctl delete`: objects and all they own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use threeport::v1::{DeleteResponse, ObjectReference};
use threeport_sdk::client::DeleteOptions;
use threeport_sdk::{Client, document};

use super::apply;
use crate::error::Usage;
use crate::session::{Session, find_kind};
use crate::view;
use crate::wait::{self, Goal};

/// Delete objects and all they own
///
/// Shows what goes and what stays: volume claims and resources marked `threeport.io/on-delete: retain` stay in the
/// cluster unless --delete-data is given. What others use can't be deleted.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "they are the flags")]
#[command(after_help = "Examples:
  tptctl delete workload web --wait
  tptctl delete -f shop.yaml --dry-run      only show what would go and what would stay
  tptctl delete wi web-eu --orphan          give up a cluster that is gone for good")]
pub struct Delete {
    /// The kind
    #[arg(requires = "names", conflicts_with = "file")]
    kind: Option<String>,
    /// The objects' names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Delete what these documents describe; - for stdin
    #[arg(long, short, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Show what would be deleted and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Also delete volume claims and what is marked to be retained
    #[arg(long)]
    delete_data: bool,
    /// Give up what can't be reached: it is left behind, with a receipt in the events
    #[arg(long)]
    orphan: bool,
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Wait until everything is gone
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = wait::duration)]
    timeout: Duration,
}

impl Delete {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let references = self.references(session, &client).await?;
        let is_asked = !self.yes && !self.dry_run;
        if is_asked {
            let mut seen = BTreeSet::new();
            let planned = self.delete(&client, &references, true, &mut seen).await?;
            let question = format!(
                "{}\ndelete {}?",
                lines(&planned, "would be deleted").join("\n"),
                view::count(planned.deleted.len(), "object")
            );
            if !session.terminal.confirm(&question, true) {
                bail!("nothing was deleted");
            }
        }
        let mut seen = BTreeSet::new();
        let done = self.delete(&client, &references, self.dry_run, &mut seen).await?;
        for line in lines(&done, if self.dry_run { "would be deleted" } else { "deleting" }) {
            session.terminal.data(line)?;
        }
        if self.wait && !self.dry_run {
            wait::wait(&client, references, Goal::Deleted, self.timeout, &session.terminal).await?;
            session.terminal.note("gone");
        }
        Ok(())
    }

    async fn references(&self, session: &Session, client: &Client) -> Result<Vec<ObjectReference>> {
        let registry = client.kinds().await?;
        if let Some(kind) = &self.kind {
            let kind = find_kind(&registry, kind)?;
            let project = session.project_of(&kind)?;
            let named = |name: &String| ObjectReference {
                kind: kind.name.clone(),
                project: project.clone(),
                name: name.clone(),
                id: String::new(),
            };
            return Ok(self.names.iter().map(named).collect());
        }
        if self.file.is_empty() {
            bail!(Usage("say what to delete: KIND NAME, or -f FILE".into()));
        }
        let project = session.project()?;
        let documents = document::Reader::new(&registry, &project).read_files(&self.file)?;
        // Users before what they use, if the file was written in the order of use.
        Ok(documents.iter().rev().map(|document| apply::reference(&document.object)).collect())
    }

    /// Deletes one after the other; what is gone already is no error for documents.
    async fn delete(
        &self,
        client: &Client,
        references: &[ObjectReference],
        validate_only: bool,
        seen: &mut BTreeSet<(String, String, String)>,
    ) -> Result<DeleteResponse> {
        let mut all = DeleteResponse::default();
        for reference in references {
            let ObjectReference { kind, project, name, .. } = reference;
            let options = DeleteOptions {
                validate_only,
                delete_data: self.delete_data,
                orphan: self.orphan,
                ..DeleteOptions::default()
            };
            match client.delete_erased(kind, project, name, options).await {
                Ok(response) => {
                    let fresh =
                        |it: &ObjectReference| seen.insert((it.kind.clone(), it.project.clone(), it.name.clone()));
                    all.deleted.extend(response.deleted.into_iter().filter(fresh));
                    all.retained.extend(response.retained);
                }
                Err(error) if error.is_not_found() && self.kind.is_none() => {}
                // What uses it goes before it, or the deletion itself says what doesn't.
                Err(error) if validate_only && self.kind.is_none() && error.reason() == "InUse" => {
                    all.deleted.push(reference.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(all)
    }
}

/// What goes and what stays, a line each.
fn lines(response: &DeleteResponse, verb: &str) -> Vec<String> {
    let deleted = response.deleted.iter().map(|object| format!("{} {verb}", view::reference(object)));
    let retained = response.retained.iter().map(|retained| {
        let resource = retained.resource.clone().unwrap_or_default();
        let place =
            if resource.namespace.is_empty() { String::new() } else { format!(" in namespace {}", resource.namespace) };
        format!("{}/{}{place} stays on runtime {}", resource.kind, resource.name, retained.runtime)
    });
    deleted.chain(retained).collect()
}

#[cfg(test)]
mod tests {
    use threeport::v1::{ResourceReference, RetainedResource};

    use super::*;

    #[test]
    fn what_stays_is_listed() {
        let web = ObjectReference { kind: "workload".into(), name: "web".into(), ..Default::default() };
        let claim = ResourceReference {
            kind: "PersistentVolumeClaim".into(),
            namespace: "web-1".into(),
            name: "data".into(),
            ..ResourceReference::default()
        };
        let retained = RetainedResource { instance: None, resource: Some(claim), runtime: "default/eu".into() };
        let response = DeleteResponse { deleted: vec![web], retained: vec![retained] };
        insta::assert_snapshot!(lines(&response, "deleting").join("\n"), @r"
        workload/web deleting
        PersistentVolumeClaim/data in namespace web-1 stays on runtime default/eu
        ");
    }
}
