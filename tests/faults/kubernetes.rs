//! A Kubernetes whose own servers can be killed and stopped.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cli::local::sandbox::{self, Ports};
use cli::local::servers;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::checks::{contents, nothing_else};
use crate::server::Server;
use crate::system::servers::Told;
use crate::system::{Cluster, MINUTE, eventually};

/// What a cluster's API consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    ApiServer,
    Etcd,
}

pub struct Kubernetes {
    pub cluster: Cluster,
    pub port: u16,
    pub directory: PathBuf,
    api_server: Server,
    etcd: Server,
    /// Controllers, scheduler, simulated nodes: what works through the API.
    others: Vec<Server>,
    /// Whether a fault came since it was healed last.
    is_hurt: AtomicBool,
}

impl Kubernetes {
    pub async fn start(directory: PathBuf, ports: Ports) -> Self {
        let programs = servers::kubernetes(&Told).await.expect("the servers can be built");
        let (mut api_server, mut etcd, mut others) = (None, None, Vec::new());
        for spec in sandbox::specs(&directory, &programs, ports).expect("the folder is ours") {
            let name = spec.name;
            let server = Server::start(spec).await;
            match name {
                "etcd" => etcd = Some(server),
                "kube-apiserver" => api_server = Some(server),
                _ => others.push(server),
            }
        }
        let kubeconfig = std::fs::read_to_string(sandbox::kubeconfig_path(&directory)).expect("it was written");
        let kubernetes = Self {
            cluster: Cluster::connect(kubeconfig).await,
            port: ports.api,
            directory,
            api_server: api_server.expect("a sandbox has one"),
            etcd: etcd.expect("a sandbox has one"),
            others,
            is_hurt: AtomicBool::new(false),
        };
        kubernetes.stand_still().await;
        kubernetes
    }

    /// kill -9, and a start after the pause.
    pub async fn kill(&self, part: Part, pause: Duration) {
        self.part(part).kill(pause).await;
    }

    /// SIGSTOP, and SIGCONT after the pause.
    pub async fn stop(&self, part: Part, pause: Duration) {
        self.part(part).stop(pause).await;
    }

    fn part(&self, part: Part) -> &Server {
        self.is_hurt.store(true, Ordering::Relaxed);
        match part {
            Part::ApiServer => &self.api_server,
            Part::Etcd => &self.etcd,
        }
    }

    /// Undoes what a fault leaves behind in what isn't ours: the cluster's controllers back off for up to a minute when
    /// its API was away, and simulated nodes may lose a pod for good when a write of theirs fails.
    pub async fn heal(&self) {
        if !self.is_hurt.swap(false, Ordering::Relaxed) {
            return;
        }
        join_all(self.others.iter().map(Server::renew)).await;
        for pod in self.cluster.list("/api/v1/pods").await.iter().filter(|pod| !is_ready(pod)) {
            let place = ["namespace", "name"].map(|field| pod["metadata"][field].as_str().unwrap_or_default());
            let path = format!("/api/v1/namespaces/{}/pods/{}?gracePeriodSeconds=0", place[0], place[1]);
            self.cluster.delete(&path).await;
        }
    }

    /// Waits until it has made all that it has of its own.
    async fn stand_still(&self) {
        eventually("a fresh cluster comes to rest", MINUTE, async || {
            let before = contents(&self.cluster).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            nothing_else(&before, &contents(&self.cluster).await)
        })
        .await;
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == json!("True"))
}
