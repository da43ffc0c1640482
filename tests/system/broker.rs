//! A nats-server of a test's own, whose store may be thrown away.

use std::fs;
use std::path::{Path, PathBuf};

use cli::local::Silent;
use cli::local::nats::Nats;

use super::free_port;

pub struct Broker {
    pub url: String,
    nats: Option<Nats>,
    port: u16,
    folder: PathBuf,
}

impl Broker {
    pub async fn start(folder: &Path) -> Self {
        let (folder, port) = (folder.join("nats"), free_port());
        let nats = Nats::start_on(&folder, port, &Silent).await.expect("nats-server starts");
        Self { url: nats.url(), nats: Some(nats), port, folder }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.nats.as_ref().expect("it runs").process().id()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.nats = None;
    }

    /// Kills it and deletes all that it had stored.
    pub fn lose(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.folder).expect("its store is a folder of ours");
    }

    pub async fn start_again(&mut self) {
        self.nats = Some(Nats::start_on(&self.folder, self.port, &Silent).await.expect("nats-server starts"));
    }
}
