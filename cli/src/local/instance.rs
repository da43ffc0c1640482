//! One local control plane: its folder, settings and secrets.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::{directories, secret};

/// A local control plane by name; it need not exist.
#[derive(Clone, Debug)]
pub struct Instance {
    pub name: String,
    pub directory: PathBuf,
}

/// What a local control plane consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Also runs a simulated Kubernetes.
    pub sandbox: bool,
    /// A Postgres of the user's instead of our own.
    pub database_url: Option<String>,
    /// A NATS of the user's instead of our own.
    pub nats_url: Option<String>,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
    /// Where each server listens, by name.
    pub ports: BTreeMap<String, u16>,
    /// Our own programs, with a stamp that tells when they were replaced.
    pub programs: BTreeMap<PathBuf, String>,
}

/// The right to start a control plane, held until it is dropped.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    _file: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        // The folder of all control planes goes with the last one.
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

impl Settings {
    /// Whether a control plane that runs with these must be restarted to run with `wanted`.
    pub fn differs_from(&self, wanted: &Self) -> bool {
        let without_ports = |settings: &Self| Self { ports: BTreeMap::new(), ..settings.clone() };
        without_ports(self) != without_ports(wanted)
    }
}

impl Instance {
    pub fn named(name: &str) -> Result<Self> {
        let is_label = !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !is_label {
            bail!("`{name}` can't name a control plane; use a-z, 0-9 and - (at most 63, no - at the ends)");
        }
        Ok(Self { name: name.to_owned(), directory: directories::home()?.join(name) })
    }

    /// The names of all that exist.
    pub fn all() -> Result<Vec<Self>> {
        let Ok(entries) = std::fs::read_dir(directories::home()?) else { return Ok(Vec::new()) };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        let instances = names.iter().filter_map(|name| Self::named(name).ok());
        Ok(instances.filter(Self::exists).collect())
    }

    /// Whether it was ever started.
    pub fn exists(&self) -> bool {
        self.settings_path().is_file()
    }

    pub fn settings(&self) -> Result<Settings> {
        let path = self.settings_path();
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    pub fn save(&self, settings: &Settings) -> Result<()> {
        directories::create(&self.directory)?;
        secret::write(&self.settings_path(), &serde_json::to_string_pretty(settings).context("settings as JSON")?)
    }

    pub fn user_token(&self) -> Result<String> {
        secret::kept(&self.user_token_file(), secret::random_text)
    }

    pub fn user_token_file(&self) -> PathBuf {
        self.directory.join("user-token")
    }

    /// The file with the controllers' token, made on first use.
    pub fn controller_token_file(&self) -> Result<PathBuf> {
        let path = self.directory.join("controller-token");
        secret::kept(&path, secret::random_text)?;
        Ok(path)
    }

    /// The file with the key that secrets are encrypted with, as `id:base64`, made on first use.
    pub fn encryption_key_file(&self) -> Result<PathBuf> {
        let path = self.directory.join("encryption-key");
        secret::kept(&path, || Ok(format!("1:{}", BASE64_STANDARD.encode(secret::random()?))))?;
        Ok(path)
    }

    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub fn sandbox_directory(&self) -> PathBuf {
        self.directory.join("sandbox")
    }

    /// The lock that its supervisor holds as long as it lives; none if one does.
    pub fn try_lock(&self) -> Result<Option<File>> {
        lock(&self.directory.join(".lock"))
    }

    /// The turn of whoever starts it; none if somebody has it. It lies beside the folder, which a failed start removes.
    pub fn try_take_turn(&self) -> Result<Option<Turn>> {
        let path = self.sibling("starting");
        path.parent().map_or(Ok(()), directories::create)?;
        let Some(file) = lock(&path)? else { return Ok(None) };
        // Who had it before may have removed the file between our opening and our locking: then ours is nobody's.
        let is_current = match (file.metadata(), std::fs::metadata(&path)) {
            (Ok(ours), Ok(current)) => ours.ino() == current.ino(),
            _ => false,
        };
        Ok(is_current.then_some(Turn { path, _file: file }))
    }

    /// Whether a supervisor lives.
    pub fn is_supervised(&self) -> bool {
        let path = self.directory.join(".lock");
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    /// Moves the logs of a start that failed out of the folder, which goes; answers where they are now.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        let kept = self.kept_logs();
        remove_folder(&kept)?;
        std::fs::rename(self.logs(), &kept).with_context(|| format!("keeping the logs in {}", kept.display()))?;
        Ok(kept)
    }

    /// Removes the logs of a start that failed, if any.
    pub fn forget_logs(&self) -> Result<()> {
        remove_folder(&self.kept_logs())
    }

    fn kept_logs(&self) -> PathBuf {
        self.sibling("failed")
    }

    /// Beside its folder, with a name that no control plane has.
    fn sibling(&self, suffix: &str) -> PathBuf {
        self.directory.with_file_name(format!("{}.{suffix}", self.name))
    }

    /// Removes all that it has stored.
    pub fn remove(&self) -> Result<()> {
        // Out of the way in one step: a start that follows must not find half of it.
        let leaving = self.sibling("leaving");
        remove_folder(&leaving)?;
        match std::fs::rename(&self.directory, &leaving) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", self.directory.display()));
            }
            _ => remove_folder(&leaving)?,
        }
        // The folder of all control planes goes with the last one.
        if let Some(home) = self.directory.parent() {
            let _ = std::fs::remove_dir(home);
        }
        Ok(())
    }

    fn settings_path(&self) -> PathBuf {
        self.directory.join("settings.json")
    }
}

fn lock(path: &Path) -> Result<Option<File>> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_leave_the_folder() {
        for name in ["", "..", "a/b", "A", "-a", "a-"] {
            assert!(Instance::named(name).is_err(), "{name}");
        }
        assert!(Instance::named("demo-2").is_ok());
    }

    #[test]
    fn other_ports_alone_need_no_restart() {
        let running = Settings { sandbox: true, ..Settings::default() };
        let moved = Settings { ports: BTreeMap::from([("nats".into(), 4222)]), ..running.clone() };
        assert!(!running.differs_from(&moved));
        assert!(running.differs_from(&Settings::default()));
    }

    #[test]
    fn a_turn_outlives_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("planes/a");
        let instance = Instance { name: "a".into(), directory: directory.clone() };
        let turn = instance.try_take_turn().unwrap().unwrap();
        instance.save(&Settings::default()).unwrap();
        instance.remove().unwrap();
        assert!(!directory.exists() && instance.try_take_turn().unwrap().is_none());
        drop(turn);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        assert!(instance.try_take_turn().unwrap().is_some());
    }

    #[test]
    fn a_supervisor_is_known_by_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance { name: "a".into(), directory: directory.path().to_owned() };
        assert!(!instance.is_supervised());
        let lock = instance.try_lock().unwrap().unwrap();
        assert!(instance.is_supervised() && instance.try_lock().unwrap().is_none());
        drop(lock);
        assert!(!instance.is_supervised());
    }
}
