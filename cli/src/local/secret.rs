//! Random secrets in files that only their owner reads.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::TryRngCore;
use rand::rngs::OsRng;

/// 256 random bits.
pub fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes)
}

/// 256 random bits as hexadecimal digits.
pub fn random_text() -> Result<String> {
    let digits = random()?.map(|byte| format!("{byte:02x}"));
    Ok(digits.concat())
}

/// What the file holds; on first use, what `make` gives.
pub fn kept(path: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    if let Ok(text) = std::fs::read_to_string(path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let secret = make()?;
    write(path, &secret)?;
    Ok(secret.trim().to_owned())
}

/// Writes a file of mode 0600, whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let incomplete = path.with_extension("incomplete");
    let _ = std::fs::remove_file(&incomplete);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&incomplete)
        .with_context(|| format!("creating {}", incomplete.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", incomplete.display()))?;
    std::fs::rename(&incomplete, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_read_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let first = kept(&path, random_text).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(kept(&path, random_text).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
