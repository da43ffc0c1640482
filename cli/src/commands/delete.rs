//! `tptctl delete`: objects and all they own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use threeport::v1::{DeleteResponse, ObjectReference};
use threeport_sdk::client::DeleteOptions;
use threeport_sdk::{Client, document};

use super::apply;
use crate::error::Usage;
use crate::session::Session;
use crate::wait::{self, Goal};
use crate::{named, view};

/// Kinds whose deletion is never one slip of a script away: much hangs on them.
const ASKED_FOR: [&str; 4] = ["project", "kubernetes-runtime-instance", "kubernetes-runtime-definition", "object-kind"];

/// Delete objects and all they own
///
/// All of them or none, in one transaction; what goes together blocks nothing. Shows what goes and what stays: volume
/// claims and resources marked `threeport.io/on-delete: retain` stay in the cluster unless --delete-data is given. What
/// others use can't be deleted, unless --cascade takes them along; then somebody has to agree, or to pass --yes. Where there is no terminal to ask on, projects, runtimes and kinds need --yes, and
/// everything else goes without being asked for.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "they are the flags")]
#[command(after_help = "Examples:
  tptctl delete workload web --wait
  tptctl delete workload/web workload-definition/base
  tptctl delete -f shop.yaml --dry-run      only show what would go and what would stay
  tptctl delete runtime eu --cascade        with all that runs there, once you agree to the list
  tptctl delete wi web-eu --orphan          give up a cluster that is gone for good")]
pub struct Delete {
    /// The kind, or `kind/name` each
    #[arg(conflicts_with = "file")]
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
    /// Delete also all that uses the objects
    #[arg(long)]
    cascade: bool,
    /// Delete the others when some are not there, instead of nothing
    #[arg(long)]
    ignore_not_found: bool,
    /// Why, for the history: a commit, a ticket
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
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
        let mut references = self.references(session, &client).await?;
        let mut cascade = self.cascade;
        if !self.yes && !self.dry_run {
            let planned = self.delete(&client, &references, true, cascade).await?;
            ask(session, &planned, cascade)?;
            if cascade {
                // What was agreed to, and nothing that has come since.
                references.clone_from(&planned.deleted);
                cascade = false;
            }
        }
        let done = self.delete(&client, &references, self.dry_run, cascade).await?;
        for line in lines(&done, if self.dry_run { "would be deleted" } else { "deleting" }) {
            session.terminal.data(line)?;
        }
        for missing in &done.not_found {
            session.terminal.note(format_args!("{} not found", view::reference(missing)));
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
            return named::many(session, &registry, kind, &self.names);
        }
        if self.file.is_empty() {
            bail!(Usage("say what to delete: KIND NAME, or -f FILE".into()));
        }
        let project = session.project()?;
        let documents = document::Reader::new(&registry, &project).read_files(&self.file)?;
        if documents.is_empty() {
            bail!(Usage("the files hold no documents".into()));
        }
        Ok(documents.iter().map(|document| apply::reference(&document.object)).collect())
    }

    async fn delete(
        &self,
        client: &Client,
        references: &[ObjectReference],
        is_dry_run: bool,
        cascade: bool,
    ) -> Result<DeleteResponse> {
        let options = DeleteOptions {
            cascade,
            validate_only: is_dry_run,
            delete_data: self.delete_data,
            orphan: self.orphan,
            ignore_not_found: self.ignore_not_found,
            reason: self.reason.clone(),
            ..DeleteOptions::default()
        };
        match client.delete_many(references.to_vec(), options).await {
            Err(error) if error.is_not_found() && references.len() > 1 => {
                Err(anyhow!("nothing was deleted: {error}; pass --ignore-not-found to delete the others"))
            }
            answer => Ok(answer?),
        }
    }
}

/// Fails unless the user agrees, or nobody can be asked and little hangs on it.
fn ask(session: &Session, planned: &DeleteResponse, cascade: bool) -> Result<()> {
    let count = view::count(planned.deleted.len(), "object");
    let question = format!("{}\ndelete {count}?", lines(planned, "would be deleted").join("\n"));
    match session.terminal.confirm(&question) {
        Some(true) => Ok(()),
        Some(false) => bail!("nothing was deleted"),
        None if cascade => bail!(Usage(format!(
            "{}\nnothing was deleted: there is no terminal to agree on; pass --yes to delete {count}",
            lines(planned, "would be deleted").join("\n")
        ))),
        None => match planned.deleted.iter().find(|object| ASKED_FOR.contains(&object.kind.as_str())) {
            Some(object) => bail!(Usage(format!(
                "nothing was deleted: {} goes only when asked for, and there is no terminal; pass --yes to delete {count}",
                view::reference(object)
            ))),
            None => Ok(()),
        },
    }
}

/// What goes and what stays, a line each.
fn lines(response: &DeleteResponse, verb: &str) -> Vec<String> {
    let deleted = response.deleted.iter().map(|object| format!("{} {verb}", view::reference(object)));
    let retained = response.retained.iter().map(|retained| {
        let resource = retained.resource.clone().unwrap_or_default();
        let place =
            if resource.namespace.is_empty() { String::new() } else { format!(" in namespace {}", resource.namespace) };
        let flag = if resource.namespace.is_empty() { String::new() } else { format!(" -n {}", resource.namespace) };
        format!(
            "{kind}/{name}{place} stays on runtime {}; `kubectl{flag} delete {}/{name}` removes it there",
            retained.runtime,
            resource.kind.to_lowercase(),
            kind = resource.kind,
            name = resource.name
        )
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
        let response = DeleteResponse { deleted: vec![web], retained: vec![retained], ..DeleteResponse::default() };
        insta::assert_snapshot!(lines(&response, "deleting").join("\n"), @r"
        workload/web deleting
        PersistentVolumeClaim/data in namespace web-1 stays on runtime default/eu; `kubectl -n web-1 delete persistentvolumeclaim/data` removes it there
        ");
    }
}
