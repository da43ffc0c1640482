//! Tells a process from a later one with the same number.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process of this machine, by number and start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// When it started, in the words of the system.
    started: String,
}

impl Identity {
    /// None if there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: start_of(pid)? })
    }

    pub fn is_alive(&self) -> bool {
        start_of(self.pid).is_some_and(|started| started == self.started)
    }

    /// Sends a signal, unless the process is gone and another has its number.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid)
            && self.is_alive()
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// None for one that is gone, or has ended and is only still to be waited for.
fn start_of(pid: u32) -> Option<String> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            // The name in parentheses may hold anything; the state is field 3, the start field 22.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            (*fields.first()? != "Z").then(|| fields.get(19).map(ToString::to_string))?
        }
        Err(_) if std::path::Path::new("/proc/self").exists() => None,
        Err(_) => {
            let output =
                std::process::Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
            let started = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (!started.is_empty()).then_some(started)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends_and_its_number_is_not_enough() {
        let ours = Identity::of(std::process::id()).unwrap();
        assert!(ours.is_alive());
        assert!(!Identity { started: "long ago".into(), ..ours }.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = child.id();
        child.wait().unwrap();
        assert!(Identity::of(id).is_none());
    }
}
