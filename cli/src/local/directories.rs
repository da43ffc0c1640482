//! Where local control planes and built servers live.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::account::is_root;

/// Overrides where local control planes live.
pub const HOME_VARIABLE: &str = "THREEPORT_HOME";

/// The folder of all local control planes: `$THREEPORT_HOME`, else the user's data directory.
///
/// Root's is `/var/lib/threeport`, for the account that runs Postgres can't enter root's home.
pub fn home() -> Result<PathBuf> {
    if let Some(home) = variable(HOME_VARIABLE) {
        return std::path::absolute(&home).with_context(|| format!("{} is no directory", home.display()));
    }
    if let Some(data) = variable("XDG_DATA_HOME") {
        return Ok(data.join("threeport"));
    }
    if is_root() {
        return Ok("/var/lib/threeport".into());
    }
    Ok(user_home()?.join(".local/share/threeport"))
}

/// The folder of what can be made again: `$XDG_CACHE_HOME/threeport`.
pub fn cache() -> Result<PathBuf> {
    let base = match variable("XDG_CACHE_HOME") {
        Some(cache) => cache,
        None => user_home()?.join(".cache"),
    };
    Ok(base.join("threeport"))
}

/// Makes a folder that others may pass through on their way to a file of theirs, but not list.
pub fn create(path: &Path) -> Result<()> {
    let mode = if is_root() { 0o711 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(path).with_context(|| format!("creating {}", path.display()))
}

/// A folder for a test: like [`tempfile::tempdir`], but one that the account of Postgres can pass through.
pub fn scratch() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("threeport-")
        .permissions(Permissions::from_mode(0o711))
        .tempdir()
        .context("creating a temporary directory")
}

fn user_home() -> Result<PathBuf> {
    variable("HOME").context("HOME is not set; set it, or THREEPORT_HOME and XDG_CACHE_HOME")
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
