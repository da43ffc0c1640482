//! What the supervisor tells others about its processes: a file that is replaced whole at every change.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::instance::Instance;
use super::secret;

/// The supervisor and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub supervisor: Identity,
    pub processes: Vec<ProcessState>,
}

/// One process as its supervisor last saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessState {
    pub name: String,
    pub phase: Phase,
    pub process: Option<Identity>,
    pub port: Option<u16>,
    /// How often it had to be started again.
    pub restarts: u32,
    /// When it was last started, in seconds since 1970.
    pub started_at: u64,
    /// How it ended last.
    pub last_exit: Option<String>,
    pub program: PathBuf,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its turn has not come.
    Waiting,
    /// It runs and is not ready yet.
    Starting,
    Ready,
    /// It runs and has stopped answering.
    Unhealthy,
    /// It crashed and is started again soon.
    Crashed,
    Stopped,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        })
    }
}

impl State {
    /// None if nothing was ever started, or what is there can't be read.
    pub fn load(instance: &Instance) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path(instance)).ok()?).ok()
    }

    pub fn save(&self, instance: &Instance) -> Result<()> {
        secret::write(&path(instance), &serde_json::to_string_pretty(self).context("state as JSON")?)
    }

    pub fn is_ready(&self) -> bool {
        self.processes.iter().all(|process| process.phase == Phase::Ready)
    }

    /// Kills what a supervisor that died left behind, last started first, and waits until it is gone.
    pub fn kill_leftovers(&self, within: Duration) {
        let leftovers: Vec<&Identity> =
            self.processes.iter().rev().filter_map(|state| state.process.as_ref()).collect();
        for (signal, limit) in [(Signal::SIGINT, within), (Signal::SIGKILL, Duration::from_secs(2))] {
            for identity in &leftovers {
                identity.signal(signal);
            }
            let deadline = Instant::now() + limit;
            while leftovers.iter().any(|identity| identity.is_alive()) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn path(instance: &Instance) -> PathBuf {
    instance.directory.join("state.json")
}
