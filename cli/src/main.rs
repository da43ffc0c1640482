//! The `tptctl` executable.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use cli::Cli;
use cli::terminal::Terminal;

fn main() -> ExitCode {
    let command_line = Cli::parse();
    let terminal = Arc::new(Terminal::standard());
    // Before any thread or file of ours.
    if command_line.is_supervisor()
        && let Err(error) = cli::commands::detach()
    {
        terminal.note(format_args!("error: {error:#}"));
        return ExitCode::FAILURE;
    }
    // It fails if a provider is set already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal.note(format_args!("error: no threads to run on: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(command_line.run(terminal))
}
