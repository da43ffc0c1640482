//! The cluster's warnings: the last about anything, for as long as they hold. Pure.

use std::collections::HashMap;

use serde_json::Value;

use crate::resource::{group, text, uid};
use crate::workload_instance::plan::Key;

/// More warnings than this are not kept; the newest are.
const KEPT: usize = 4096;
/// They quote what a probe was answered, which may be long, and not for everybody: no more of their text is kept.
const OF_PROBES: &[&str] = &["Unhealthy", "ProbeWarning"];
const QUOTED: usize = 200;

/// By what they are about.
#[derive(Debug, Default)]
pub struct Warnings {
    last: HashMap<Key, Warning>,
}

/// A CamelCase reason and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Warning {
    said: Said,
    seen_at: String,
    event: String,
    /// The uid of what it is about, if it says.
    about: String,
}

impl Warnings {
    /// Takes a warning; answers what it is about if that wasn't the last word about it.
    pub fn put(&mut self, event: &Value) -> Option<Key> {
        let (reason, message) = (text(&event["reason"]), text(&event["message"]));
        let limit = if OF_PROBES.contains(&reason) { QUOTED } else { usize::MAX };
        let said = Said { reason: reason.to_owned(), message: message.chars().take(limit).collect() };
        let warning = Warning {
            said,
            seen_at: seen_at(event).to_owned(),
            event: uid(event).to_owned(),
            about: text(&event["involvedObject"]["uid"]).to_owned(),
        };
        let about = subject(event);
        let before = self.last.get(&about);
        if before.is_some_and(|before| before.seen_at > warning.seen_at) {
            return None;
        }
        let is_news = before.is_none_or(|before| before.said.reason != warning.said.reason);
        self.last.insert(about.clone(), warning);
        self.forget_old();
        is_news.then_some(about)
    }

    /// Takes a complete list of warnings; answers what is warned of otherwise than before.
    pub fn replace(&mut self, items: &[Value]) -> Vec<Key> {
        let before = std::mem::take(&mut self.last);
        for event in items {
            self.put(event);
        }
        let reason = |warnings: &HashMap<Key, Warning>, about: &Key| {
            warnings.get(about).map(|warning| warning.said.reason.clone())
        };
        let mut about = before.keys().chain(self.last.keys()).cloned().collect::<Vec<_>>();
        about.sort_unstable();
        about.dedup();
        about.retain(|about| reason(&before, about) != reason(&self.last, about));
        about
    }

    /// Forgets a warning that the cluster no longer keeps. That is no news: it was told an hour ago.
    pub fn remove(&mut self, event: &Value) {
        let about = subject(event);
        if self.last.get(&about).is_some_and(|warning| warning.event == uid(event)) {
            self.last.remove(&about);
        }
    }

    /// The last warning about an object of this uid, unless it was before this time.
    pub fn about(&self, about: &Key, uid: &str, since: &str) -> Option<&Said> {
        let warning = self.last.get(about)?;
        let is_of_it = warning.about.is_empty() || uid.is_empty() || warning.about == uid;
        (is_of_it && !is_before(&warning.seen_at, since)).then_some(&warning.said)
    }

    /// Keeps the newer half once there are twice as many as are to be kept.
    fn forget_old(&mut self) {
        if self.last.len() < KEPT * 2 {
            return;
        }
        let mut times = self.last.values().map(|warning| warning.seen_at.clone()).collect::<Vec<_>>();
        times.sort_unstable();
        let oldest = times.swap_remove(KEPT);
        self.last.retain(|_, warning| warning.seen_at >= oldest);
        // Many of one second are all as old.
        if self.last.len() >= KEPT * 2 {
            self.last.clear();
        }
    }
}

/// Counts and times go on changing while nothing else does.
pub fn lasting(message: &str) -> String {
    message.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Compares times of which some have fractions of seconds: those of one second count as one.
fn is_before(a: &str, b: &str) -> bool {
    let seconds = |time: &str| time.chars().take("2000-01-01T00:00:00".len()).collect::<String>();
    seconds(a) < seconds(b)
}

fn subject(event: &Value) -> Key {
    let about = &event["involvedObject"];
    let namespace = text(&about["namespace"]).to_owned();
    let (kind, name) = (text(&about["kind"]).to_owned(), text(&about["name"]).to_owned());
    (group(text(&about["apiVersion"])).to_owned(), kind, namespace, name)
}

fn seen_at(event: &Value) -> &str {
    let times = [
        &event["lastTimestamp"],
        &event["series"]["lastObservedTime"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.into_iter().map(text).find(|time| !time.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warning(pod: &str, at: &str) -> Value {
        json!({ "metadata": { "uid": at }, "reason": "Failed", "message": "told", "lastTimestamp": at,
            "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": "n", "name": pod } })
    }

    #[test]
    fn times_of_one_second_are_none_before_the_other() {
        assert!(!is_before("2026-01-01T00:00:05.123456Z", "2026-01-01T00:00:05Z"));
        assert!(is_before("2026-01-01T00:00:04.9Z", "2026-01-01T00:00:05Z"));
    }

    #[test]
    fn no_more_than_the_beginning_of_what_a_probe_answered_is_told() {
        let mut warnings = Warnings::default();
        let mut long = warning("a", "1");
        long["message"] = json!("x".repeat(1000));
        let about = warnings.put(&long).unwrap();
        assert_eq!(warnings.about(&about, "", "").unwrap().message.len(), 1000);
        long["reason"] = json!("Unhealthy");
        warnings.put(&long);
        assert_eq!(warnings.about(&about, "", "").unwrap().message.len(), QUOTED);
    }

    #[test]
    fn no_flood_of_warnings_is_kept() {
        let mut warnings = Warnings::default();
        for number in 0..KEPT * 5 {
            warnings.put(&warning(&number.to_string(), &format!("{number:08}")));
        }
        assert!(warnings.last.len() < KEPT * 2);
        let last = subject(&warning(&(KEPT * 5 - 1).to_string(), ""));
        assert!(warnings.last.contains_key(&last));
    }
}
