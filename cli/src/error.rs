//! How commands fail, and what the shell learns of it.

use threeport_sdk::Error;

/// Refused, or failed.
pub const FAILED: u8 = 1;
/// Called wrongly; clap uses the same.
pub const USAGE: u8 = 2;
/// Not there in time.
pub const TIMED_OUT: u8 = 5;

/// The command was called wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TimedOut(pub String);

/// The exit code that tells a script what went wrong.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return USAGE;
        }
        if cause.is::<TimedOut>() || matches!(cause.downcast_ref(), Some(Error::Timeout(_))) {
            return TIMED_OUT;
        }
    }
    FAILED
}

/// Whether the reader of our output has gone, as `| head` does.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_exit_code_is_found_below_any_context() {
        let timeout = Error::Timeout(std::time::Duration::from_secs(1));
        let late = Err::<(), _>(timeout).context("waiting").unwrap_err();
        assert_eq!(exit_code(&late), TIMED_OUT);
        assert_eq!(exit_code(&anyhow!(Usage("no such kind".into())).context("reading")), USAGE);
        assert_eq!(exit_code(&anyhow!("refused")), FAILED);
    }
}
