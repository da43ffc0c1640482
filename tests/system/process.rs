//! A program of ours as a child of a test: logged to a file, signalled, killed and started again, gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli::local::process::{Process as Child, ProcessSpec};
use nix::sys::signal::Signal;

use super::{MINUTE, binary, eventually};

pub struct Process {
    pub name: String,
    spec: ProcessSpec,
    child: Option<Child>,
}

impl Process {
    /// Starts one of our programs; its output goes to `<name>.log` in `folder`.
    pub async fn start(folder: &Path, name: &str, program: &'static str, arguments: &[String]) -> Self {
        let mut process = Self::new(folder, name, program, arguments);
        process.start_again();
        process.address().await;
        process
    }

    /// As [`Process::start`], but doesn't start it yet.
    pub fn new(folder: &Path, name: &str, program: &'static str, arguments: &[String]) -> Self {
        let mut spec = ProcessSpec::new(program, binary(program), folder).arguments(arguments);
        spec.log = folder.join(format!("{name}.log"));
        let filter = std::env::var("TEST_LOG").unwrap_or_else(|_| "info".to_owned());
        spec.environment.push(("RUST_LOG".to_owned(), filter));
        Self { name: name.to_owned(), spec, child: None }
    }

    /// A variable of the environment, from the next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.spec.environment.retain(|(known, _)| known != name);
        self.spec.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn environment(&self, name: &str) -> Option<&str> {
        self.spec.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is gone; it can be started again then.
    pub fn has_ended(&mut self) -> bool {
        let has_ended = self.child.as_mut().is_none_or(|child| child.exit().is_some());
        if has_ended {
            self.child = None;
        }
        has_ended
    }

    /// Starts it with the same arguments, after it was killed or stopped.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.name);
        self.child = Some(Child::start(self.spec.clone()).expect("our programs can be started"));
    }

    /// Waits until it has printed `listening on ADDRESS` and returns the address.
    pub async fn address(&mut self) -> String {
        let what = format!("{} prints where it listens", self.name);
        eventually(&what, MINUTE, async || {
            let ended = self.child.as_mut().and_then(Child::exit);
            assert!(ended.is_none(), "{} ended:\n{}", self.name, self.log());
            self.last_address().ok_or_else(|| "nothing printed".to_owned())
        })
        .await
    }

    /// Where it, or its predecessor, said last that it listens.
    pub fn last_address(&self) -> Option<String> {
        self.log().lines().rev().find_map(|line| line.strip_prefix("listening on ")).map(str::to_owned)
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn log_path(&self) -> &PathBuf {
        &self.spec.log
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, signal: Signal) {
        self.child.as_ref().expect("it runs").signal(signal);
    }

    /// kill -9; one that is gone already doesn't mind.
    pub fn kill(&mut self) {
        if let Some(child) = self.child.take() {
            child.signal(Signal::SIGKILL);
        }
    }

    /// SIGTERM, and waits until it has drained.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.signal(Signal::SIGTERM);
        eventually(&format!("{} ends on SIGTERM", self.name), Duration::from_secs(30), async || {
            child.exit().map(drop).ok_or_else(|| "it runs".to_owned())
        })
        .await;
    }

    /// The last lines of its log, for the report of a failed test.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines = log.lines().collect::<Vec<_>>();
        format!("--- {}\n{}\n", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}
