//! Waiting for objects, with what is still to come shown while it lasts.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use threeport::v1::{Condition, ObjectReference, WaitResponse, WaitState};
use threeport_sdk::Client;

use crate::error::{Paused, TimedOut};
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

/// Waits; fails when an object has given up, with exit code 5 when the time is over, with 6 when only what is paused is left.
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
                if is_paused(&state, goal) {
                    terminal.settle();
                    bail!(Paused(format!("paused:{}", causes(&state.objects, goal))));
                }
                let now = pending(&state.objects, goal);
                if now != said && !state.done {
                    terminal.step(&format!("waiting for {now}"));
                    said = now;
                }
                last = Some(state);
            }
            Err(threeport_sdk::Error::Timeout(_)) => {
                terminal.settle();
                let waited = last.map(|last| causes(&last.objects, goal));
                let waited = waited.unwrap_or_else(|| " the objects".to_owned());
                bail!(TimedOut(format!("timed out after {} s waiting for:{waited}", timeout.as_secs())));
            }
            Err(error) => return Err(error.into()),
        }
    }
    terminal.settle();
    let Some(last) = last.filter(|last| !last.succeeded) else { return Ok(()) };
    bail!("not ready:{}\n`tptctl describe` and `tptctl events` say more", causes(&last.objects, goal))
}

/// Whether nothing moves any more but what somebody has to let go on.
fn is_paused(state: &WaitResponse, goal: Goal) -> bool {
    let mut waiting = state.objects.iter().filter(|state| !is_there(state, goal)).peekable();
    let is_paused = |state: &WaitState| {
        state.settled && state.observed && state.ready.as_ref().is_some_and(|ready| ready.reason == "Paused")
    };
    goal == Goal::Ready && waiting.peek().is_some() && waiting.all(is_paused)
}

/// What is not there yet, each with its reason, on one line.
fn pending(objects: &[WaitState], goal: Goal) -> String {
    let waiting = objects.iter().filter(|state| !is_there(state, goal)).map(|state| {
        let title = state.object.as_ref().map(view::reference).unwrap_or_default();
        match said(state, goal) {
            Said::Nothing => title,
            Said::Past => format!("{title} (changing)"),
            Said::Ready(ready) => format!("{title} ({})", ready.reason),
        }
    });
    waiting.collect::<Vec<_>>().join(", ")
}

/// Why what is not there isn't: a line for each cause. An owner that only repeats what it owns is no cause of its own.
fn causes(objects: &[WaitState], goal: Goal) -> String {
    let waiting = objects.iter().filter(|state| !is_there(state, goal)).collect::<Vec<_>>();
    let message = |state: &WaitState| match said(state, goal) {
        Said::Ready(ready) => ready.message.clone(),
        _ => String::new(),
    };
    let repeats = |(place, state): (usize, &WaitState)| {
        let text = message(state);
        waiting.iter().enumerate().any(|(other, cause)| {
            let cause = message(cause);
            other != place && !cause.is_empty() && text.contains(&cause) && (text != cause || other > place)
        })
    };
    let lines = waiting.iter().enumerate().filter(|(place, state)| !repeats((*place, state))).map(|(_, state)| {
        let title = state.object.as_ref().map(view::reference).unwrap_or_default();
        match said(state, goal) {
            Said::Nothing => format!("\n  {title}"),
            Said::Past => format!("\n  {title}: changing"),
            Said::Ready(ready) if ready.message.is_empty() => format!("\n  {title}: {}", ready.reason),
            Said::Ready(ready) => format!("\n  {title}: {}: {}", ready.reason, ready.message),
        }
    });
    lines.collect()
}

/// What an object's Ready condition says of the wait.
enum Said<'a> {
    Nothing,
    /// Something of what was before.
    Past,
    Ready(&'a Condition),
}

fn said(state: &WaitState, goal: Goal) -> Said<'_> {
    match state.ready.as_ref().filter(|ready| goal == Goal::Ready && !ready.reason.is_empty()) {
        None => Said::Nothing,
        Some(ready) if ready.status == "True" || !state.observed => Said::Past,
        Some(ready) => Said::Ready(ready),
    }
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
    use super::*;

    fn state(name: &str, status: &str, settled: bool, message: &str) -> WaitState {
        let ready = Condition {
            status: status.into(),
            reason: "RolloutInProgress".into(),
            message: message.into(),
            ..Condition::default()
        };
        WaitState {
            object: Some(ObjectReference { kind: "workload".into(), name: name.into(), ..Default::default() }),
            settled,
            ready: Some(ready),
            deleted: false,
            observed: true,
        }
    }

    #[test]
    fn what_is_waited_for_is_named_with_its_reason() {
        let states =
            [state("a", "True", true, ""), state("b", "False", true, "1 of 2 up"), state("c", "True", false, "")];
        assert_eq!(pending(&states, Goal::Ready), "workload/b (RolloutInProgress), workload/c (changing)");
        assert_eq!(
            causes(&states, Goal::Ready),
            "\n  workload/b: RolloutInProgress: 1 of 2 up\n  workload/c: changing"
        );
        assert_eq!(pending(&states[..1], Goal::Deleted), "workload/a");
    }

    #[test]
    fn a_cause_is_told_once_and_never_of_what_was_before() {
        let owner = state("web", "False", true, "instance `eu`: no such image");
        let mut other = state("us", "False", false, "no such host");
        other.observed = false;
        let states = [owner, state("eu", "False", true, "no such image"), other];
        assert_eq!(
            causes(&states, Goal::Ready),
            "\n  workload/eu: RolloutInProgress: no such image\n  workload/us: changing"
        );
    }

    #[test]
    fn a_wait_is_over_when_only_what_is_paused_is_left() {
        let mut paused = state("web", "False", true, "is paused");
        paused.ready.as_mut().unwrap().reason = "Paused".into();
        let is_over = |states: &[WaitState]| {
            is_paused(&WaitResponse { objects: states.to_vec(), ..WaitResponse::default() }, Goal::Ready)
        };
        assert!(is_over(&[state("a", "True", true, ""), paused.clone()]));
        assert!(!is_over(&[state("b", "False", true, "up soon"), paused.clone()]));
        assert!(!is_over(&[state("a", "True", true, "")]));
        paused.settled = false;
        assert!(!is_over(&[paused]));
    }

    #[test]
    fn times_have_units() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!([seconds("90"), seconds("90s"), seconds("5m"), seconds("1h")], [Ok(90), Ok(90), Ok(300), Ok(3600)]);
        assert!(seconds("soon").is_err() && seconds("5d").is_err());
    }
}
