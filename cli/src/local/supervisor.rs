//! Keeps the processes of a local control plane running: starts them in order, again when they crash, and stops them in
//! reverse.
//!
//! The supervisor is a process of its own that outlives `tptctl up`. It holds the instance's lock for as long as it
//! lives. Until `up` says that all is well it undoes its work when `up` goes away.

mod board;
mod keeper;
mod log;
mod parent;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::board::Board;
use self::keeper::Keeper;
pub use self::parent::{KEEP, Report};
use self::parent::{Parent, tell};
use super::instance::Instance;
use super::process::ProcessSpec;
use super::state::State;
use super::{Progress, services};

const LEFTOVER_LIMIT: Duration = Duration::from_secs(5);

/// Supervises until told to stop. With `is_first`, a failed or interrupted start removes the instance's folder.
pub async fn supervise(instance: &Instance, is_first: bool) -> Result<()> {
    let Some(_lock) = instance.try_lock()? else {
        tell(&Report::Busy);
        return Ok(());
    };
    let outcome = run(instance).await;
    if let Err(error) = &outcome {
        let mut why = format!("{error:#}");
        let logs = instance.logs().display().to_string();
        if is_first && why.contains(&logs) {
            why = why.replace(&logs, &instance.keep_logs()?.display().to_string());
        }
        tell(&Report::Failed(why));
        if is_first {
            instance.remove()?;
        }
    }
    outcome
}

async fn run(instance: &Instance) -> Result<()> {
    if let Some(state) = State::load(instance) {
        state.kill_leftovers(LEFTOVER_LIMIT);
    }
    let mut signals = Signals::listen()?;
    let mut parent = Parent::on_stdin()?;
    let mut keepers = Vec::new();
    let started = tokio::select! {
        started = start(instance, &mut keepers, &mut parent) => started,
        () = signals.ended() => Err(anyhow!("interrupted")),
    };
    if let Ok(board) = &started {
        tokio::select! {
            () = signals.ended_or_retry(board) => {}
            () = build_later() => {}
        }
    }
    for keeper in keepers.into_iter().rev() {
        keeper.stop().await;
    }
    started.map(drop)
}

/// Builds beside what runs; never ends, for what runs goes on.
async fn build_later() {
    services::build_later(&Quiet).await;
    std::future::pending::<()>().await;
}

/// Starts everything and waits until `up` has done its part; fails when `up` goes away.
async fn start(instance: &Instance, keepers: &mut Vec<Keeper>, parent: &mut Parent) -> Result<Arc<Board>> {
    let starting = async {
        let specs = services::specs(instance, &instance.settings()?, &Teller).await?;
        let board = Arc::new(Board::new(instance.clone(), &specs)?);
        for (index, spec) in specs.into_iter().enumerate() {
            tell(&Report::Step(step(&spec)));
            keepers.push(Keeper::start(spec, index, Arc::clone(&board)).await?);
        }
        anyhow::Ok(board)
    };
    let board = tokio::select! {
        board = starting => board?,
        error = parent.gone() => return Err(error),
    };
    tell(&Report::Ready);
    parent.keeps().await?;
    Ok(board)
}

fn step(spec: &ProcessSpec) -> String {
    match spec.port {
        Some(port) => format!("starting {} on port {port}", spec.name),
        None => format!("starting {}", spec.name),
    }
}

/// Passes progress on to `up`.
struct Teller;

impl Progress for Teller {
    fn step(&self, message: &str) {
        tell(&Report::Step(message.to_owned()));
    }

    fn detail(&self, _message: &str) {}
}

/// Nobody listens any more.
struct Quiet;

impl Progress for Quiet {
    fn step(&self, _message: &str) {}

    fn detail(&self, _message: &str) {}
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// On SIGHUP, what crashed is started again without waiting.
    async fn ended_or_retry(&mut self, board: &Board) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => board.retry_now(),
            }
        }
    }
}
