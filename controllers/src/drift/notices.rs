//! Which findings wake an instance, and when to look again. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Drift must last this long: a reconcile in another replica may be about to store what it did.
pub const SECOND_LOOK: Duration = Duration::from_millis(250);
/// The same finding wakes an instance again only after this long: its reconcile knows, and backs off by itself.
const SAME_AGAIN: Duration = Duration::from_secs(30);
/// What nothing can be done about is looked at ever more seldom.
const UNSETTLED_LAST: Duration = Duration::from_mins(10);

/// A reason must last this long: much passes while things start.
const REASON_LASTS: Duration = Duration::from_secs(2);
/// Reasons that go on changing wake an instance at doubling distances up to this.
const SELDOM: Duration = Duration::from_mins(5);
/// What wakes an instance at once more often than this in a minute is paced from then on.
const AT_ONCE: u32 = 12;
const MINUTE: Duration = Duration::from_mins(1);

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
    /// Since when something is there that isn't in its inventory, or not yet.
    unsettled: HashMap<String, Instant>,
    /// The last wake for a mere reason, and how long to leave the instance alone from then on.
    paced: HashMap<String, (Instant, Duration)>,
    /// Since when wakes at once are counted, and how many there were.
    at_once: HashMap<String, (Instant, u32)>,
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
        self.unsettled.remove(id);
        // Of all: one that is deleted meanwhile is never found the same.
        self.paced.retain(|_, (woken_at, _)| now.duration_since(*woken_at) <= SELDOM * 2);
        self.at_once.retain(|_, (since, _)| now.duration_since(*since) <= MINUTE);
    }

    /// Something of the instance differs.
    pub fn differs(&mut self, id: &str, finding: String, urgency: Urgency, now: Instant) -> Next {
        self.unsettled.remove(id);
        let is_restless = self.at_once.get(id).is_some_and(|(_, count)| *count >= AT_ONCE);
        let urgency = if urgency == Urgency::AtOnce && is_restless { Urgency::Paced } else { urgency };
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
        if urgency == Urgency::AtOnce {
            self.at_once.entry(id.to_owned()).or_insert((now, 0)).1 += 1;
        }
        if urgency == Urgency::Paced {
            let pause = self.paced.get(id).map_or(REASON_LASTS, |(_, pause)| (*pause * 2).min(SELDOM));
            self.paced.insert(id.to_owned(), (now, pause));
        }
        Next::Wake
    }

    /// Something is there that no inventory knows, or not yet: when to look again, at first after this long.
    pub fn is_unsettled(&mut self, id: &str, first: Duration, now: Instant) -> Duration {
        self.found.remove(id);
        let since = *self.unsettled.entry(id.to_owned()).or_insert(now);
        now.duration_since(since).clamp(first, UNSETTLED_LAST)
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
    fn health_that_flips_all_the_time_wakes_ever_more_seldom() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let flips = (0..300).map(|second| {
            let now = start + Duration::from_secs(second);
            let woken = notices.differs("i", format!("health {second}"), Urgency::AtOnce, now) == Next::Wake;
            notices.is_same("i", now);
            u32::from(woken)
        });
        let wakes = flips.sum::<u32>();
        assert!((AT_ONCE..AT_ONCE * 6).contains(&wakes), "{wakes}");
    }

    #[test]
    fn what_has_to_stay_is_looked_at_at_doubling_distances() {
        const FIRST: Duration = Duration::from_secs(5);
        let (mut notices, start) = (Notices::default(), Instant::now());
        let mut after = Duration::ZERO;
        let mut look = || {
            let again = notices.is_unsettled("i", FIRST, start + after);
            after += again;
            again
        };
        let looks = (0..12).map(|_| look()).collect::<Vec<_>>();
        assert_eq!(looks[..4], [FIRST, FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(looks[11], UNSETTLED_LAST);
        notices.is_same("i", start + after);
        assert_eq!(notices.is_unsettled("i", FIRST, start + after), FIRST);
    }

    #[test]
    fn nothing_is_kept_of_instances_that_are_gone() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        notices.differs("gone", "reason".into(), Urgency::Paced, start);
        assert_eq!(notices.differs("gone", "reason".into(), Urgency::Paced, start + REASON_LASTS), Next::Wake);
        notices.is_same("other", start + SELDOM * 3);
        assert!(notices.paced.is_empty());
    }
}
