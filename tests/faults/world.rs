//! One run's control plane: two API servers, three processes of controllers, a database and a broker of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::sync::Mutex;

use crate::cluster_link::ClusterLink;
use crate::database_link::DatabaseLink;
use crate::ground::Ground;
use crate::system::{Api, Broker, Database, MINUTE, Process, document, eventually, free_port, random, tokens, when};

pub const API_SERVERS: usize = 2;
pub const CONTROLLERS: usize = 3;
/// What checks read from the logs of controllers, beside what is logged anyway.
const LOGGED: &str = "info,threeport_sdk::controller::dispatch=debug";

pub struct World {
    pub ground: Arc<Ground>,
    pub database_link: DatabaseLink,
    pub cluster_link: ClusterLink,
    pub database: Database,
    pub broker: Mutex<Broker>,
    /// The API servers, then the controllers.
    pub processes: Vec<Mutex<Process>>,
    pub apis: Vec<Api>,
    /// When which process stood still.
    pub stops: std::sync::Mutex<Vec<Stop>>,
    pub folder: PathBuf,
}

/// A SIGSTOP and its SIGCONT.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    pub process: usize,
    pub from: std::time::SystemTime,
    pub to: std::time::SystemTime,
}

impl World {
    /// Starts one with the ground's cluster as its default runtime.
    pub async fn start(ground: Arc<Ground>, folder: &Path) -> Self {
        let database_link = DatabaseLink::start(ground.postgres_port).await;
        let cluster_link = ClusterLink::start(&ground.kubernetes.directory, ground.kubernetes.port).await;
        let database = {
            let postgres = ground.postgres.lock().await;
            Database::create(postgres.as_ref().expect("no fault has begun")).await
        };
        let broker = Broker::start(folder).await;
        let user_token = random();
        tokens::write(folder, &user_token);
        let mut world = Self {
            ground,
            database_link,
            cluster_link,
            database,
            broker: Mutex::new(broker),
            processes: Vec::new(),
            apis: Vec::new(),
            stops: std::sync::Mutex::default(),
            folder: folder.to_owned(),
        };
        for index in 0..API_SERVERS {
            let address = world.start_api_server(index).await;
            world.apis.push(Api::connect(&address, &user_token));
        }
        for index in 0..CONTROLLERS {
            world.start_controllers(index).await;
        }
        world.register_cluster().await;
        world
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).to_string_lossy().into_owned()
    }

    async fn start_api_server(&mut self, index: usize) -> String {
        let password = &self.ground.postgres_password;
        let name = self.database.url.rsplit('/').next().expect("URLs of databases have a path");
        let nats_url = self.broker.lock().await.url.clone();
        let arguments = [
            // The port is kept: clients find it again after a crash.
            ("--listen", format!("127.0.0.1:{}", free_port())),
            ("--database-url", cli::local::postgres::url(self.database_link.port, password, name)),
            ("--nats-url", nats_url),
            ("--encryption-key-file", self.path("encryption-key")),
            ("--user-token-file", self.path("user-token")),
            ("--controller-token-file", self.path("controller-token")),
        ];
        let address = format!("http://{}", arguments[0].1);
        self.start_process(&format!("api-server-{index}"), "threeport-api-server", &arguments).await;
        address
    }

    async fn start_controllers(&mut self, index: usize) {
        let arguments = [
            ("--server", self.apis[index % API_SERVERS].address.clone()),
            ("--token-file", self.path("controller-token")),
            ("--nats-url", self.broker.lock().await.url.clone()),
            ("--listen", "127.0.0.1:0".to_owned()),
        ];
        self.start_process(&format!("controllers-{index}"), "threeport-controllers", &arguments).await;
    }

    async fn start_process(&mut self, name: &str, program: &'static str, arguments: &[(&str, String)]) {
        let arguments = arguments.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
        let mut process = Process::new(&self.folder, name, program, &arguments.collect::<Vec<_>>());
        process.set_environment("RUST_LOG", LOGGED);
        process.start_again();
        process.address().await;
        self.processes.push(Mutex::new(process));
    }

    async fn register_cluster(&self) {
        let direct = format!(":{}\"", self.ground.kubernetes.port);
        let linked =
            self.ground.kubernetes.cluster.kubeconfig.replace(&direct, &format!(":{}\"", self.cluster_link.port));
        let runtime = document("kubernetes-runtime-instance", "local", json!({ "kubeconfig": linked }));
        let project = document("project", "default", json!({ "default_runtime": "local" }));
        self.apis[0].apply(&[runtime, project]).await.expect("the sandbox's kubeconfig has inline data only");
        self.apis[0].wait_ready("kubernetes-runtime-instance", "local").await;
    }

    /// kill -9 of a process of ours, and a start with this plan of failpoints after the pause.
    pub async fn kill(&self, process: usize, pause: Duration, failpoints: &str) {
        let mut process = self.processes[process].lock().await;
        process.kill();
        process.set_environment("FAILPOINTS", failpoints);
        tokio::time::sleep(pause).await;
        process.start_again();
    }

    /// SIGSTOP of a process of ours, and SIGCONT after the pause.
    pub async fn stop(&self, index: usize, pause: Duration) {
        let process = self.processes[index].lock().await;
        let from = std::time::SystemTime::now();
        process.signal(Signal::SIGSTOP);
        tokio::time::sleep(pause).await;
        process.signal(Signal::SIGCONT);
        let stop = Stop { process: index, from, to: std::time::SystemTime::now() };
        self.stops.lock().expect("nobody panics with it").push(stop);
    }

    /// Starts again, without failpoints, whatever has ended: by a failpoint, or for want of a database when it started.
    pub fn revive(&self) {
        for process in &self.processes {
            let Ok(mut process) = process.try_lock() else { continue };
            if process.has_ended() {
                process.set_environment("FAILPOINTS", "");
                process.start_again();
            }
        }
    }

    /// Makes everything run as if there had never been a fault.
    pub async fn heal(&self) {
        self.ground.kubernetes.heal().await;
        self.cluster_link.set(None);
        self.database_link.cut_answer_after(-1);
        for process in &self.processes {
            let mut process = process.lock().await;
            if process.environment("FAILPOINTS").is_some_and(|plan| !plan.is_empty()) {
                process.set_environment("FAILPOINTS", "");
                process.kill();
                process.start_again();
            }
        }
        eventually("all processes are ready", MINUTE, async || {
            self.revive();
            for process in &self.processes {
                let process = process.lock().await;
                let address = process.last_address().unwrap_or_default();
                let answer = reqwest::get(format!("http://{address}/readyz")).await;
                when(answer.is_ok_and(|answer| answer.status().is_success()), &process.name)?;
            }
            Ok(())
        })
        .await;
    }
}
