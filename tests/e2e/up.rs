//! `tptctl up` and `down`: a control plane of local processes that outlives its starter and leaves nothing behind.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use cli::local::directories;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::system::*;

/// A user's home, with nothing in it.
struct Home {
    folder: TempDir,
    tptctl: Tptctl,
}

impl Home {
    fn new() -> Self {
        let folder = directories::scratch().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let tptctl = Tptctl::without_context(folder.path())
            .with("THREEPORT_HOME", &path("planes"))
            .with("THREEPORT_CONFIG", &path("config.yaml"));
        Self { folder, tptctl }
    }

    /// Processes that were started for this home, as id and command line.
    fn processes(&self) -> Vec<(i32, String)> {
        let planes = self.folder.path().join("planes").to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(&planes) {
                found.push((id, command));
            }
        }
        found.sort();
        found
    }

    async fn is_empty(&self) {
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

#[tokio::test(flavor = "multi_thread")]
async fn up_is_idempotent_restarts_what_crashes_and_down_leaves_nothing() {
    let home = Home::new();
    let up = home.tptctl.run(&["up", "trial"]).await.ok();
    assert!(!up.text().contains("panicked"), "{up:#?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(home.folder.path().join("config.yaml")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let before = home.processes();
    home.tptctl.run(&["up", "trial"]).await.ok();
    assert_eq!(home.processes(), before, "a second up changed what runs");
    home.tptctl.run(&["status"]).await.ok();

    // What crashes comes again.
    let server = before.iter().find(|(_, command)| command.contains("threeport-api-server")).expect("it runs");
    kill(Pid::from_raw(server.0), Signal::SIGKILL).unwrap();
    let definition = definition("kept", &config_map("settings", "a", "b"));
    eventually("the API server answers again", MINUTE, async || {
        let applied = home.tptctl.apply(&file(std::slice::from_ref(&definition)), &[]).await;
        when(applied.code == 0, format!("{applied:?}"))
    })
    .await;

    home.tptctl.run(&["down", "trial"]).await.ok();
    home.is_empty().await;
    home.tptctl.run(&["up", "trial"]).await.ok();
    let kept = home.tptctl.run(&["get", "workload-definition", "-o", "name"]).await.ok();
    assert_eq!(kept.stdout.trim(), "workload-definition/kept");
    home.tptctl.run(&["down", "trial", "--delete-data"]).await.ok();
    home.is_empty().await;
    let left = fs::read_dir(home.folder.path().join("planes")).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "data is left");
    home.tptctl.run(&["down", "trial"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_up_leaves_nothing_behind() {
    let home = Home::new();
    for pause in [100, 700, 1500] {
        let mut up = Command::new(binary("tptctl"));
        up.args(["up", "trial"]).envs(home.tptctl.environment()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut up = up.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if up.try_wait().unwrap().is_some() {
            // This machine was faster than the interruption.
            home.tptctl.run(&["down", "trial", "--delete-data"]).await.ok();
            continue;
        }
        kill(Pid::from_raw(i32::try_from(up.id()).unwrap()), Signal::SIGINT).unwrap();
        let status = eventually("it ends when interrupted", MINUTE, async || {
            up.try_wait().unwrap().ok_or_else(|| "it runs".into())
        });
        assert!(!status.await.success());
        home.is_empty().await;
        let left = fs::read_dir(home.folder.path().join("planes")).map(Iterator::count).unwrap_or_default();
        assert_eq!(left, 0, "data is left after {pause} ms");
    }
}
