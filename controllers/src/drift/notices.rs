//! Which findings wake an instance, and when to look again. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Drift must last this long: a reconcile in another replica may be about to store what it did.
pub const SECOND_LOOK: Duration = Duration::from_millis(250);
/// The same finding wakes an instance again only after this long: its reconcile knows, and backs off by itself.
const SAME_AGAIN: Duration = Duration::from_secs(30);
/// Objects that no inventory knows may get one, or a tombstone; what has to stay is looked at ever more seldom.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(5);
const UNKNOWN_LAST: Duration = Duration::from_mins(10);

/// A reason must last this long: much passes while things start.
const REASON_LASTS: Duration = Duration::from_secs(2);
/// Reasons that go on changing wake an instance at doubling distances up to this.
const SELDOM: Duration = Duration::from_mins(5);

/// How soon a finding wakes its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    AtOnce,
    /// Once it has been found again.
    Lasting,
    /// Once it has lasted for a while, and ever more seldom if there is always another one.
    Paced,
}

/// What to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Wake,
    /// Nothing new, or too new: compare again after this long.
    LookAgain(Duration),
}

/// Findings that wait for a second look, that have woken their instance, or that nothing can be done about.
#[derive(Debug, Default)]
pub struct Notices {
    found: HashMap<String, Notice>,
    /// Since when.
    unknown: HashMap<String, Instant>,
    /// The last wake for a mere reason, and how long to leave the instance alone from then on.
    paced: HashMap<String, (Instant, Duration)>,
}

#[derive(Debug)]
struct Notice {
    finding: String,
    since: Instant,
    woken_at: Option<Instant>,
}

impl Notices {
    /// The instance is as it should be.
    pub fn is_same(&mut self, id: &str, now: Instant) {
        self.found.remove(id);
        self.unknown.remove(id);
        if self.paced.get(id).is_some_and(|(woken_at, _)| now.duration_since(*woken_at) > SELDOM * 2) {
            self.paced.remove(id);
        }
    }

    /// Something of the instance differs.
    pub fn differs(&mut self, id: &str, finding: String, urgency: Urgency, now: Instant) -> Next {
        self.unknown.remove(id);
        let fresh = Notice { finding, since: now, woken_at: None };
        let notice = match self.found.remove(id) {
            Some(known) if known.finding == fresh.finding => known,
            _ => fresh,
        };
        let notice = self.found.entry(id.to_owned()).or_insert(notice);
        let (from, wait) = match (notice.woken_at, urgency) {
            (Some(woken_at), _) => (woken_at, SAME_AGAIN),
            (None, Urgency::AtOnce) => (notice.since, Duration::ZERO),
            (None, Urgency::Lasting) => (notice.since, SECOND_LOOK),
            (None, Urgency::Paced) => (notice.since, REASON_LASTS),
        };
        let mut left = wait.saturating_sub(now.duration_since(from));
        if urgency == Urgency::Paced {
            left = left.max(
                self.paced
                    .get(id)
                    .map_or(Duration::ZERO, |(woken_at, pause)| pause.saturating_sub(now.duration_since(*woken_at))),
            );
        }
        if !left.is_zero() {
            return Next::LookAgain(left);
        }
        notice.woken_at = Some(now);
        if urgency == Urgency::Paced {
            let pause = self.paced.get(id).map_or(REASON_LASTS, |(_, pause)| (*pause * 2).min(SELDOM));
            self.paced.insert(id.to_owned(), (now, pause));
        }
        Next::Wake
    }

    /// No inventory knows the instance: when to look again.
    pub fn is_unknown(&mut self, id: &str, now: Instant) -> Duration {
        self.found.remove(id);
        let since = *self.unknown.entry(id.to_owned()).or_insert(now);
        now.duration_since(since).clamp(UNKNOWN_AGAIN, UNKNOWN_LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_wakes_at_the_second_look_and_then_seldom() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let mut differs = |after| notices.differs("i", "missing".into(), Urgency::Lasting, start + after);
        assert_eq!(differs(Duration::ZERO), Next::LookAgain(SECOND_LOOK));
        assert_eq!(differs(SECOND_LOOK / 2), Next::LookAgain(SECOND_LOOK / 2), "another event is no second look");
        assert_eq!(differs(SECOND_LOOK), Next::Wake);
        assert_eq!(differs(SECOND_LOOK * 2), Next::LookAgain(SAME_AGAIN.checked_sub(SECOND_LOOK).unwrap()));
        assert_eq!(differs(SECOND_LOOK + SAME_AGAIN), Next::Wake);
    }

    #[test]
    fn another_finding_counts_from_the_beginning() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        assert_eq!(notices.differs("i", "health".into(), Urgency::AtOnce, now), Next::Wake);
        assert_eq!(notices.differs("i", "other".into(), Urgency::AtOnce, now), Next::Wake);
        assert_eq!(notices.differs("i", "missing".into(), Urgency::Lasting, now), Next::LookAgain(SECOND_LOOK));
    }

    #[test]
    fn reasons_that_go_on_changing_wake_at_doubling_distances() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let (mut wakes, mut second) = (Vec::new(), 0);
        while second < 600 {
            // The reconcile stores what was found; the next reason is another.
            let found = format!("reason {}", wakes.len());
            if notices.differs("i", found, Urgency::Paced, start + Duration::from_secs(second)) == Next::Wake {
                wakes.push(second);
                notices.is_same("i", start + Duration::from_secs(second));
            }
            second += 1;
        }
        assert_eq!(wakes[..5], [2, 5, 9, 17, 33], "{wakes:?}");
        assert!(wakes.len() <= 10, "{wakes:?}");
    }

    #[test]
    fn what_has_to_stay_is_looked_at_at_doubling_distances() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let mut after = Duration::ZERO;
        let mut look = || {
            let again = notices.is_unknown("i", start + after);
            after += again;
            again
        };
        let looks = (0..12).map(|_| look()).collect::<Vec<_>>();
        assert_eq!(looks[..4], [UNKNOWN_AGAIN, UNKNOWN_AGAIN, UNKNOWN_AGAIN * 2, UNKNOWN_AGAIN * 4]);
        assert_eq!(looks[11], UNKNOWN_LAST);
        notices.is_same("i", start + after);
        assert_eq!(notices.is_unknown("i", start + after), UNKNOWN_AGAIN);
    }
}
