//! A server that runs stand on, which faults kill and stop.

use std::time::Duration;

use cli::local::process::{Process, ProcessSpec};
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

/// Locked while a fault is at it.
pub struct Server {
    spec: ProcessSpec,
    process: Mutex<Option<Process>>,
}

impl Server {
    pub async fn start(spec: ProcessSpec) -> Self {
        let process = Mutex::new(Some(start(&spec).await));
        Self { spec, process }
    }

    /// kill -9, and a start after the pause.
    pub async fn kill(&self, pause: Duration) {
        let mut process = self.process.lock().await;
        if let Some(running) = process.take() {
            running.signal(Signal::SIGKILL);
        }
        tokio::time::sleep(pause).await;
        *process = Some(start(&self.spec).await);
    }

    /// kill -9 and a start at once, which isn't waited for.
    pub async fn renew(&self) {
        let mut process = self.process.lock().await;
        *process = None;
        *process = Some(Process::start(self.spec.clone()).expect("what was started once starts again"));
    }

    /// SIGSTOP, and SIGCONT after the pause.
    pub async fn stop(&self, pause: Duration) {
        let process = self.process.lock().await;
        let running = process.as_ref().expect("whoever takes it brings it back");
        running.signal(Signal::SIGSTOP);
        tokio::time::sleep(pause).await;
        running.signal(Signal::SIGCONT);
    }
}

async fn start(spec: &ProcessSpec) -> Process {
    Process::start_ready(spec.clone()).await.unwrap_or_else(|error| panic!("{} doesn't start: {error}", spec.name))
}
