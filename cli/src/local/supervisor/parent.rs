//! The conversation of the supervisor with the `tptctl up` that started it, over its stdin and stdout.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;

/// What `up` writes once it has done its own part: from then on the supervisor stays.
pub const KEEP: &str = "keep";

/// What the supervisor writes, one JSON value a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    Step(String),
    /// Everything runs.
    Ready,
    /// Everything is stopped again.
    Failed(String),
    /// Another supervisor has this control plane.
    Busy,
}

/// Tells `up`, if it still listens.
pub fn tell(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}

/// The other end.
pub struct Parent {
    lines: Lines<BufReader<Receiver>>,
}

impl Parent {
    pub fn on_stdin() -> Result<Self> {
        let pipe = std::io::stdin().as_fd().try_clone_to_owned().context("sharing stdin")?;
        let pipe = Receiver::from_owned_fd(pipe).context("stdin is no pipe; only `tptctl up` starts a supervisor")?;
        Ok(Self { lines: BufReader::new(pipe).lines() })
    }

    /// Completes when it goes away before it has said [`KEEP`].
    pub async fn gone(&mut self) -> anyhow::Error {
        match self.lines.next_line().await {
            Ok(Some(line)) => anyhow!("`tptctl up` said `{line}` too early"),
            _ => anyhow!("`tptctl up` went away"),
        }
    }

    /// Waits for [`KEEP`].
    pub async fn keeps(&mut self) -> Result<()> {
        match self.lines.next_line().await {
            Ok(Some(line)) if line == KEEP => Ok(()),
            _ => bail!("`tptctl up` went away"),
        }
    }
}
