//! How commands fail, and what the shell learns of it.

use threeport_sdk::Error;

use crate::local::instance::Instance;

/// Refused, or failed.
pub const FAILED: u8 = 1;
/// Called wrongly; clap uses the same.
pub const USAGE: u8 = 2;
/// What is stored differs from what the files say.
pub const DIFFERS: u8 = 3;
/// Not there in time.
pub const TIMED_OUT: u8 = 5;
/// Not there because it is paused.
pub const PAUSED: u8 = 6;

/// The command was called wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// So many objects aren't as the files say: an answer, told by the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{} would change", crate::view::count(*.0, "object"))]
pub struct Differs(pub usize);

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TimedOut(pub String);

/// What was waited for is paused: it gets no further until somebody lets it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Paused(pub String);

/// The exit code that tells a script what went wrong.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return USAGE;
        }
        if cause.is::<Differs>() {
            return DIFFERS;
        }
        if cause.is::<Paused>() {
            return PAUSED;
        }
        if cause.is::<TimedOut>() || matches!(cause.downcast_ref(), Some(Error::Timeout(_))) {
            return TIMED_OUT;
        }
    }
    FAILED
}

/// What the user hears of a failure, with its causes; of a server that can't be reached, what starts it.
pub fn told(error: &anyhow::Error) -> String {
    let unreachable = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Error::Unreachable { server, .. }) => Some(server),
        _ => None,
    });
    let Some(server) = unreachable else { return format!("{error:#}") };
    let is_its =
        |plane: &Instance| plane.settings().and_then(|settings| settings.server()).is_ok_and(|own| own == *server);
    let plane = Instance::all().unwrap_or_default().into_iter().find(is_its);
    let advice = match plane {
        Some(plane) => format!("`tptctl up {0}` starts or repairs it, `tptctl status {0}` shows how it is", plane.name),
        None => "does it run, and is the address right?".to_owned(),
    };
    format!("can't reach the API server at {server}; {advice}")
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
