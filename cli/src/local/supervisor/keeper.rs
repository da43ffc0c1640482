//! Keeps one process running.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::log;
use crate::local::process::{Process, ProcessSpec};
use crate::local::services;
use crate::local::state::Phase;

const POLL: Duration = Duration::from_millis(100);
/// How often health is looked at and the log cut.
const CHECK: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// One that ran this long did not crash because of what it crashed of before.
const STABLE: Duration = Duration::from_secs(30);

/// The task that keeps one process.
pub struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts the process, waits until it is ready, and keeps it from then on.
    pub async fn start(spec: ProcessSpec, index: usize, board: Arc<Board>) -> Result<Self> {
        let mut process = Process::start(spec.clone())?;
        board.started(index, &process);
        process.wait_ready().await?;
        services::after_start(&spec).await?;
        board.phase(index, Phase::Ready);
        let stop = CancellationToken::new();
        let kept = Kept { spec, index, board, stop: stop.clone() };
        Ok(Self { stop, task: tokio::spawn(kept.keep(process)) })
    }

    /// Stops the process and waits until it is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Kept {
    spec: ProcessSpec,
    index: usize,
    board: Arc<Board>,
    stop: CancellationToken,
}

impl Kept {
    async fn keep(self, mut process: Process) {
        let mut crashes = 0;
        loop {
            let started = Instant::now();
            if self.stop.run_until_cancelled(self.watch(&mut process)).await.is_none() {
                process.stop(STOP_LIMIT).await;
                return self.board.stopped(self.index);
            }
            if started.elapsed() > STABLE {
                crashes = 0;
            }
            self.board.crashed(self.index, process.exit());
            drop(process);
            match self.stop.run_until_cancelled(self.start_again(&mut crashes)).await {
                Some(started) => process = started,
                None => return self.board.stopped(self.index),
            }
        }
    }

    /// Completes when the process ends.
    async fn watch(&self, process: &mut Process) {
        let mut checked = Instant::now();
        while process.exit().is_none() {
            tokio::time::sleep(POLL).await;
            if checked.elapsed() > CHECK {
                let is_healthy = self.spec.readiness.look_again(self.spec.port).await;
                self.board.phase(self.index, if is_healthy { Phase::Ready } else { Phase::Unhealthy });
                log::cut(&self.spec.log);
                checked = Instant::now();
            }
        }
    }

    /// Waits, starts the process and waits until it is ready, again and again.
    async fn start_again(&self, crashes: &mut u32) -> Process {
        loop {
            let delay = delay(*crashes);
            tracing::warn!(process = self.spec.name, ?delay, "crashed; starting it again");
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.board.retried() => {}
            }
            *crashes += 1;
            let mut process = match Process::start(self.spec.clone()) {
                Ok(process) => process,
                Err(error) => {
                    tracing::error!(process = self.spec.name, "can't be started: {error:#}");
                    continue;
                }
            };
            self.board.started(self.index, &process);
            match process.wait_ready().await {
                Ok(()) => {
                    self.board.phase(self.index, Phase::Ready);
                    return process;
                }
                Err(error) => {
                    tracing::error!(process = self.spec.name, "did not become ready: {error:#}");
                    self.board.crashed(self.index, process.exit());
                }
            }
        }
    }
}

/// How long to wait after so many crashes in a row.
fn delay(crashes: u32) -> Duration {
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(crashes)).min(LAST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit() {
        let delays: Vec<u128> = (0..9).map(|crashes| delay(crashes).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(delay(u32::MAX), LAST_DELAY);
    }
}
