//! Keeps logs bounded.

use std::path::Path;

/// Beyond this a log is cut; as much again stays in the file beside it.
const LIMIT: u64 = 10 * 1024 * 1024;

/// Moves a long log to `<log>.1`. The writer keeps its file, so the text is copied and the file emptied; it appends.
pub fn cut(log: &Path) {
    cut_beyond(log, LIMIT);
}

fn cut_beyond(log: &Path, limit: u64) {
    if log.metadata().is_ok_and(|metadata| metadata.len() <= limit) {
        return;
    }
    let moved = std::fs::copy(log, log.with_extension("log.1"))
        .and_then(|_| std::fs::OpenOptions::new().write(true).open(log)?.set_len(0));
    if let Err(error) = moved
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{} can't be cut: {error}", log.display());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_log_is_moved_aside_under_its_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut writer = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        writer.write_all(b"first").unwrap();
        cut_beyond(&path, 5);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        cut_beyond(&path, 4);
        writer.write_all(b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read(directory.path().join("a.log.1")).unwrap(), b"first");
    }
}
