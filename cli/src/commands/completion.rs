//! `tptctl completion`: what a shell needs to complete commands.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::session::Session;

/// Write a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  source <(tptctl completion bash)
  tptctl completion zsh > ~/.zfunc/_tptctl")]
pub struct Completion {
    shell: Shell,
}

impl Completion {
    #[expect(clippy::unused_async, reason = "all verbs have one signature")]
    pub async fn run(self, session: &Session) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "tptctl", &mut script);
        session.terminal.data(String::from_utf8_lossy(&script).trim_end())
    }
}
