//! Compares what is seen of an instance with its inventory. Pure.

use threeport::v1::{InventoryEntry, ResourceReference};

use crate::health::Kept;
use crate::resource::{is_namespace, is_shared};
use crate::workload_instance::plan::{Live, Observed, entry, is_drifted, key};
use crate::workload_instance::repairs::Repairs;

/// What comparing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All as it was left and last looked at.
    Same,
    /// Only the health of something differs; which, and how it is now.
    Health(String),
    /// Only the reason why something isn't healthy differs, as pods or warnings tell it.
    Trouble(String),
    /// Something is not as we left it; what.
    Drift(String),
    /// Something was made and is not stored yet: what it will be stored as is to be compared then.
    Unfinished,
    /// The inventory knows nothing of the instance, but the cluster has something of it.
    Unknown,
}

/// What pods and warnings say of something, or it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The reason that they tell; empty if they tell nothing.
    pub told: String,
    /// A mark of all that is said.
    pub said: String,
}

/// Compares; `shows_absence` tells for which kinds absence means something, `trouble` what pods and warnings say of
/// something that isn't healthy, if that is known.
pub fn compare(
    inventory: &[InventoryEntry],
    live: &Live,
    shows_absence: impl Fn(&ResourceReference) -> bool,
    trouble: impl Fn(&Observed) -> Option<Word>,
) -> Finding {
    if inventory.is_empty() {
        return if live.is_empty() { Finding::Same } else { Finding::Unknown };
    }
    let (mut drift, mut health, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
    let leaving = leaving(inventory, live);
    for known in inventory.iter().filter(|entry| !entry.observed && !entry.uid.is_empty()) {
        let Some(reference) = known.resource.as_ref().filter(|reference| !is_shared(reference)) else { continue };
        if leaving.contains(&reference.namespace.as_str()) {
            continue;
        }
        match live.get(&key(reference)) {
            Some(seen) if is_kept_otherwise(known, seen) => drift.push(format!("{} kept", reference.name)),
            // An error is ours, not the cluster's: whatever is seen, the next try is due anyway.
            _ if known.health.starts_with("Error/") => {}
            None if shows_absence(reference) && !is_left_absent(known) => {
                drift.push(format!("{} missing", reference.name));
            }
            Some(seen) if is_news(known, seen) => {
                drift.push(format!("{} {} {}", reference.name, seen.managed_hash, seen.ownership_hash));
            }
            Some(seen) => {
                let kept = Kept::read(&known.health);
                if seen.health.brief() != kept.brief {
                    health.push(format!("{} {}", reference.name, seen.health.brief()));
                } else if let Some(now) = trouble(seen).filter(|now| now.told != kept.told || now.said != kept.said) {
                    troubles.push(format!("{} {} {}", reference.name, now.told, now.said));
                }
            }
            None => {}
        }
    }
    let is_stray =
        |seen: &&Observed| seen.is_ours() && !seen.is_retained && entry(inventory, &seen.reference).is_none();
    let strays = live.values().filter(|seen| !is_shared(&seen.reference)).filter(is_stray);
    drift.extend(strays.map(|seen| format!("{} stray", seen.uid)));
    match (drift.is_empty(), health.is_empty(), troubles.is_empty()) {
        (false, ..) => Finding::Drift(joined(drift)),
        (true, false, _) => Finding::Health(joined(health)),
        (true, true, false) => Finding::Trouble(joined(troubles)),
        (true, true, true) if inventory.iter().any(|known| is_unfinished(known, live)) => Finding::Unfinished,
        (true, true, true) => Finding::Same,
    }
}

/// Namespaces that were given back and go with all in them.
fn leaving<'a>(inventory: &'a [InventoryEntry], live: &Live) -> Vec<&'a str> {
    let given_back = inventory.iter().filter(|entry| entry.uid.is_empty()).filter_map(|entry| entry.resource.as_ref());
    let goes = |reference: &&ResourceReference| {
        is_namespace(reference) && live.get(&key(reference)).is_some_and(|seen| seen.health.reason == "Terminating")
    };
    given_back.filter(goes).map(|reference| reference.name.as_str()).collect()
}

/// A reconcile of another replica has made it, and hasn't finished.
fn is_unfinished(known: &InventoryEntry, live: &Live) -> bool {
    let seen = known.resource.as_ref().and_then(|reference| live.get(&key(reference)));
    known.uid.is_empty() && !known.observed && seen.is_some_and(|seen| seen.is_ours() && !is_shared(&seen.reference))
}

/// A fight about it was stopped while it was deleted.
fn is_left_absent(known: &InventoryEntry) -> bool {
    Repairs::read(&known.repairs).contended.is_some_and(|contention| contention.ownership.is_empty())
}

/// A contended object is news only once somebody else comes or goes.
fn is_news(known: &InventoryEntry, seen: &Observed) -> bool {
    match Repairs::read(&known.repairs).contended {
        Some(contention) if seen.uid == known.uid => contention.ownership != seen.ownership_hash,
        _ => is_drifted(known, seen),
    }
}

/// Somebody has said, in the cluster alone, that it is to be kept, or has taken that back. Of a contended object what the
/// manifest says is kept, too.
fn is_kept_otherwise(known: &InventoryEntry, seen: &Observed) -> bool {
    match (known.retained, seen.is_retained) {
        (false, true) => true,
        (true, false) => Repairs::read(&known.repairs).contended.is_none(),
        _ => false,
    }
}

fn joined(mut parts: Vec<String>) -> String {
    parts.sort();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Health, mark};

    fn reference() -> ResourceReference {
        ResourceReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: "n".into(),
            name: "x".into(),
        }
    }

    fn known() -> InventoryEntry {
        InventoryEntry {
            resource: Some(reference()),
            uid: "u".into(),
            applied_hash: "h".into(),
            managed_hash: "m".into(),
            health: Health::healthy().summary(),
            ..Default::default()
        }
    }

    fn live(change: impl Fn(&mut Observed)) -> Live {
        let mut seen = Observed {
            uid: "u".into(),
            resource_version: "1".into(),
            applied_hash: "h".into(),
            managed_hash: "m".into(),
            ownership_hash: "o".into(),
            is_retained: false,
            health: Health::healthy(),
            yields_replicas: false,
            selector: std::collections::BTreeMap::default(),
            reference: reference(),
        };
        change(&mut seen);
        Live::from([(key(&reference()), seen)])
    }

    #[test]
    fn what_is_as_we_left_it_is_the_same() {
        assert_eq!(compare(&[known()], &live(|_| {}), |_| true, |_| None), Finding::Same);
    }

    #[test]
    fn a_missing_object_is_drift_only_where_absence_is_known() {
        assert!(matches!(compare(&[known()], &Live::new(), |_| true, |_| None), Finding::Drift(_)));
        assert_eq!(compare(&[known()], &Live::new(), |_| false, |_| None), Finding::Same);
    }

    #[test]
    fn health_alone_is_no_drift() {
        let seen = live(|seen| seen.health = Health::reconciling("NotReady", "0 of 1"));
        assert!(matches!(compare(&[known()], &seen, |_| true, |_| None), Finding::Health(_)));
        assert!(matches!(
            compare(&[known()], &live(|seen| seen.managed_hash = "other".into()), |_| true, |_| None),
            Finding::Drift(_)
        ));
    }

    #[test]
    fn a_reason_that_changed_is_trouble_and_one_that_is_not_known_is_not() {
        let ill = live(|seen| seen.health = Health::reconciling("NotReady", "0 of 1"));
        let known = |health: &str| [InventoryEntry { health: health.into(), ..known() }];
        let word = |told: &str, said: &str| Word { told: told.to_owned(), said: mark(said) };
        let found = |health: &str, said: Option<&str>| {
            compare(&known(health), &ill, |_| true, |_| said.map(|told| word(told, "pod")))
        };
        let told = &Health::reconciling("NotReady", "0 of 1").summary_with("ImagePullBackOff", "pod");
        assert_eq!(found(told, Some("ImagePullBackOff")), Finding::Same);
        assert!(matches!(found(told, Some("CrashLoopBackOff")), Finding::Trouble(_)));
        assert!(matches!(found("Reconciling/NotReady", Some("ImagePullBackOff")), Finding::Trouble(_)));
        assert!(matches!(found(told, Some("")), Finding::Trouble(_)), "it is over");
        assert_eq!(found(told, None), Finding::Same);
        let other = |_: &Observed| Some(word("ImagePullBackOff", "another pod"));
        assert!(matches!(compare(&known(told), &ill, |_| true, other), Finding::Trouble(_)), "it tells of another");
    }

    #[test]
    fn what_somebody_marks_as_kept_is_noted_and_the_mark_taken_off_too() {
        let kept = InventoryEntry { retained: true, ..known() };
        let marked = live(|seen| seen.is_retained = true);
        assert!(matches!(compare(&[known()], &marked, |_| true, |_| None), Finding::Drift(_)));
        assert_eq!(compare(std::slice::from_ref(&kept), &marked, |_| true, |_| None), Finding::Same);
        assert!(matches!(compare(&[kept], &live(|_| {}), |_| true, |_| None), Finding::Drift(_)));
    }

    #[test]
    fn an_object_of_an_instance_without_inventory_is_unknown() {
        assert_eq!(compare(&[], &live(|_| {}), |_| true, |_| None), Finding::Unknown);
    }

    #[test]
    fn an_object_recorded_and_not_yet_made_is_no_drift() {
        let recorded = InventoryEntry { uid: String::new(), ..known() };
        assert_eq!(compare(&[recorded], &Live::new(), |_| true, |_| None), Finding::Same);
    }

    #[test]
    fn an_object_made_and_not_yet_stored_is_looked_at_again() {
        let recorded = InventoryEntry { uid: String::new(), ..known() };
        assert_eq!(compare(&[recorded], &live(|_| {}), |_| true, |_| None), Finding::Unfinished);
    }

    #[test]
    fn what_goes_with_its_namespace_is_not_missed() {
        let namespace = ResourceReference {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            name: "n".into(),
            ..Default::default()
        };
        let of_namespace = |uid: &str| InventoryEntry { resource: Some(namespace.clone()), uid: uid.into(), ..known() };
        let mut seen = live(|seen| seen.health = Health::reconciling("Terminating", ""));
        let mut gone = seen.remove(&key(&reference())).unwrap();
        gone.reference = namespace.clone();
        let live = Live::from([(key(&namespace), gone)]);
        assert_eq!(compare(&[known(), of_namespace("")], &live, |_| true, |_| None), Finding::Same);
        let behind_our_back = compare(&[known(), of_namespace("u")], &live, |_| true, |_| None);
        assert!(matches!(behind_our_back, Finding::Drift(_)), "it is not ours that deletes it");
    }

    #[test]
    fn what_could_not_be_applied_is_tried_again_without_being_found_missing() {
        let failed = InventoryEntry { health: "Error/Forbidden".into(), ..known() };
        assert_eq!(compare(&[failed], &Live::new(), |_| true, |_| None), Finding::Same);
    }

    #[test]
    fn an_object_that_is_deleted_over_and_over_is_missed_no_more() {
        let contended = |ownership: &str| {
            let repairs =
                format!(r#"{{"contended":{{"field":"","manager":"k","since":0,"ownership":"{ownership}"}}}}"#);
            [InventoryEntry { repairs, ..known() }]
        };
        assert_eq!(compare(&contended(""), &Live::new(), |_| true, |_| None), Finding::Same);
        assert!(matches!(compare(&contended("o"), &Live::new(), |_| true, |_| None), Finding::Drift(_)));
    }

    #[test]
    fn a_contended_object_is_news_only_when_its_owners_change() {
        let repairs = r#"{"contended":{"field":"spec.replicas","manager":"k","since":0,"ownership":"o"}}"#;
        let contended = InventoryEntry { repairs: repairs.into(), ..known() };
        assert_eq!(
            compare(
                std::slice::from_ref(&contended),
                &live(|seen| seen.managed_hash = "taken".into()),
                |_| true,
                |_| None
            ),
            Finding::Same
        );
        assert!(matches!(
            compare(&[contended], &live(|seen| seen.ownership_hash = "p".into()), |_| true, |_| None),
            Finding::Drift(_)
        ));
    }
}
