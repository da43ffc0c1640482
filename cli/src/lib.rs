//! `tptctl`, the command line of Threeport: verbs are files in `commands`, kinds come from the server.

mod age;
pub mod commands;
mod differences;
pub mod error;
mod kubectl;
pub mod local;
pub mod session;
mod table;
pub mod terminal;
mod view;
mod wait;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use threeport::telemetry::{self, LogFormat};
use tracing::Instrument;

use crate::commands::Command;
use crate::session::{Globals, Session};
use crate::terminal::Terminal;

/// Run applications, with all they depend on, on Kubernetes
#[derive(Parser, Debug)]
#[command(name = "tptctl", version, max_term_width = 120, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Whether this is the background process that must let go of the terminal first.
    pub fn is_supervisor(&self) -> bool {
        matches!(self.command, Command::Supervise(_))
    }

    /// Runs the command, errors told on stderr.
    pub async fn run(self, terminal: Arc<Terminal>) -> ExitCode {
        let filter = match self.globals.verbose {
            _ if self.is_supervisor() => "info",
            0 => "error",
            1 => "info",
            _ => "debug",
        };
        let endpoint = std::env::var("THREEPORT_OTLP_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        // Without logs a command is still worth running.
        let _telemetry = telemetry::init("tptctl", LogFormat::Text, filter, endpoint.as_deref()).ok();
        let span = tracing::info_span!("tptctl", command = self.command.name());
        let session = Session { terminal: Arc::clone(&terminal), globals: self.globals };
        let outcome = self.command.run(&session).instrument(span).await;
        terminal.settle();
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            // The reader has seen enough, as `| head` does.
            Err(error) if error::is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                terminal.note(format_args!("error: {error:#}"));
                ExitCode::from(error::exit_code(&error))
            }
        }
    }
}
