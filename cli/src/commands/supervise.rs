//! `tptctl supervise`: the process that `tptctl up` leaves behind. Not for people.

use anyhow::{Context, Result};
use clap::Args;

use crate::local::instance::Instance;
use crate::local::supervisor;
use crate::session::Session;

/// Supervise a control plane's processes
#[derive(Args, Debug)]
pub struct Supervise {
    name: String,
    /// Removes everything if the start fails
    #[arg(long)]
    first: bool,
}

/// Lets go of the terminal and of whatever descriptors were inherited: a lock held by a caller's shell would otherwise
/// stay held for as long as the control plane runs.
pub fn detach() -> Result<()> {
    let inherited: Vec<i32> = std::fs::read_dir("/dev/fd")
        .context("listing open files")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in inherited {
        // One of them was the listing itself.
        let _ = nix::unistd::close(descriptor);
    }
    nix::unistd::setsid().context("starting a session")?;
    Ok(())
}

impl Supervise {
    pub async fn run(self, _session: &Session) -> Result<()> {
        supervisor::supervise(&Instance::named(&self.name)?, self.first).await
    }
}
