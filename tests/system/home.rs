//! A user who runs control planes of local processes.

use std::fs;

use cli::local::directories;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{MINUTE, Tptctl, eventually, when};

/// A user's home, with nothing in it.
pub struct Home {
    pub folder: TempDir,
    pub tptctl: Tptctl,
}

impl Home {
    pub fn new() -> Self {
        let folder = directories::scratch().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let tptctl = Tptctl::without_context(folder.path())
            .with("THREEPORT_HOME", &path("planes"))
            .with("THREEPORT_CONFIG", &path("config.yaml"));
        Self { folder, tptctl }
    }

    /// Processes that were started for this home, as id and command line.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let planes = self.folder.path().join("planes").to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let directory = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            // They come and go with connections, and end with their server.
            let is_backend = command.starts_with("postgres: ");
            if command.contains(&planes) || (directory.starts_with(&planes) && !is_backend) {
                found.push((id, command));
            }
        }
        found.sort();
        found
    }

    pub async fn is_empty(&self) {
        eventually("all its processes are gone", MINUTE, async || {
            let left = self.processes();
            when(left.is_empty(), format!("{left:#?}"))
        })
        .await;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for (id, _) in self.processes() {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
