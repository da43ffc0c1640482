//! The private folder of one operation: credentials, values and all that Helm writes, gone with it.

use std::fs::{OpenOptions, Permissions};
use std::io::{Result, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::kill;
use nix::unistd::{Pid, getuid};
use serde_json::json;
use threeport::v1::RepositoryCredentials;

use super::{OURS, Target};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Below the system's folder for temporary files; the process id of who made it follows.
const PREFIX: &str = "threeport-helm-";
/// What Helm may know of our environment: how to get out to repositories.
const PASSED_ON: &[&str] = &[
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

pub struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Result<Self> {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let private = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir().map(Self)
    }

    /// One from which Helm reaches the target's cluster.
    pub fn of(target: &Target) -> Result<Self> {
        let folder = Self::new()?;
        folder.write("kubeconfig", &target.kubeconfig)?;
        Ok(folder)
    }

    /// Writes a file that only we can read; answers its path.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.0.path().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(shown(&path))
    }

    /// The plugin that Helm hands what a chart renders to: this program again.
    pub fn write_plugin(&self, post_render: &str) -> Result<()> {
        let settings = self.write("post-render.json", post_render)?;
        let command = json!({ "command": shown(&std::env::current_exe()?), "args": ["helm-post-render", settings] });
        let plugin = json!({
            "apiVersion": "v1", "name": OURS, "version": "1.0.0", "type": "postrenderer/v1", "runtime": "subprocess",
            "runtimeConfig": { "platformCommand": [command] },
        });
        std::fs::create_dir_all(self.0.path().join("plugins").join(OURS))?;
        self.write(&format!("plugins/{OURS}/plugin.yaml"), &plugin.to_string()).map(drop)
    }

    /// Lets Helm into the registry of an `oci://` repository.
    pub fn write_registry_login(&self, repo: &str, credentials: &RepositoryCredentials) -> Result<()> {
        let rest = repo.trim_start_matches("oci://");
        let host = rest.split_once('/').map_or(rest, |(host, _)| host);
        let login = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
        let has_login = !credentials.username.is_empty();
        let logins = if has_login { json!({ host: { "auth": login } }) } else { json!({}) };
        self.write("registry.json", &json!({ "auths": logins }).to_string()).map(drop)
    }

    /// Where archives of charts go.
    pub fn chart_folder(&self) -> Result<String> {
        let path = self.0.path().join("chart");
        std::fs::create_dir_all(&path)?;
        Ok(shown(&path))
    }

    /// The archive that was fetched.
    pub fn chart(&self) -> Result<String> {
        let archive = std::fs::read_dir(self.chart_folder()?)?.next();
        archive.ok_or_else(|| std::io::Error::other("no chart was fetched"))?.map(|entry| shown(&entry.path()))
    }

    /// All that a process in it is told by its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let below = |name: &str| shown(&self.0.path().join(name));
        let places = [
            ("HOME", ""),
            ("TMPDIR", ""),
            ("KUBECONFIG", "kubeconfig"),
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
            ("HELM_PLUGINS", "plugins"),
            ("HELM_REGISTRY_CONFIG", "registry.json"),
            ("HELM_REPOSITORY_CONFIG", "repositories.yaml"),
            ("HELM_REPOSITORY_CACHE", "repositories"),
        ];
        let passed = PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        places.into_iter().map(|(name, place)| (name.to_owned(), below(place))).chain(passed).collect()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Removes what processes that were killed have left behind.
pub fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_left_behind) {
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what an earlier process had left behind"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what an earlier process left can't be removed");
            }
        }
    }
}

/// A folder of ours whose maker no longer runs.
fn is_left_behind(path: &PathBuf) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<i32>().ok());
    let is_ours = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == getuid().as_raw());
    is_ours && maker.is_some_and(|maker| kill(Pid::from_raw(maker), None) == Err(nix::errno::Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_we_can_read_what_is_in_it_and_it_goes() {
        let folder = Folder::new().unwrap();
        let path = folder.write("secret", "hunter2").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(Path::new(&path)), mode(folder.0.path())), (0o600, 0o700));
        drop(folder);
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn what_a_dead_process_left_is_told_from_what_a_living_one_has() {
        let make = |prefix: &str| tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        // No process has so high an id.
        let (dead, living) = (make(&format!("{PREFIX}2147483000-")), make(&format!("{PREFIX}{}-", std::process::id())));
        assert!(is_left_behind(&dead.path().to_owned()) && !is_left_behind(&living.path().to_owned()));
        assert!(!is_left_behind(&make("other-").path().to_owned()));
    }

    #[test]
    fn credentials_go_to_the_registry_of_the_repository() {
        let folder = Folder::new().unwrap();
        let credentials = RepositoryCredentials { username: "u".into(), password: "p".into(), ..Default::default() };
        folder.write_registry_login("oci://127.0.0.1:5000/charts", &credentials).unwrap();
        let text = std::fs::read_to_string(folder.0.path().join("registry.json")).unwrap();
        assert_eq!(text, r#"{"auths":{"127.0.0.1:5000":{"auth":"dTpw"}}}"#);
    }
}
