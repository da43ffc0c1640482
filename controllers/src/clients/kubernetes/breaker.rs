//! A breaker: once a cluster stops answering, calls fail at once until it answers again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// This many connection failures in a row open the breaker.
const FAILURES: u32 = 3;
/// Calls outstanding for this long, with no other answered meanwhile, are cause to ask whether the cluster is there at all:
/// one of them may just be slow.
const SILENCE: Duration = Duration::from_secs(4);
/// It isn't asked more often than this.
const ASK_EVERY: Duration = Duration::from_secs(3);
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

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    Answered,
    /// There was no connection, or it broke; why.
    Failed(&'a str),
    /// Neither answer nor failure: it was dropped, or took too long.
    Abandoned,
}

/// What the outstanding calls tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    Short,
    /// Long: whoever is told asks the cluster something that is answered at once, and says so to `asked`.
    Long,
    /// The breaker is open.
    Dead,
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
    asked_at: Option<Instant>,
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

    /// The end of a call.
    pub fn end(&self, now: Instant, end: End<'_>) {
        let mut state = self.locked();
        state.outstanding = state.outstanding.saturating_sub(1);
        match end {
            End::Answered => state.answered(now),
            End::Failed(why) => {
                state.failures += 1;
                if state.failures >= FAILURES {
                    state.open(why, now);
                }
            }
            End::Abandoned => {}
        }
    }

    /// Whether nothing has been answered for too long.
    pub fn silence(&self, now: Instant) -> Silence {
        let mut state = self.locked();
        if state.open.is_some() {
            return Silence::Dead;
        }
        let is_within = |since: Option<Instant>, limit| since.is_none_or(|since| now.duration_since(since) < limit);
        let is_silent = state.outstanding > 0 && !is_within(state.alive_at, SILENCE);
        let is_asked = state.asked_at.is_some() && is_within(state.asked_at, ASK_EVERY);
        if !is_silent || is_asked {
            return Silence::Short;
        }
        state.asked_at = Some(now);
        Silence::Long
    }

    /// Whether the cluster answered what it was asked because of a long silence. Opens if it did not.
    pub fn asked(&self, now: Instant, is_answered: bool) {
        let mut state = self.locked();
        if is_answered {
            state.answered(now);
        } else {
            state.open(&format!("no call was answered for {} s", SILENCE.as_secs()), now);
        }
    }

    pub fn is_open(&self) -> bool {
        self.locked().open.is_some()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answered(&mut self, now: Instant) {
        self.failures = 0;
        self.alive_at = Some(now);
        self.open = None;
    }

    fn open(&mut self, why: &str, now: Instant) {
        self.open.get_or_insert_with(|| Open { why: why.to_owned(), probed_at: now });
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
            breaker.end(now, End::Failed("connection refused"));
        }
        assert_eq!(breaker.start(now), Admission::Refused("connection refused".into()));
        let later = now + PROBE_EVERY;
        assert_eq!(breaker.start(later), Admission::Probe);
        assert!(matches!(breaker.start(later), Admission::Refused(_)), "one probe at a time");
        breaker.end(later, End::Answered);
        assert_eq!(breaker.start(later), Admission::Go);
    }

    #[test]
    fn an_answer_in_between_counts_from_zero() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.end(now, End::Failed("reset"));
            breaker.end(now, End::Answered);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_slow_call_alone_does_not_open_it_while_the_cluster_answers() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.start(start);
        assert_eq!(breaker.silence(start + SILENCE / 2), Silence::Short);
        assert_eq!(breaker.silence(start + SILENCE), Silence::Long);
        assert_eq!(breaker.silence(start + SILENCE), Silence::Short, "one asks for all");
        breaker.asked(start + SILENCE, true);
        for _ in 0..FAILURES {
            breaker.end(start + SILENCE * 2, End::Abandoned);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn silence_opens_it_when_the_cluster_does_not_answer_at_all() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.start(start);
        breaker.start(start);
        breaker.end(start + SILENCE / 2, End::Answered);
        assert_eq!(breaker.silence(start + SILENCE), Silence::Short, "another call was answered");
        assert_eq!(breaker.silence(start + SILENCE * 2), Silence::Long);
        breaker.asked(start + SILENCE * 2, false);
        assert_eq!(breaker.silence(start + SILENCE * 2), Silence::Dead);
    }
}
