//! Finds programs on this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first executable of this name on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    in_directories(name, std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()))
}

/// The executable of this name beside the running one (where cargo and packages put them), else on the PATH.
pub fn beside_us(name: &str) -> Option<PathBuf> {
    let ours = std::env::current_exe().ok()?;
    // Tests and examples run from a folder below the one with the binaries.
    let near = ours.ancestors().skip(1).take(2).map(Path::to_path_buf);
    in_directories(name, near).or_else(|| on_path(name))
}

/// The first executable of this name in these directories.
pub fn in_directories(name: &str, directories: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    directories.into_iter().map(|directory| directory.join(name)).find(|path| is_executable(path))
}

/// What a program prints about its version; none if it can't be run.
pub fn version_line(program: &Path, argument: impl AsRef<OsStr>) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find(|line| line.chars().any(|character| character.is_ascii_digit())).map(str::to_owned)
}

/// The first `major.minor` in a text.
pub fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split(|character: char| !character.is_ascii_digit() && character != '.').find_map(|word| {
        let mut parts = word.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_wherever_they_stand() {
        assert_eq!(version_in("nats-server: v2.15.2"), Some((2, 15)));
        assert_eq!(version_in("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"), Some((15, 8)));
        assert_eq!(version_in("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version_in("no version here, only 7"), None);
    }
}
