//! `tptctl events`: what happened lately.

use anyhow::{Result, bail};
use clap::Args;
use threeport::v1::EventsRequest;

use super::describe::events_table;
use crate::error::Usage;
use crate::named;
use crate::session::Session;

/// Show what happened lately, newest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl events                    of the project
  tptctl events workload web       of an object and all it owns
  tptctl events --all-projects --limit 20")]
pub struct Events {
    /// Only of this kind, or of `kind/name`
    kind: Option<String>,
    /// Only of this object and what it owns
    #[arg(requires = "kind")]
    name: Option<String>,
    /// Of all projects
    #[arg(long, short = 'A')]
    all_projects: bool,
    /// At most this many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
}

impl Events {
    pub async fn run(self, session: &Session) -> Result<()> {
        if self.all_projects && self.name.is_some() {
            bail!(Usage("a name needs no --all-projects; leave one out".into()));
        }
        let client = session.client()?;
        let (kind, name) = match &self.kind {
            Some(kind) => {
                let (kind, name) = named::kind_and_name(&client.kinds().await?, kind, self.name.as_deref())?;
                (Some(kind), name)
            }
            None => (None, None),
        };
        let project = match &kind {
            _ if self.all_projects => "-".to_owned(),
            Some(kind) => session.project_of(kind)?,
            None => session.project()?,
        };
        let request = EventsRequest {
            project,
            kind: kind.map(|kind| kind.name.clone()).unwrap_or_default(),
            name: name.unwrap_or_default(),
            page_size: self.limit,
            page_token: String::new(),
        };
        let events = client.events(request).await?.events;
        if events.is_empty() {
            session.terminal.note("no events");
            return Ok(());
        }
        session.terminal.data(events_table(&events).render(&|cell| session.terminal.paint(cell)))
    }
}
