//! A NATS server with `JetStream`.

use std::path::Path;

use anyhow::{Context, Result};

use super::process::{Process, ProcessSpec};
use super::readiness::Readiness;
use super::{Progress, directories, ports, servers};

/// A running NATS server; dropped, it ends.
#[derive(Debug)]
pub struct Nats {
    process: Process,
    port: u16,
}

impl Nats {
    /// Starts one with its store in `directory`.
    pub async fn start(directory: &Path, progress: &dyn Progress) -> Result<Self> {
        Self::start_on(directory, ports::free(1)?[0], progress).await
    }

    /// As [`Nats::start`], on this port: again after it was dropped, say.
    pub async fn start_on(directory: &Path, port: u16, progress: &dyn Progress) -> Result<Self> {
        let spec = spec(directory, &servers::nats_server(progress).await?, port)?;
        Ok(Self { process: Process::start_ready(spec).await?, port })
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// How clients reach it.
pub fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// How to run it: its store and configuration in `directory`.
pub fn spec(directory: &Path, program: &Path, port: u16) -> Result<ProcessSpec> {
    directories::create(directory)?;
    let configuration = directory.join("nats.conf");
    let store = directory.join("nats");
    // Losing hints costs nothing, so a second between syncs is plenty.
    let text = format!(
        "listen: 127.0.0.1:{port}\njetstream {{\n  store_dir: {:?}\n  max_file_store: 1G\n  sync_interval: 1s\n}}\n",
        store.display().to_string()
    );
    std::fs::write(&configuration, text).with_context(|| format!("writing {}", configuration.display()))?;
    Ok(ProcessSpec::new("nats", program.to_owned(), directory)
        .arguments(["--config", &configuration.display().to_string()])
        .port(port)
        .ready_when(Readiness::Greeting { port, text: "INFO" }))
}
