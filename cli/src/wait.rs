//! Waiting for objects, with what is still to come shown while it lasts.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use threeport::v1::{ObjectReference, WaitResponse, WaitState};
use threeport_sdk::Client;

use crate::error::TimedOut;
use crate::local::Progress;
use crate::terminal::Terminal;
use crate::view;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Settled and Ready, with all that they own.
    Ready,
    /// Gone.
    Deleted,
}

/// Waits; fails when an object has given up, and with exit code 5 when the time is over.
pub async fn wait(
    client: &Client,
    objects: Vec<ObjectReference>,
    goal: Goal,
    timeout: Duration,
    terminal: &Terminal,
) -> Result<()> {
    let mut last: Option<WaitResponse> = None;
    let mut said = String::new();
    let mut states = std::pin::pin!(client.wait(objects, goal == Goal::Deleted, timeout));
    while let Some(state) = states.next().await {
        match state {
            Ok(state) => {
                let now = pending(&state.objects, goal, Detail::Reasons);
                if now != said && !state.done {
                    terminal.step(&format!("waiting for {now}"));
                    said = now;
                }
                last = Some(state);
            }
            Err(threeport_sdk::Error::Timeout(_)) => {
                terminal.settle();
                let waited = last.map(|last| pending(&last.objects, goal, Detail::Messages));
                let waited = waited.unwrap_or_else(|| "the objects".to_owned());
                bail!(TimedOut(format!("timed out after {} s waiting for {waited}", timeout.as_secs())));
            }
            Err(error) => return Err(error.into()),
        }
    }
    terminal.settle();
    let Some(last) = last.filter(|last| !last.succeeded) else { return Ok(()) };
    bail!(
        "not ready: {}; `tptctl describe` and `tptctl events` say more",
        pending(&last.objects, goal, Detail::Messages)
    )
}

/// How much is said of what is not there yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Reasons,
    Messages,
}

/// What is not there yet, each with its reason.
fn pending(objects: &[WaitState], goal: Goal, detail: Detail) -> String {
    let waiting: Vec<String> = objects
        .iter()
        .filter(|state| !is_there(state, goal))
        .map(|state| {
            let title = state.object.as_ref().map(view::reference).unwrap_or_default();
            let ready = state.ready.as_ref().filter(|ready| goal == Goal::Ready && !ready.reason.is_empty());
            match ready {
                // It speaks of what was before.
                Some(ready) if ready.status == "True" => format!("{title} (changing)"),
                Some(ready) if ready.message.is_empty() || detail == Detail::Reasons => {
                    format!("{title} ({})", ready.reason)
                }
                Some(ready) => format!("{title} ({}: {})", ready.reason, ready.message),
                None => title,
            }
        })
        .collect();
    waiting.join(", ")
}

fn is_there(state: &WaitState, goal: Goal) -> bool {
    match goal {
        Goal::Deleted => false,
        Goal::Ready => state.settled && state.ready.as_ref().is_none_or(|ready| ready.status == "True"),
    }
}

/// `90`, `90s`, `5m` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no time; write 90s, 5m or 1h"))?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(format!("`{text}` is no time; write 90s, 5m or 1h")),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use threeport::v1::Condition;

    use super::*;

    #[test]
    fn what_is_waited_for_is_named_with_its_reason() {
        let state = |name: &str, status: &str, settled| WaitState {
            object: Some(ObjectReference { kind: "workload".into(), name: name.into(), ..Default::default() }),
            settled,
            ready: Some(Condition {
                status: status.into(),
                reason: "RolloutInProgress".into(),
                message: "1 of 2 up".into(),
                ..Condition::default()
            }),
            deleted: false,
        };
        let states = [state("a", "True", true), state("b", "False", true), state("c", "True", false)];
        assert_eq!(
            pending(&states, Goal::Ready, Detail::Messages),
            "workload/b (RolloutInProgress: 1 of 2 up), workload/c (changing)"
        );
        assert_eq!(pending(&states[..2], Goal::Ready, Detail::Reasons), "workload/b (RolloutInProgress)");
        assert_eq!(pending(&states[..1], Goal::Deleted, Detail::Messages), "workload/a");
    }

    #[test]
    fn times_have_units() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!([seconds("90"), seconds("90s"), seconds("5m"), seconds("1h")], [Ok(90), Ok(90), Ok(300), Ok(3600)]);
        assert!(seconds("soon").is_err() && seconds("5d").is_err());
    }
}
