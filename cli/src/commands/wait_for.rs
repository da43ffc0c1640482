//! `tptctl wait`: until objects are ready or gone.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::session::Session;
use crate::wait::{self, Goal};
use crate::{named, view};

/// Wait until objects and all they own are ready, or gone
///
/// Ends with 0 when they are, with 1 when one has given up, with 5 when the time is over, with 6 when what is not ready is
/// paused; `apply`, `deploy` and `delete` with --wait do the same.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl wait workload web api
  tptctl wait workload web --for deleted --timeout 1m")]
pub struct Wait {
    /// The kind, or `kind/name` each
    kind: String,
    /// The objects' names
    #[arg(value_name = "NAME")]
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
        let references = named::many(session, &client.kinds().await?, &self.kind, &self.names)?;
        let goal = match self.goal {
            WaitGoal::Ready => Goal::Ready,
            WaitGoal::Deleted => Goal::Deleted,
        };
        let titles = references.iter().map(view::reference).collect::<Vec<_>>().join(", ");
        wait::wait(&client, references, goal, self.timeout, &session.terminal).await?;
        let word = if goal == Goal::Ready { "ready" } else { "gone" };
        session.terminal.note(format_args!("{word}: {titles}"));
        Ok(())
    }
}
