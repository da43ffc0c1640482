//! Servers as processes that die with the one that started them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::Account;
use super::programs;
use super::readiness::Readiness;

const POLL: Duration = Duration::from_millis(20);
/// How long a server that is told to end at once may take before it is killed.
const ABORT_LIMIT: Duration = Duration::from_secs(3);
const LOG_LINES_SHOWN: usize = 8;

/// How to run a server.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// What people call it: `postgres`.
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub working_directory: PathBuf,
    /// Takes stdout and stderr.
    pub log: PathBuf,
    /// Runs as this user instead of as ours.
    pub account: Option<Account>,
    pub port: Option<u16>,
    pub readiness: Readiness,
    pub ready_within: Duration,
    /// Asks it to finish its work and end.
    pub stop_signal: Signal,
    /// Makes it end at once, its data intact.
    pub abort_signal: Signal,
}

impl ProcessSpec {
    /// A server that is asked to end by SIGTERM and bears SIGKILL; logs to `<directory>/logs/<name>.log`.
    pub fn new(name: &'static str, program: PathBuf, directory: &Path) -> Self {
        Self {
            name,
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            working_directory: directory.to_owned(),
            log: directory.join("logs").join(format!("{name}.log")),
            account: None,
            port: None,
            readiness: Readiness::Running,
            ready_within: Duration::from_mins(1),
            stop_signal: Signal::SIGTERM,
            abort_signal: Signal::SIGKILL,
        }
    }

    #[must_use]
    pub fn arguments<T: ToString>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.to_string()));
        self
    }

    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    #[must_use]
    pub fn ready_when(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    fn command(&self) -> Result<Command> {
        let mut command = command_as(self.account.as_ref(), Some(self.abort_signal), &self.program)?;
        if let Some(folder) = self.log.parent() {
            super::directories::create(folder)?;
        }
        // Appending, so that the file can be cut short while the server writes to it.
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("opening {}", self.log.display()))?;
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.working_directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing a log file")?)
            .stderr(log);
        Ok(command)
    }
}

/// A command that runs as another user and, where the system can, dies with the thread that spawns it.
pub fn command_as(account: Option<&Account>, dies_by: Option<Signal>, program: &Path) -> Result<Command> {
    let Some(setpriv) = programs::on_path("setpriv") else {
        if let Some(account) = account {
            bail!("running {} as user `{}` needs setpriv; install util-linux", program.display(), account.name);
        }
        return Ok(Command::new(program));
    };
    let mut command = Command::new(setpriv);
    if let Some(Account { user, group, .. }) = account {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
    }
    if let Some(signal) = dies_by {
        command.args(["--pdeathsig", signal.as_str().trim_start_matches("SIG")]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// A running server; dropped, it ends at once.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Child,
}

impl Process {
    pub fn start(spec: ProcessSpec) -> Result<Self> {
        let child = spawn(spec.command()?).with_context(|| format!("starting {}", spec.program.display()))?;
        Ok(Self { spec, child })
    }

    /// Starts a server and waits until it is ready.
    pub async fn start_ready(spec: ProcessSpec) -> Result<Self> {
        let mut process = Self::start(spec)?;
        process.wait_ready().await?;
        Ok(process)
    }

    pub fn spec(&self) -> &ProcessSpec {
        &self.spec
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it is ready; fails with the end of its log when it ends instead or takes too long.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.spec.ready_within;
        loop {
            if let Some(status) = self.exit() {
                bail!("{} ended with {status} instead of becoming ready{}", self.spec.name, end_of_log(&self.spec.log));
            }
            if self.spec.readiness.look().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                let limit = self.spec.ready_within.as_secs();
                bail!("{} is not ready after {limit} s{}", self.spec.name, end_of_log(&self.spec.log));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal; one that is gone doesn't mind.
    pub fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Asks it to end and waits; past the limit it is killed.
    pub async fn stop(mut self, within: Duration) {
        if self.exit().is_none() {
            self.signal(self.spec.stop_signal);
        }
        let deadline = Instant::now() + within;
        while self.exit().is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit().is_some() {
            return;
        }
        self.signal(self.spec.abort_signal);
        let deadline = Instant::now() + ABORT_LIMIT;
        while self.exit().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log, for an error message; empty when there are none.
pub fn end_of_log(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let shown = last_words(&String::from_utf8_lossy(&bytes));
    if shown.is_empty() {
        return String::new();
    }
    format!("; {} ends with:\n  {}", log.display(), shown.join("\n  "))
}

/// What a program says when it ends with an error, without the backtrace; else the last lines.
fn last_words(text: &str) -> Vec<String> {
    let lines = text.lines().collect::<Vec<_>>();
    let start = match lines.iter().rposition(|line| line.starts_with("Error: ")) {
        Some(error) => error,
        None => lines.len().saturating_sub(LOG_LINES_SHOWN),
    };
    let said = lines[start..].iter().take_while(|line| !line.starts_with("Stack backtrace"));
    said.filter(|line| !line.trim().is_empty()).take(LOG_LINES_SHOWN).map(ToString::to_string).collect()
}

struct Order {
    command: Command,
    answer: mpsc::Sender<std::io::Result<Child>>,
}

/// Spawns every server from one thread that lives as long as the process: a parent-death signal is sent when the
/// spawning *thread* ends, and a runtime's threads end before the process does.
static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for mut order in orders {
            let _ = order.answer.send(order.command.spawn());
        }
    });
    sender
});

fn spawn(command: Command) -> std::io::Result<Child> {
    let (answer, child) = mpsc::channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    SPAWNER.send(Order { command, answer }).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_from_its_beginning_and_without_a_backtrace() {
        let log = "listening\nError: no such host\n\nCaused by:\n    lookup failed\n\nStack backtrace:\n   0: std::x\n";
        assert_eq!(last_words(log), ["Error: no such host", "Caused by:", "    lookup failed"]);
        let lines = (1..20).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        assert_eq!(last_words(&lines).first().map(String::as_str), Some("line 12"));
    }

    fn shell(script: &str, directory: &Path) -> ProcessSpec {
        ProcessSpec::new("shell", "/bin/sh".into(), directory).arguments(["-c", script])
    }

    #[tokio::test]
    async fn one_that_ends_early_is_reported_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let spec =
            shell("echo out of luck; exit 3", directory.path()).ready_when(Readiness::Http { port: 1, path: "/" });
        let error = Process::start_ready(spec).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("out of luck"), "{error}");
    }

    #[tokio::test]
    async fn one_that_ignores_the_request_to_end_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::start(shell("trap '' TERM; while :; do sleep 0.05; done", directory.path())).unwrap();
        let id = Pid::from_raw(i32::try_from(process.id()).unwrap());
        process.stop(Duration::from_millis(100)).await;
        assert!(kill(id, None).is_err(), "still alive");
    }
}
