//! Servers on this machine: Postgres, NATS and a simulated Kubernetes, each without Docker and without root.
//!
//! `tptctl up` supervises them; tests start them directly. Everything listens on loopback only, on a free port, and dies
//! with the process that started it (on Linux even when that is killed; elsewhere when it is dropped).

pub mod account;
pub mod directories;
pub mod given;
pub mod identity;
pub mod instance;
pub mod launcher;
pub mod nats;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod readiness;
pub mod sandbox;
pub mod secret;
pub mod servers;
pub mod services;
pub mod state;
pub mod supervisor;

/// Hears how far something long has come.
pub trait Progress: Send + Sync {
    /// A new step begins.
    fn step(&self, message: &str);
    /// The same step goes on; shown only where a line can be overwritten.
    fn detail(&self, message: &str);
}

/// Says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _message: &str) {}
    fn detail(&self, _message: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn postgres_keeps_its_data_over_a_restart() {
        let directory = directories::scratch().unwrap();
        let first = postgres::Postgres::start(directory.path(), &Silent).await.unwrap();
        let url = first.create_database("kept").await.unwrap();
        assert_eq!(first.create_database("kept").await.unwrap(), url);
        let port = first.port();
        drop(first);
        assert!(ports::is_free(port), "it still runs");
        let second = postgres::Postgres::start(directory.path(), &Silent).await.unwrap();
        assert!(tokio_postgres::connect(&second.url("kept"), tokio_postgres::NoTls).await.is_ok());
    }

    #[tokio::test]
    async fn nats_starts_on_a_port_of_its_own() {
        let directory = directories::scratch().unwrap();
        let nats = nats::Nats::start(directory.path(), &Silent).await.unwrap();
        assert!(!ports::is_free(nats.port()));
    }

    #[tokio::test]
    async fn a_sandbox_has_a_node_and_leaves_no_process() {
        let directory = directories::scratch().unwrap();
        let sandbox = sandbox::Sandbox::start(directory.path(), &Silent).await.unwrap();
        let kubeconfig = sandbox.kubeconfig_path().display().to_string();
        let arguments = ["--kubeconfig", &kubeconfig, "wait", "--for=condition=Ready", "node/node-1", "--timeout=30s"];
        let status = std::process::Command::new(sandbox.kubectl()).args(arguments).status().unwrap();
        assert!(status.success());
        let ports: Vec<u16> = sandbox.processes().iter().filter_map(|process| process.spec().port).collect();
        sandbox.stop();
        assert!(ports.into_iter().all(ports::is_free));
    }
}
