//! A breaker: once a cluster stops answering, calls fail at once until it answers again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// This many connection failures in a row open the breaker.
const FAILURES: u32 = 3;
/// Calls outstanding for this long, with no other answered meanwhile, open it too.
const STALL: Duration = Duration::from_secs(4);
/// While open, one call in this time is let through to see.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What a call may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Go,
    /// Go, and expect little.
    Probe,
    /// The reason why the last calls failed.
    Refused(String),
}

/// The state of one cluster's connection.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
    /// The last answer, or the start of the first call since nothing was outstanding.
    alive_at: Option<Instant>,
    outstanding: u32,
}

#[derive(Debug)]
struct Open {
    why: String,
    probed_at: Instant,
}

impl Breaker {
    /// Asks to make a call at `now`; after `Go` and `Probe`, `end` must follow.
    pub fn start(&self, now: Instant) -> Admission {
        let mut state = self.locked();
        let admission = match &mut state.open {
            None => Admission::Go,
            Some(open) if now.duration_since(open.probed_at) >= PROBE_EVERY => {
                open.probed_at = now;
                Admission::Probe
            }
            Some(open) => return Admission::Refused(open.why.clone()),
        };
        if state.outstanding == 0 {
            state.alive_at = Some(now);
        }
        state.outstanding += 1;
        admission
    }

    /// The end of a call: `failure` says why there was no answer. Says whether the breaker changed.
    pub fn end(&self, now: Instant, failure: Option<&str>) -> bool {
        let mut state = self.locked();
        state.outstanding = state.outstanding.saturating_sub(1);
        match failure {
            None => {
                state.failures = 0;
                state.alive_at = Some(now);
                state.open.take().is_some()
            }
            Some(why) => {
                state.failures += 1;
                let opens = state.failures >= FAILURES && state.open.is_none();
                if opens {
                    state.open = Some(Open { why: why.to_owned(), probed_at: now });
                }
                opens
            }
        }
    }

    /// A call that was dropped: neither answer nor failure.
    pub fn abandon(&self) {
        let mut state = self.locked();
        state.outstanding = state.outstanding.saturating_sub(1);
    }

    /// Opens if nothing has been answered for too long. Says whether it is open.
    pub fn check_stall(&self, now: Instant) -> bool {
        let mut state = self.locked();
        let stalled = state.outstanding > 0 && state.alive_at.is_some_and(|alive| now.duration_since(alive) >= STALL);
        if stalled && state.open.is_none() {
            let why = format!("no call was answered for {} s", STALL.as_secs());
            state.open = Some(Open { why, probed_at: now });
        }
        state.open.is_some()
    }

    pub fn is_open(&self) -> bool {
        self.locked().open.is_some()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_one_answer_closes_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            assert_eq!(breaker.start(now), Admission::Go);
            breaker.end(now, Some("connection refused"));
        }
        assert_eq!(breaker.start(now), Admission::Refused("connection refused".into()));
        let later = now + PROBE_EVERY;
        assert_eq!(breaker.start(later), Admission::Probe);
        assert!(matches!(breaker.start(later), Admission::Refused(_)), "one probe at a time");
        assert!(breaker.end(later, None));
        assert_eq!(breaker.start(later), Admission::Go);
    }

    #[test]
    fn an_answer_in_between_counts_from_zero() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.end(now, Some("reset"));
            breaker.end(now, None);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn silence_opens_it_but_a_slow_call_among_others_does_not() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.start(start);
        breaker.start(start);
        breaker.end(start + Duration::from_secs(3), None);
        assert!(!breaker.check_stall(start + STALL), "another call was answered");
        assert!(breaker.check_stall(start + Duration::from_secs(3) + STALL));
    }
}
