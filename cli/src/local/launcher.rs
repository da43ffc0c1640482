//! Starts and stops the supervisor of a local control plane.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::instance::Instance;
use super::process::end_of_log;
use super::state::State;
use super::supervisor::{KEEP, Report};
use super::{Progress, programs};

const POLL: Duration = Duration::from_millis(50);
/// All processes drain one after the other.
const STOP_LIMIT: Duration = Duration::from_mins(2);

/// A supervisor that undoes its work unless it is told to [`Launched::keep`] it.
pub struct Launched {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Launched {
    /// Starts a supervisor; what it reports is read by [`Launched::ready`].
    pub fn start(instance: &Instance, is_first: bool) -> Result<Self> {
        let logs = instance.logs();
        super::directories::create(&logs)?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(logs.join("supervisor.log"));
        let mut command = Command::new(tptctl()?);
        command
            .args(["supervise", &instance.name])
            .args(is_first.then_some("--first"))
            .current_dir("/")
            .env("THREEPORT_HOME", instance.directory.parent().context("a control plane's folder has a parent")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.context("opening the supervisor's log")?);
        let mut child = command.spawn().context("starting the supervisor")?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    /// Waits until everything runs.
    pub async fn ready(&mut self, instance: &Instance, progress: &dyn Progress) -> Result<()> {
        let stdout = self.child.stdout.take().context("the supervisor's reports were read before")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.context("reading the supervisor's reports")? {
            match serde_json::from_str(&line).with_context(|| format!("the supervisor said `{line}`"))? {
                Report::Step(step) => progress.step(&step),
                Report::Ready => return Ok(()),
                Report::Failed(why) => bail!("{why}"),
                Report::Busy => bail!("`{}` is being started already; wait and try again", instance.name),
            }
        }
        bail!("the supervisor ended{}", end_of_log(&instance.logs().join("supervisor.log")))
    }

    /// Tells the supervisor to stay.
    pub async fn keep(mut self) -> Result<()> {
        let mut stdin = self.stdin.take().context("a supervisor is kept once")?;
        stdin.write_all(format!("{KEEP}\n").as_bytes()).await.context("the supervisor has ended")?;
        stdin.flush().await.context("the supervisor has ended")
    }

    /// Lets the supervisor undo its work and waits until it has.
    pub async fn abandon(mut self) {
        drop(self.stdin.take());
        let _ = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
    }
}

/// Stops everything; whether anything ran.
pub async fn stop(instance: &Instance, progress: &dyn Progress) -> Result<bool> {
    let state = State::load(instance);
    let ran = instance.is_supervised();
    if ran {
        progress.step(&format!("stopping `{}`", instance.name));
        let supervisor = &state.as_ref().context("it is starting or stopping right now; try again")?.supervisor;
        supervisor.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while instance.is_supervised() {
            if Instant::now() > deadline {
                supervisor.signal(Signal::SIGKILL);
            }
            tokio::time::sleep(POLL).await;
        }
    }
    // Its processes die with it where the system can do that; elsewhere, or if it was killed, they may live.
    if let Some(state) = State::load(instance) {
        tokio::task::spawn_blocking(move || state.kill_leftovers(Duration::from_secs(10))).await?;
    }
    Ok(ran)
}

/// Starts what crashed without waiting for its turn.
pub fn retry(instance: &Instance) {
    if let Some(state) = State::load(instance) {
        state.supervisor.signal(Signal::SIGHUP);
    }
}

/// Our own executable, also when a test or an example of ours is running.
fn tptctl() -> Result<PathBuf> {
    let ours = std::env::current_exe().context("finding our own executable")?;
    if ours.file_name().is_some_and(|name| name == "tptctl") {
        return Ok(ours);
    }
    programs::beside_us("tptctl")
        .context("tptctl is neither beside this program nor on the PATH; build it with `cargo build`")
}
