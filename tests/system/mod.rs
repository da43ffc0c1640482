//! A system of a test's own: database, broker, API servers and controllers as processes, on a cluster that tests share.
#![allow(dead_code, unused_imports, reason = "each program that includes this module uses another part of it")]

mod api;
mod binaries;
mod broker;
mod bytes_codec;
mod cluster;
mod cluster_calls;
mod database;
mod documents;
mod home;
mod process;
pub mod servers;
pub mod tokens;
mod tptctl;
mod widget;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cli::local::directories;
use serde_json::json;
use tempfile::TempDir;

pub use api::{Api, condition, json_of, refusal};
pub use binaries::binary;
pub use broker::Broker;
pub use bytes_codec::BytesCodec;
pub use cluster::Cluster;
pub use cluster_calls::{Calls, since};
pub use database::Database;
pub use documents::*;
pub use home::Home;
pub use process::Process;
use servers::Servers;
pub use tptctl::Tptctl;
pub use widget::{Widget, changed_widget_kind, widget_kind};

/// The limit of waits: generous, since machines vary. What the design promises is a twentieth of it or less.
pub const MINUTE: Duration = Duration::from_mins(1);

/// What a test wants to be different from one API server and one process of controllers.
#[derive(Clone, Debug)]
pub struct Setup {
    pub api_servers: usize,
    pub controllers: usize,
    pub otlp_endpoint: Option<String>,
    /// Calls a second by one identity; the server's own default without.
    pub rate_limit: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { api_servers: 1, controllers: 1, otlp_endpoint: None, rate_limit: None }
    }
}

pub struct System {
    /// Unique: part of the names of all that a test makes outside its own namespaces.
    pub tag: String,
    pub cluster: Cluster,
    pub database: Database,
    pub broker: Broker,
    pub api_servers: Vec<Process>,
    pub controllers: Vec<Process>,
    pub api: Api,
    pub tptctl: Tptctl,
    /// The program that fits the cluster.
    pub kubectl: PathBuf,
    setup: Setup,
    // Last: what runs in it goes first.
    pub folder: TempDir,
}

impl System {
    /// One API server, one process of controllers, and the cluster as the default runtime `local`.
    pub async fn start() -> System {
        Setup::default().start().await
    }

    /// Starts one more process of controllers.
    pub async fn add_controllers(&mut self) {
        let name = format!("controllers-{}", self.controllers.len());
        let mut arguments = vec!["--server".to_owned(), self.api.address.clone()];
        arguments.extend(["--token-file".to_owned(), self.path("controller-token")]);
        arguments.extend(["--nats-url".to_owned(), self.broker.url.clone()]);
        arguments.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        let helm = cli::local::servers::helm_path().expect("a cache can be made");
        arguments.extend(["--helm".to_owned(), helm.to_string_lossy().into_owned()]);
        arguments.extend(self.setup.otlp_endpoint.iter().flat_map(|url| ["--otlp-endpoint".to_owned(), url.clone()]));
        self.controllers.push(Process::start(self.folder.path(), &name, "threeport-controllers", &arguments).await);
    }

    /// The token that controllers call with.
    pub fn controller_token(&self) -> String {
        std::fs::read_to_string(self.path("controller-token")).expect("it was written")
    }

    /// The id that labels what this system makes in clusters.
    pub async fn control_plane(&self) -> String {
        self.database.text("SELECT id::text FROM control_plane").await
    }

    /// Everything that this system has in the cluster.
    pub async fn in_cluster(&self) -> BTreeSet<String> {
        self.cluster.all_of(&self.tag, &self.control_plane().await).await
    }

    /// The address of the API server at `index`, as a URL.
    pub async fn address(&mut self, index: usize) -> String {
        format!("http://{}", self.api_servers[index].address().await)
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_string_lossy().into_owned()
    }
}

impl Setup {
    /// On the servers that all tests share.
    pub async fn start(self) -> System {
        self.start_on(servers::shared().await).await
    }

    pub async fn start_on(self, servers: &Servers) -> System {
        let folder = directories::scratch().expect("temporary folders can be made");
        let database = Database::create(&servers.postgres).await;
        let broker = Broker::start(folder.path()).await;
        let user_token = random();
        tokens::write(folder.path(), &user_token);
        let mut api_servers = Vec::new();
        for index in 0..self.api_servers {
            api_servers.push(self.api_server(&folder, &format!("api-server-{index}"), &database, &broker).await);
        }
        let address = format!("http://{}", api_servers[0].address().await);
        let mut system = System {
            tag: random()[..8].to_owned(),
            cluster: Cluster::connect(servers.kubeconfig.clone()).await,
            api: Api::connect(&address, &user_token),
            tptctl: Tptctl::new(folder.path(), &address, &user_token),
            kubectl: servers.kubectl.clone(),
            api_servers,
            controllers: Vec::new(),
            database,
            broker,
            setup: self,
            folder,
        };
        for _ in 0..system.setup.controllers {
            system.add_controllers().await;
        }
        system.register_cluster().await;
        system
    }

    async fn api_server(&self, folder: &TempDir, name: &str, database: &Database, broker: &Broker) -> Process {
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        // The port is kept: clients find it again after a crash.
        let mut arguments = vec!["--listen".to_owned(), format!("127.0.0.1:{}", free_port())];
        arguments.extend(["--database-url".to_owned(), database.url.clone()]);
        arguments.extend(["--nats-url".to_owned(), broker.url.clone()]);
        arguments.extend(["--encryption-key-file".to_owned(), file("encryption-key")]);
        arguments.extend(["--user-token-file".to_owned(), file("user-token")]);
        arguments.extend(["--controller-token-file".to_owned(), file("controller-token")]);
        arguments.extend(["--tokens-file".to_owned(), file("tokens.json")]);
        arguments.extend(self.otlp_endpoint.iter().flat_map(|url| ["--otlp-endpoint".to_owned(), url.clone()]));
        arguments.extend(self.rate_limit.iter().flat_map(|rate| ["--rate-limit".to_owned(), rate.to_string()]));
        Process::start(folder.path(), name, "threeport-api-server", &arguments).await
    }
}

impl System {
    async fn register_cluster(&self) {
        let runtime =
            document("kubernetes-runtime-instance", "local", json!({ "kubeconfig": self.cluster.kubeconfig }));
        let project = document("project", "default", json!({ "default_runtime": "local" }));
        self.api.apply(&[runtime, project]).await.expect("the sandbox's kubeconfig has inline data only");
        if self.setup.controllers > 0 {
            self.api.wait_ready("kubernetes-runtime-instance", "local").await;
        }
    }
}

impl Drop for System {
    #[expect(clippy::print_stderr, reason = "the runner of tests shows it with the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let processes = self.api_servers.iter().chain(&self.controllers);
            eprintln!("{}", processes.map(Process::tail).collect::<String>());
        }
    }
}

/// Tries until `probe` succeeds; panics with what it said last when the limit is over.
pub async fn eventually<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if started.elapsed() > limit => panic!("not within {limit:?}: {what}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}

/// For probes: an error that shows what was seen.
pub fn when(holds: bool, seen: impl Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.to_string()) }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// 64 hexadecimal digits.
pub fn random() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
