//! When an object is looked at again after a Finish. Pure, but for the jitter that is passed in.

use std::time::Duration;

/// The first back-off; doubled with every failure in a row.
const BACK_OFF: Duration = Duration::from_millis(100);
const MAX_BACK_OFF: Duration = Duration::from_mins(5);
/// The bounds of a check-in: no object spins, none is forgotten.
const CHECK_IN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_hours(24));
/// A call of a holder that lost its lease has timed out after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    CheckIn(Duration),
    Retry,
    GiveUp,
}

/// The row of work before the Finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub done: i64,
    pub attempts: i32,
    /// Whether a cause was added since Begin.
    pub has_moved: bool,
    pub full_looks: i16,
}

/// The row of work after the Finish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextLook {
    pub done: i64,
    /// From now; none waits for a cause.
    pub due_in: Option<Duration>,
    pub attempts: i32,
    pub gave_up: bool,
    pub full_looks: i16,
}

/// `wanted` is what the reconcile answers for; `jitter` lies between 0 and 1.
pub fn next_look(outcome: Outcome, wanted: i64, standing: Standing, jitter: f64) -> NextLook {
    // A failed look says nothing: it is to be made again without trust.
    let has_looked = outcome != Outcome::Retry;
    let full_looks = standing.full_looks - i16::from(has_looked && standing.full_looks > 0);
    let mut next = NextLook {
        done: if has_looked { wanted.max(standing.done) } else { standing.done },
        due_in: None,
        attempts: 0,
        gave_up: false,
        full_looks,
    };
    match outcome {
        _ if standing.has_moved => next.due_in = Some(Duration::ZERO),
        Outcome::Done => {}
        Outcome::CheckIn(delay) => next.due_in = Some(delay.clamp(CHECK_IN.0, CHECK_IN.1)),
        Outcome::Retry => {
            next.due_in = Some(back_off(standing.attempts, jitter));
            next.attempts = standing.attempts.saturating_add(1);
        }
        Outcome::GiveUp => next.gave_up = true,
    }
    if full_looks > 0 {
        next.due_in = Some(next.due_in.map_or(CALL_TIMEOUT, |due_in| due_in.min(CALL_TIMEOUT)));
    }
    next
}

/// Between half and all of 100 ms doubled with every attempt, at most 5 minutes.
pub fn back_off(attempts: i32, jitter: f64) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(0).min(16);
    (BACK_OFF * 2u32.pow(doublings)).min(MAX_BACK_OFF).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = Standing { done: 3, attempts: 0, has_moved: false, full_looks: 0 };

    #[test]
    fn retries_back_off_and_answer_for_nothing() {
        let next = next_look(Outcome::Retry, 5, Standing { attempts: 3, ..STANDING }, 1.0);
        assert_eq!((next.done, next.attempts, next.due_in), (3, 4, Some(Duration::from_millis(800))));
        let next = next_look(Outcome::Retry, 5, Standing { attempts: 1000, ..STANDING }, 1.0);
        assert_eq!(next.due_in, Some(Duration::from_mins(5)));
        let next = next_look(Outcome::Retry, 5, STANDING, 0.0);
        assert_eq!(next.due_in, Some(Duration::from_millis(50)));
    }

    #[test]
    fn a_cause_since_begin_makes_it_due_at_once() {
        for outcome in [Outcome::Done, Outcome::CheckIn(Duration::from_secs(9)), Outcome::Retry, Outcome::GiveUp] {
            let next = next_look(outcome, 5, Standing { has_moved: true, attempts: 4, ..STANDING }, 0.5);
            assert_eq!((next.due_in, next.gave_up, next.attempts), (Some(Duration::ZERO), false, 0), "{outcome:?}");
        }
    }

    #[test]
    fn giving_up_waits_for_a_cause() {
        let next = next_look(Outcome::GiveUp, 5, STANDING, 0.5);
        assert_eq!((next.done, next.due_in, next.gave_up), (5, None, true));
    }

    #[test]
    fn a_takeover_looks_twice() {
        let first = next_look(Outcome::Done, 5, Standing { full_looks: 2, ..STANDING }, 0.5);
        assert_eq!((first.full_looks, first.due_in), (1, Some(CALL_TIMEOUT)));
        let failed = next_look(Outcome::Retry, 5, Standing { full_looks: 1, ..STANDING }, 0.5);
        assert_eq!(failed.full_looks, 1);
        let second = next_look(Outcome::Done, 5, Standing { full_looks: 1, ..STANDING }, 0.5);
        assert_eq!((second.full_looks, second.due_in), (0, None));
    }
}
