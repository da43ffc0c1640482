//! The servers below a system: Postgres, and Kubernetes with simulated nodes. All tests of one process share them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use cli::local::postgres::Postgres;
use cli::local::sandbox::Sandbox;
use cli::local::{Progress, directories, ports};
use tokio::sync::OnceCell;

use super::binaries;

pub struct Servers {
    pub postgres: Postgres,
    pub kubeconfig: String,
    /// Its kubectl.
    pub kubectl: PathBuf,
    /// What the sandbox consists of, by name and process id.
    pub kubernetes: Vec<(&'static str, u32)>,
    _sandbox: Mutex<Sandbox>,
}

/// Starts them when first asked for. They end with this process, and their folder is removed then.
pub async fn shared() -> &'static Servers {
    static SERVERS: OnceCell<Servers> = OnceCell::const_new();
    // Figures of the disk are not what tests are about.
    SERVERS.get_or_init(|| start(&["fsync=off", "max_connections=500"])).await
}

/// Starts them with these settings of Postgres.
pub async fn start(settings: &[&str]) -> Servers {
    // Before anything is timed.
    tokio::task::spawn_blocking(binaries::build_once).await.expect("our programs can be built");
    let folder = directories::scratch().expect("temporary folders can be made").keep();
    remove_after_us(&folder.to_string_lossy());
    let port = ports::free(1).expect("loopback has free ports")[0];
    let postgres = Postgres::start_on(&folder.join("postgres"), port, settings, &Told).await.expect("Postgres starts");
    let sandbox = Sandbox::start(&folder.join("kubernetes"), &Told).await.expect("the sandbox starts");
    Servers {
        postgres,
        kubeconfig: sandbox.kubeconfig().expect("it was written"),
        kubectl: sandbox.kubectl().to_owned(),
        kubernetes: sandbox.processes().iter().map(|process| (process.spec().name, process.id())).collect(),
        _sandbox: Mutex::new(sandbox),
    }
}

/// Statics are never dropped: a shell waits for the end of this process, which closes the pipe, and removes the folder.
#[expect(clippy::zombie_processes, reason = "it outlives us")]
fn remove_after_us(folder: &str) {
    let script = "read -r _; sleep 2; rm -rf \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", folder]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = shell.spawn().expect("every system has a shell");
    std::mem::forget(shell.stdin.take());
}

/// Building servers takes minutes at first: whoever runs the tests is told.
pub struct Told;

impl Progress for Told {
    #[expect(clippy::print_stderr, reason = "the runner of tests has no other place for it")]
    fn step(&self, message: &str) {
        eprintln!("{message}");
    }

    fn detail(&self, _message: &str) {}
}
