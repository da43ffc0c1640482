//! `tptctl status`: how the control planes on this machine are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use crate::age::age;
use crate::local::instance::Instance;
use crate::local::programs;
use crate::local::state::{Phase, ProcessState, State, now};
use crate::session::Session;
use crate::table::Table;

/// Show the processes of the control planes on this machine
///
/// Fails if one that was started is not running and ready.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl status          all of them
  tptctl status demo     one")]
pub struct Status {
    /// Name of the control plane; all when left out
    name: Option<String>,
}

impl Status {
    pub async fn run(self, session: &Session) -> Result<()> {
        let instances = match &self.name {
            Some(name) => vec![Instance::named(name)?],
            None => Instance::all()?,
        };
        if instances.is_empty() {
            session.terminal.note("there is no control plane on this machine; `tptctl up` starts one");
            return Ok(());
        }
        let mut down = Vec::new();
        for instance in &instances {
            if !self.show(instance, session).await? {
                down.push(format!("`{}`", instance.name));
            }
        }
        if !down.is_empty() {
            bail!("not running: {}; `tptctl up NAME` starts or repairs it", down.join(", "));
        }
        Ok(())
    }

    /// Whether all is well.
    async fn show(&self, instance: &Instance, session: &Session) -> Result<bool> {
        let terminal = &session.terminal;
        let state = State::load(instance).filter(|_| instance.exists());
        let Some(state) = state else {
            terminal.note(format_args!("control plane `{}`: not started", instance.name));
            return Ok(false);
        };
        let is_supervised = instance.is_supervised();
        let address = instance.settings()?.server()?;
        let word = if is_supervised { "running" } else { "stopped" };
        terminal.note(format_args!(
            "control plane `{}`: {word}, {address}, {}",
            instance.name,
            instance.directory.display()
        ));
        let programs: Vec<PathBuf> = state.processes.iter().map(|process| process.program.clone()).collect();
        let versions =
            tokio::task::spawn_blocking(move || programs.iter().map(|program| version(program)).collect::<Vec<_>>())
                .await?;
        let mut table = Table::new(["PROCESS", "STATE", "PID", "PORT", "RESTARTS", "UP", "VERSION"]);
        for (process, version) in state.processes.iter().zip(versions) {
            table.row(row(process, is_supervised, version));
        }
        terminal.data(table.render(&|cell| terminal.paint(cell)))?;
        Ok(is_supervised && state.is_ready())
    }
}

fn row(process: &ProcessState, is_supervised: bool, version: String) -> [String; 7] {
    let identity = process.process.as_ref().filter(|identity| identity.is_alive());
    let phase = if is_supervised { process.phase } else { Phase::Stopped };
    let state = match &process.last_exit {
        Some(exit) if phase == Phase::Crashed => format!("{phase} ({exit})"),
        _ => phase.to_string(),
    };
    [
        process.name.clone(),
        state,
        identity.map(|identity| identity.pid.to_string()).unwrap_or_default(),
        process.port.map(|port| port.to_string()).unwrap_or_default(),
        process.restarts.to_string(),
        identity.map(|_| age(now().saturating_sub(process.started_at))).unwrap_or_default(),
        version,
    ]
}

/// `2.15.2` of `nats-server: v2.15.2`.
fn version(program: &Path) -> String {
    let line = programs::version_line(program, "--version").unwrap_or_default();
    let words = line.split([' ', ',', ':']).map(|word| word.trim_start_matches('v'));
    let mut numbers = words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    numbers.find(|word| word.contains('.')).unwrap_or_default().to_owned()
}
