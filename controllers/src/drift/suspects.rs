//! Instances to compare, and what their reconciles in this process are up to. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use threeport::v1::InventoryEntry;

use super::cache::KindKey;

/// What has changed is compared once more after this long: a reconcile of another replica may have seen what was before, and
/// have stored that after the first comparing.
const ONCE_MORE: Duration = Duration::from_secs(10);
/// What a reconcile is about to store counts as stored for this long.
const EXPECTED_FOR: Duration = Duration::from_secs(2);

/// Empty but for the reconciles in flight until the watch is held: only its holder compares.
#[derive(Debug, Default)]
pub struct Suspects {
    is_held: bool,
    due: HashMap<String, Instant>,
    once_more: HashMap<String, Instant>,
    in_flight: HashMap<String, u32>,
    expected: HashMap<String, (Instant, Vec<InventoryEntry>)>,
    /// Kinds that reconciles need followed.
    wanted_kinds: HashSet<KindKey>,
    /// Kinds listed for the first time: what their objects' instances miss is known only now.
    listed_kinds: HashSet<KindKey>,
    /// Instances of which something came to be autoscaled, or no longer is.
    woken: BTreeSet<String>,
}

/// What is to be looked at now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub suspects: Vec<String>,
    pub woken: Vec<String>,
}

impl Suspects {
    /// The watch is this process' from now on.
    pub fn hold(&mut self) {
        self.is_held = true;
    }

    /// The watch is no longer this process'.
    pub fn release(&mut self) {
        *self = Self { in_flight: std::mem::take(&mut self.in_flight), ..Self::default() };
    }

    pub fn begin(&mut self, instance_id: &str) {
        *self.in_flight.entry(instance_id.to_owned()).or_default() += 1;
    }

    pub fn end(&mut self, instance_id: &str, now: Instant) {
        if let Some(count) = self.in_flight.get_mut(instance_id) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(instance_id);
            }
        }
        self.suspect(instance_id, now);
    }

    /// What a reconcile leaves behind, before it is stored.
    pub fn expect(&mut self, instance_id: &str, entries: Vec<InventoryEntry>, now: Instant) {
        if self.is_held {
            self.expected.insert(instance_id.to_owned(), (now + EXPECTED_FOR, entries));
        }
    }

    pub fn expected(&self, instance_id: &str) -> Option<Vec<InventoryEntry>> {
        self.expected.get(instance_id).map(|(_, entries)| entries.clone())
    }

    /// An instance to compare, at this time or earlier.
    pub fn suspect(&mut self, instance_id: &str, due: Instant) {
        if self.is_held {
            let known = self.due.entry(instance_id.to_owned()).or_insert(due);
            *known = due.min(*known);
        }
    }

    /// An instance of which something has changed.
    pub fn touch(&mut self, instance_id: &str, now: Instant) {
        self.suspect(instance_id, now);
        if self.is_held {
            self.once_more.insert(instance_id.to_owned(), now + ONCE_MORE);
        }
    }

    pub fn wake(&mut self, instance_ids: impl IntoIterator<Item = String>) {
        if self.is_held {
            self.woken.extend(instance_ids);
        }
    }

    pub fn want_kinds(&mut self, kinds: impl IntoIterator<Item = KindKey>) {
        if self.is_held {
            self.wanted_kinds.extend(kinds);
        }
    }

    pub fn take_wanted_kinds(&mut self) -> HashSet<KindKey> {
        std::mem::take(&mut self.wanted_kinds)
    }

    pub fn listed_first(&mut self, kind: KindKey) {
        if self.is_held {
            self.listed_kinds.insert(kind);
        }
    }

    pub fn take_listed_kinds(&mut self) -> HashSet<KindKey> {
        std::mem::take(&mut self.listed_kinds)
    }

    /// Takes up to `limit` of each whose time has come and that nobody here is reconciling, the longest due first.
    pub fn take_due(&mut self, now: Instant, limit: usize) -> Due {
        self.expected.retain(|_, (until, _)| *until > now);
        let settled = self.once_more.extract_if(|_, due| *due <= now).collect::<Vec<_>>();
        for (instance_id, due) in settled {
            self.suspect(&instance_id, due);
        }
        // The end of a reconcile makes its instance a suspect again.
        self.due.retain(|instance_id, _| !self.in_flight.contains_key(instance_id));
        let mut due = self.due.iter().filter(|(_, due)| **due <= now).map(|(id, due)| (*due, id)).collect::<Vec<_>>();
        due.sort_unstable();
        let suspects = due.into_iter().take(limit).map(|(_, id)| id.clone()).collect::<Vec<_>>();
        for id in &suspects {
            self.due.remove(id);
        }
        let woken = self.woken.iter().take(limit).cloned().collect::<Vec<_>>();
        for id in &woken {
            self.woken.remove(id);
        }
        Due { suspects, woken }
    }

    /// When the next one is due.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let due = self.due.values().chain(self.once_more.values()).min().copied();
        if self.woken.is_empty() { due } else { Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Suspects {
        let mut suspects = Suspects::default();
        suspects.hold();
        suspects
    }

    #[test]
    fn a_process_that_does_not_hold_the_watch_gathers_nothing() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let gather = |suspects: &mut Suspects| {
            suspects.begin("i");
            suspects.touch("i", now);
            suspects.expect("i", Vec::new(), now);
            suspects.end("i", now);
            suspects.wake(BTreeSet::from(["i".into()]));
            suspects.want_kinds([("v1".into(), "Pod".into())]);
            suspects.listed_first(("v1".into(), "Pod".into()));
        };
        let is_empty = |suspects: &Suspects| {
            let Suspects { due, once_more, in_flight, expected, wanted_kinds, listed_kinds, woken, .. } = suspects;
            let has_kinds = !wanted_kinds.is_empty() || !listed_kinds.is_empty();
            due.is_empty()
                && once_more.is_empty()
                && in_flight.is_empty()
                && expected.is_empty()
                && woken.is_empty()
                && !has_kinds
        };
        gather(&mut suspects);
        assert!(is_empty(&suspects));
        suspects.hold();
        gather(&mut suspects);
        assert!(!is_empty(&suspects));
        suspects.release();
        assert!(is_empty(&suspects));
    }

    #[test]
    fn what_is_due_comes_in_parts_that_the_server_takes() {
        let (mut suspects, now) = (held(), Instant::now());
        for number in 0..1200 {
            suspects.suspect(&number.to_string(), now);
        }
        let parts = (0..4).map(|_| suspects.take_due(now, 500).suspects.len()).collect::<Vec<_>>();
        assert_eq!(parts, [500, 500, 200, 0]);
    }

    #[test]
    fn news_are_not_put_off_by_an_earlier_finding() {
        let (mut suspects, now) = (held(), Instant::now());
        suspects.suspect("i", now + Duration::from_secs(30));
        suspects.suspect("i", now);
        suspects.suspect("i", now + Duration::from_secs(30));
        assert_eq!(suspects.take_due(now, 1).suspects, ["i"]);
    }

    #[test]
    fn what_changes_is_compared_again_once_other_replicas_have_stored_what_they_saw() {
        let (mut suspects, now) = (held(), Instant::now());
        suspects.touch("i", now);
        assert_eq!(suspects.take_due(now, 1).suspects, ["i"]);
        assert_eq!(suspects.next_due(now), Some(now + ONCE_MORE));
        assert_eq!(suspects.take_due(now + ONCE_MORE / 2, 1), Due::default());
        assert_eq!(suspects.take_due(now + ONCE_MORE, 1).suspects, ["i"]);
        assert_eq!(suspects.next_due(now + ONCE_MORE), None);
    }

    #[test]
    fn an_instance_is_not_compared_while_it_is_reconciled_here() {
        let (mut suspects, now) = (held(), Instant::now());
        suspects.begin("i");
        suspects.suspect("i", now);
        assert_eq!(suspects.take_due(now, 1), Due::default());
        suspects.end("i", now);
        assert_eq!(suspects.take_due(now, 1).suspects, ["i"]);
    }
}
