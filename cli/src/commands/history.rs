//! `tptctl history`: who changed what of an object, and when.

use anyhow::Result;
use clap::Args;
use threeport::v1::{HistoryEntry, HistoryRequest};

use crate::age::since;
use crate::session::Session;
use crate::table::Table;
use crate::{differences, named};

/// Show who changed an object, when and why, newest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl history workload web
  tptctl history workload web --diff    with the fields that changed")]
pub struct History {
    /// The kind, or `kind/name`
    kind: String,
    /// The object's name; it may be gone
    name: Option<String>,
    /// Also show which fields changed
    #[arg(long)]
    diff: bool,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    limit: i32,
}

impl History {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let (kind, name) = named::one(&client.kinds().await?, &self.kind, self.name.as_deref())?;
        let request = HistoryRequest {
            project: session.project_of(&kind)?,
            kind: kind.name.clone(),
            name,
            page_size: self.limit,
            page_token: String::new(),
        };
        let entries = client.history(request).await?.entries;
        if !self.diff {
            let mut table = Table::new(["POSITION", "AGE", "TYPE", "GENERATION", "REVISION", "ACTOR", "REASON"]);
            for entry in &entries {
                table.row(cells(entry));
            }
            return session.terminal.data(table.render(&str::to_owned));
        }
        for entry in &entries {
            let [position, age, r#type, generation, _, actor, reason] = cells(entry);
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            session
                .terminal
                .data(format_args!("{position} {type} generation {generation}, {age} ago by {actor}{reason}"))?;
            // Of a creation everything is new; `get -o yaml` reads better.
            for difference in entry.differences.iter().filter(|_| r#type != "created") {
                session.terminal.data(format_args!("  {}", differences::line(difference)))?;
            }
        }
        Ok(())
    }
}

fn cells(entry: &HistoryEntry) -> [String; 7] {
    let position = if entry.position == 0 { "new".to_owned() } else { entry.position.to_string() };
    [
        position,
        since(entry.at.as_ref()),
        entry.r#type.clone(),
        entry.generation.to_string(),
        entry.revision.to_string(),
        entry.actor.clone(),
        entry.reason.clone(),
    ]
}
