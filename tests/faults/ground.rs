//! What the runs of one program stand on: a Postgres and a Kubernetes of their own, each of which can be killed or stopped.

use std::path::Path;
use std::time::Duration;

use cli::local::postgres::Postgres;
use cli::local::sandbox::Ports;
use cli::local::{directories, ports};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::kubernetes::Kubernetes;
use crate::system::servers::Told;
use crate::system::{MINUTE, eventually};

const SETTINGS: [&str; 2] = ["fsync=off", "max_connections=300"];

pub struct Ground {
    pub postgres: Mutex<Option<Postgres>>,
    pub postgres_port: u16,
    pub postgres_password: String,
    pub kubernetes: Kubernetes,
    // Last: what runs in it goes first.
    folder: TempDir,
}

impl Ground {
    pub async fn start() -> Self {
        let folder = directories::scratch().expect("temporary folders can be made");
        let numbers = ports::free(4).expect("loopback has free ports");
        let postgres = start_postgres(folder.path(), numbers[3]).await.expect("Postgres starts");
        let places = Ports { api: numbers[0], etcd: numbers[1], etcd_peer: numbers[2] };
        Self {
            postgres_password: cli::local::postgres::password(&folder.path().join("postgres")).expect("it was made"),
            postgres: Mutex::new(Some(postgres)),
            postgres_port: numbers[3],
            kubernetes: Kubernetes::start(folder.path().join("kubernetes"), places).await,
            folder,
        }
    }

    /// Copies what the servers have logged so far.
    pub fn keep_logs(&self, folder: &Path) {
        for server in ["kubernetes", "postgres"] {
            let logs = std::fs::read_dir(self.folder.path().join(server).join("logs"));
            for log in logs.into_iter().flatten().flatten() {
                // What can't be copied is missed by whoever looks for it, and by nothing else.
                let _ = std::fs::copy(log.path(), folder.join(log.file_name()));
            }
        }
    }

    /// kill -9 of Postgres' first process, and a start after the pause.
    pub async fn kill_postgres(&self, pause: Duration) {
        let mut postgres = self.postgres.lock().await;
        if let Some(running) = postgres.take() {
            running.process().signal(Signal::SIGKILL);
        }
        tokio::time::sleep(pause).await;
        // Its other processes notice by and by that the first is gone, and until then it refuses to start.
        let started = eventually("Postgres starts again", MINUTE, async || {
            start_postgres(self.folder.path(), self.postgres_port).await.map_err(|error| error.to_string())
        });
        *postgres = Some(started.await);
    }

    /// Stops Postgres' first process, which takes connections; those that stand go on.
    pub async fn stop_postgres(&self, pause: Duration) {
        let postgres = self.postgres.lock().await;
        let process = postgres.as_ref().expect("whoever takes it brings it back").process();
        process.signal(Signal::SIGSTOP);
        tokio::time::sleep(pause).await;
        process.signal(Signal::SIGCONT);
    }
}

async fn start_postgres(folder: &Path, port: u16) -> anyhow::Result<Postgres> {
    Postgres::start_on(&folder.join("postgres"), port, &SETTINGS, &Told).await
}
