//! `tptctl version`: which tptctl this is, and which server it talks to.

use anyhow::Result;
use clap::Args;

use crate::session::Session;

/// Show the versions of tptctl and of the server
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl version
  tptctl version --client    without asking the server")]
pub struct Version {
    /// Only tptctl's own
    #[arg(long)]
    client: bool,
}

impl Version {
    pub async fn run(self, session: &Session) -> Result<()> {
        let terminal = &session.terminal;
        terminal.data(format_args!("tptctl {}", env!("CARGO_PKG_VERSION")))?;
        if self.client {
            return Ok(());
        }
        let client = session.client()?;
        terminal.data(format_args!("server {} at {}", client.version().await?, client.server()))
    }
}
