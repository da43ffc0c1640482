//! How often each field of a resource was repaired, and when to stop: two who write one field in turn help nobody. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ownership::Lost;

/// This many repairs of a field within the window are made; the next one is not.
const REPAIRS: usize = 2;
const WINDOW: Duration = Duration::from_mins(1);
/// A contended field is tried once again after this long.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Stored with an inventory entry, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// Seconds since the epoch of each repair in the window, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    at: BTreeMap<String, Vec<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contended: Option<Contention>,
}

/// A fight that we stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contention {
    pub field: String,
    pub manager: String,
    since: u64,
    /// Who owned what when we stopped: a change of it is worth another look.
    pub ownership: String,
}

impl Repairs {
    /// Reads what is stored; nothing or nonsense means none.
    pub fn read(stored: &str) -> Self {
        serde_json::from_str(stored).unwrap_or_default()
    }

    /// As stored; empty when there is nothing to keep.
    pub fn stored(&self) -> String {
        if *self == Self::default() { String::new() } else { serde_json::to_string(self).unwrap_or_default() }
    }

    /// Whether to repair these fields at `now` (seconds since the epoch); notes the repair, or the contention.
    pub fn allows(&mut self, lost: &[Lost], ownership: &str, now: u64) -> bool {
        self.forget_before(now);
        if let Some(contention) = &mut self.contended
            && lost.iter().any(|lost| lost.path == contention.field)
        {
            // Others who come and go in turn are a fight as well: one repair in the window.
            let is_quiet = !self.at.contains_key(&contention.field);
            let has_waited = now.saturating_sub(contention.since) >= PATIENCE.as_secs();
            if !is_quiet || (contention.ownership == ownership && !has_waited) {
                return false;
            }
            contention.since = now;
            ownership.clone_into(&mut contention.ownership);
            self.note(lost, now);
            return true;
        }
        self.contended = None;
        if let Some(again) =
            lost.iter().find(|lost| self.at.get(&lost.path).is_some_and(|times| times.len() >= REPAIRS))
        {
            let manager = again.manager.clone().unwrap_or_else(|| "somebody".into());
            self.contended =
                Some(Contention { field: again.path.clone(), manager, since: now, ownership: ownership.to_owned() });
            return false;
        }
        self.note(lost, now);
        true
    }

    fn note(&mut self, lost: &[Lost], now: u64) {
        for lost in lost {
            self.at.entry(lost.path.clone()).or_default().push(now);
        }
    }

    fn forget_before(&mut self, now: u64) {
        self.at.values_mut().for_each(|times| times.retain(|at| now.saturating_sub(*at) < WINDOW.as_secs()));
        self.at.retain(|_, times| !times.is_empty());
    }

    /// Nothing is amiss: a contention is over.
    pub fn settle(&mut self) {
        self.contended = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas() -> Vec<Lost> {
        vec![Lost { path: "spec.replicas".into(), manager: Some("kubectl".into()) }]
    }

    #[test]
    fn the_third_repair_within_a_minute_stops() {
        let mut repairs = Repairs::default();
        assert!(repairs.allows(&replicas(), "a", 100));
        assert!(repairs.allows(&replicas(), "a", 110));
        assert!(!repairs.allows(&replicas(), "a", 120));
        assert_eq!(repairs.contended.as_ref().unwrap().manager, "kubectl");
        assert!(!repairs.allows(&replicas(), "a", 130), "and stays stopped");
        assert_eq!(Repairs::read(&repairs.stored()), repairs);
    }

    #[test]
    fn rare_repairs_go_on() {
        let mut repairs = Repairs::default();
        assert!((0..10).all(|minute| repairs.allows(&replicas(), "a", minute * 61)));
    }

    #[test]
    fn a_contended_field_is_tried_again_when_owners_change_or_after_a_while() {
        let mut repairs = Repairs::default();
        for _ in 0..3 {
            let _ = repairs.allows(&replicas(), "a", 0);
        }
        assert!(!repairs.allows(&replicas(), "a", 70));
        assert!(repairs.allows(&replicas(), "b", 71));
        assert!(!repairs.allows(&replicas(), "b", 72));
        assert!(repairs.allows(&replicas(), "b", 71 + PATIENCE.as_secs()));
    }

    #[test]
    fn two_who_fight_in_turn_are_not_repaired_without_limit() {
        let mut repairs = Repairs::default();
        let owners = ["a", "b"];
        let repaired =
            (0..600).filter(|second| repairs.allows(&replicas(), owners[usize::from(*second % 2 == 1)], *second));
        assert!(repaired.count() <= 2 + 600 / 60);
        assert!(repairs.contended.is_some());
    }
}
