//! `tptctl status`: how the control planes on this machine are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use crate::age::age;
use crate::local::instance::Instance;
use crate::local::state::{Phase, ProcessState, State, now};
use crate::local::{programs, sandbox};
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
        let mut complaints = Vec::new();
        for instance in &instances {
            complaints.extend(self.show(instance, session).await?);
        }
        if !complaints.is_empty() {
            bail!(complaints.join("; "));
        }
        Ok(())
    }

    /// Answers what is not as it should be.
    async fn show(&self, instance: &Instance, session: &Session) -> Result<Option<String>> {
        let terminal = &session.terminal;
        let state = State::load(instance).filter(|_| instance.exists());
        let Some(state) = state else {
            terminal.note(format_args!("control plane `{}`: not started", instance.name));
            return Ok(Some(complaint(instance, None, false)));
        };
        let is_supervised = instance.is_supervised();
        let settings = instance.settings()?;
        let address = settings.server()?;
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
        if settings.sandbox {
            terminal.note(format_args!("sandbox: {}", sandbox::kubectl_line(&instance.sandbox_directory())?));
        }
        Ok((!is_supervised || !state.is_ready()).then(|| complaint(instance, Some(&state), is_supervised)))
    }
}

/// What is wrong and what becomes of it: a supervisor that lives repairs by itself.
fn complaint(instance: &Instance, state: Option<&State>, is_supervised: bool) -> String {
    let name = &instance.name;
    let Some(state) = state.filter(|_| is_supervised) else {
        return format!("`{name}` is not running; `tptctl up {name}` starts it");
    };
    let wrong = state.processes.iter().filter(|process| process.phase != Phase::Ready);
    let wrong = wrong.map(|process| match process.phase {
        Phase::Crashed => format!("{} crashed and is being started again", process.name),
        Phase::Unhealthy => format!("{} doesn't answer", process.name),
        phase => format!("{} is {phase}", process.name),
    });
    let wrong = wrong.collect::<Vec<_>>().join(", ");
    format!(
        "`{name}` runs, but {wrong}; `tptctl up {name}` waits until all is well, logs are in {}",
        instance.logs().display()
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_that_is_being_mended_is_not_called_a_stop() {
        let instance = Instance { name: "demo".into(), directory: "/data/demo".into() };
        let process = |name: &str, phase: &str| {
            format!(
                r#"{{"name":"{name}","phase":"{phase}","process":null,"port":null,"restarts":0,"started_at":0,"last_exit":null,"program":"/p"}}"#
            )
        };
        let processes = [process("postgres", "crashed"), process("nats", "ready"), process("api-server", "unhealthy")];
        let supervisor = serde_json::to_string(&crate::local::identity::Identity::of(std::process::id())).unwrap();
        let state = format!(r#"{{"supervisor":{supervisor},"processes":[{}]}}"#, processes.join(","));
        let state = serde_json::from_str::<State>(&state).unwrap();
        assert_eq!(
            complaint(&instance, Some(&state), true),
            "`demo` runs, but postgres crashed and is being started again, api-server doesn't answer; `tptctl up demo` waits until all is well, logs are in /data/demo/logs"
        );
        assert_eq!(complaint(&instance, Some(&state), false), "`demo` is not running; `tptctl up demo` starts it");
    }
}
