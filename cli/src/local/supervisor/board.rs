//! What all keepers know of each other: the state that is written for `status`.

use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::Notify;

use crate::local::identity::Identity;
use crate::local::instance::Instance;
use crate::local::process::{Process, ProcessSpec};
use crate::local::state::{Phase, ProcessState, State, now};

pub struct Board {
    instance: Instance,
    state: Mutex<State>,
    retry: Notify,
}

impl Board {
    pub fn new(instance: Instance, specs: &[ProcessSpec]) -> Result<Self> {
        let supervisor = Identity::of(std::process::id()).context("looking at ourselves")?;
        let waiting = |spec: &ProcessSpec| ProcessState {
            name: spec.name.to_owned(),
            phase: Phase::Waiting,
            process: None,
            port: spec.port,
            restarts: 0,
            started_at: 0,
            last_exit: None,
            program: spec.program.clone(),
        };
        let state = State { supervisor, processes: specs.iter().map(waiting).collect() };
        state.save(&instance)?;
        Ok(Self { instance, state: Mutex::new(state), retry: Notify::new() })
    }

    pub fn started(&self, index: usize, process: &Process) {
        self.change(index, |state| {
            state.phase = Phase::Starting;
            state.process = Identity::of(process.id());
            state.started_at = now();
        });
    }

    pub fn phase(&self, index: usize, phase: Phase) {
        self.change(index, |state| state.phase = phase);
    }

    pub fn crashed(&self, index: usize, exit: Option<ExitStatus>) {
        self.change(index, |state| {
            state.phase = Phase::Crashed;
            state.process = None;
            state.restarts += 1;
            state.last_exit = exit.map(|status| status.to_string());
        });
    }

    pub fn stopped(&self, index: usize) {
        self.change(index, |state| {
            state.phase = Phase::Stopped;
            state.process = None;
        });
    }

    /// Ends all waits before a restart.
    pub fn retry_now(&self) {
        self.retry.notify_waiters();
    }

    pub async fn retried(&self) {
        self.retry.notified().await;
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut ProcessState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.processes[index].clone();
        change(&mut state.processes[index]);
        if state.processes[index] != before
            && let Err(error) = state.save(&self.instance)
        {
            tracing::error!("the state of the processes can't be written: {error:#}");
        }
    }
}
