//! `tptctl`, the command line of Threeport: verbs are files in `commands`, kinds come from the server.

mod age;
pub mod commands;
mod differences;
pub mod error;
mod kubectl;
pub mod local;
mod named;
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
            Err(error) if error.is::<error::Differs>() => {
                terminal.note(&error);
                ExitCode::from(error::DIFFERS)
            }
            Err(error) => {
                terminal.note(format_args!("error: {}", error::told(&error)));
                ExitCode::from(error::exit_code(&error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_shows_an_example() {
        Cli::command().debug_assert();
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  "), "give cli/src/commands/{}.rs an after_help", verb.get_name());
        }
    }

    #[test]
    fn the_verbs_are_listed_in_the_order_of_their_use() {
        let verbs: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(|verb| {
                format!("{:<11} {}", verb.get_name(), verb.get_about().map(ToString::to_string).unwrap_or_default())
            })
            .collect();
        insta::assert_snapshot!(verbs.join("\n"), @r"
        up          Start a control plane on this machine: Postgres, NATS, API server and controllers
        down        Stop a control plane on this machine
        status      Show the processes of the control planes on this machine
        deploy      Deploy a container image as a workload, or change one that was
        apply       Create or update what documents describe, all of it or nothing
        diff        Show what applying documents would change, children included, and change nothing
        get         Show one object, or all of a kind
        describe    Show one object with its conditions, resources and recent events
        tree        Show objects with what they own and use, down to the resources in clusters
        render      Show the Kubernetes manifest that a workload, instance or definition applies
        wait        Wait until objects and all they own are ready, or gone
        events      Show what happened lately, newest first
        history     Show who changed an object, when and why, newest first
        delete      Delete objects and all they own
        runtime     Register Kubernetes clusters
        context     Show and choose contexts: which server, as whom, in which project
        explain     Explain a kind or a field of it
        kinds       List the kinds of object, those registered at run time too
        version     Show the versions of tptctl and of the server
        completion  Write a completion script for a shell
        ");
    }
}
