//! `tptctl wait`: until objects are ready or gone.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use threeport::v1::ObjectReference;

use crate::session::{Session, find_kind};
use crate::wait::{self, Goal};

/// Wait until objects and all they own are ready, or gone
///
/// Ends with 0 when they are, with 1 when one has given up, with 5 when the time is over.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl wait workload web api
  tptctl wait workload web --for deleted --timeout 1m")]
pub struct Wait {
    /// The kind
    kind: String,
    /// The objects' names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t)]
    goal: WaitGoal,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = wait::duration)]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum WaitGoal {
    #[default]
    Ready,
    Deleted,
}

impl Wait {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let kind = find_kind(&client.kinds().await?, &self.kind)?;
        let project = session.project_of(&kind)?;
        let references = self.names.iter().map(|name| ObjectReference {
            kind: kind.name.clone(),
            project: project.clone(),
            name: name.clone(),
            id: String::new(),
        });
        let goal = match self.goal {
            WaitGoal::Ready => Goal::Ready,
            WaitGoal::Deleted => Goal::Deleted,
        };
        wait::wait(&client, references.collect(), goal, self.timeout, &session.terminal).await?;
        let word = if goal == Goal::Ready { "ready" } else { "gone" };
        session.terminal.note(format_args!("{word}: {} {}", kind.name, self.names.join(", ")));
        Ok(())
    }
}
