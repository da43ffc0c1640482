//! What the runs of one program stand on: a Postgres and a Kubernetes of their own, each of which can be killed or stopped.

use std::path::Path;
use std::time::Duration;

use cli::local::postgres::Postgres;
use cli::local::process::Process;
use cli::local::sandbox::{self, Ports};
use cli::local::{directories, ports, servers};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::checks::{contents, nothing_else};
use crate::system::servers::Told;
use crate::system::{Cluster, MINUTE, eventually};

const SETTINGS: [&str; 2] = ["fsync=off", "max_connections=300"];

pub struct Ground {
    pub postgres: Mutex<Option<Postgres>>,
    pub postgres_port: u16,
    pub postgres_password: String,
    pub kube_apiserver: Mutex<Option<Process>>,
    pub kube_apiserver_port: u16,
    pub cluster: Cluster,
    _others: Vec<Process>,
    // Last: what runs in it goes first.
    folder: TempDir,
}

impl Ground {
    pub async fn start() -> Self {
        let folder = directories::scratch().expect("temporary folders can be made");
        let numbers = ports::free(4).expect("loopback has free ports");
        let postgres = start_postgres(folder.path(), numbers[3]).await.expect("Postgres starts");
        let directory = folder.path().join("kubernetes");
        let programs = servers::kubernetes(&Told).await.expect("the servers can be built");
        let places = Ports { api: numbers[0], etcd: numbers[1], etcd_peer: numbers[2] };
        let (mut kube_apiserver, mut others) = (None, Vec::new());
        for spec in sandbox::specs(&directory, &programs, places).expect("the folder is ours") {
            let process = Process::start_ready(spec).await.expect("the sandbox starts");
            if process.spec().name == "kube-apiserver" {
                kube_apiserver = Some(process);
            } else {
                others.push(process);
            }
        }
        let kubeconfig = std::fs::read_to_string(sandbox::kubeconfig_path(&directory)).expect("it was written");
        let cluster = Cluster::connect(kubeconfig).await;
        stand_still(&cluster).await;
        Self {
            postgres_password: cli::local::postgres::password(&folder.path().join("postgres")).expect("it was made"),
            postgres: Mutex::new(Some(postgres)),
            postgres_port: numbers[3],
            kube_apiserver: Mutex::new(kube_apiserver),
            kube_apiserver_port: numbers[0],
            cluster,
            _others: others,
            folder,
        }
    }

    /// Where the sandbox keeps its certificates.
    pub fn kubernetes_directory(&self) -> std::path::PathBuf {
        self.folder.path().join("kubernetes")
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

    pub async fn kill_kube_apiserver(&self, pause: Duration) {
        let mut kube_apiserver = self.kube_apiserver.lock().await;
        let running = kube_apiserver.take().expect("whoever takes it brings it back");
        let spec = running.spec().clone();
        running.signal(Signal::SIGKILL);
        drop(running);
        tokio::time::sleep(pause).await;
        *kube_apiserver = Some(Process::start_ready(spec).await.expect("kube-apiserver starts again"));
    }

    pub async fn stop_kube_apiserver(&self, pause: Duration) {
        let kube_apiserver = self.kube_apiserver.lock().await;
        let process = kube_apiserver.as_ref().expect("whoever takes it brings it back");
        process.signal(Signal::SIGSTOP);
        tokio::time::sleep(pause).await;
        process.signal(Signal::SIGCONT);
    }
}

/// Waits until a fresh cluster has made all that it has of its own.
async fn stand_still(cluster: &Cluster) {
    eventually("a fresh cluster comes to rest", MINUTE, async || {
        let before = contents(cluster).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        nothing_else(&before, &contents(cluster).await)
    })
    .await;
}

async fn start_postgres(folder: &Path, port: u16) -> anyhow::Result<Postgres> {
    Postgres::start_on(&folder.join("postgres"), port, &SETTINGS, &Told).await
}
