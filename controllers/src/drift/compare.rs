//! Compares what is seen of an instance with its inventory. Pure.

use threeport::v1::{InventoryEntry, ResourceReference};

use crate::resource::is_shared;
use crate::workload_instance::plan::{Live, Observed, entry, is_drifted, key};
use crate::workload_instance::repairs::Repairs;

/// What comparing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All as it was left and last looked at.
    Same,
    /// Only the health of something differs; which, and how it is now.
    Health(String),
    /// Something is not as we left it; what.
    Drift(String),
    /// The inventory knows nothing of the instance, but the cluster has something of it.
    Unknown,
}

/// Compares; `shows_absence` tells for which kinds absence means something.
pub fn compare(
    inventory: &[InventoryEntry],
    live: &Live,
    shows_absence: impl Fn(&ResourceReference) -> bool,
) -> Finding {
    if inventory.is_empty() {
        return if live.is_empty() { Finding::Same } else { Finding::Unknown };
    }
    let (mut drift, mut health) = (Vec::new(), Vec::new());
    for known in inventory.iter().filter(|entry| !entry.observed && !entry.uid.is_empty()) {
        let Some(reference) = known.resource.as_ref().filter(|reference| !is_shared(reference)) else { continue };
        match live.get(&key(reference)) {
            None if shows_absence(reference) => drift.push(format!("{} missing", reference.name)),
            Some(seen) if is_news(known, seen) => {
                drift.push(format!("{} {} {}", reference.name, seen.managed_hash, seen.ownership_hash));
            }
            // An error is ours, not the cluster's: seeing the object well doesn't end it.
            Some(seen) if seen.health.summary() != known.health && !known.health.starts_with("Error/") => {
                health.push(format!("{} {}", reference.name, seen.health.summary()));
            }
            None | Some(_) => {}
        }
    }
    let is_stray =
        |seen: &&Observed| seen.is_ours() && !seen.is_retained && entry(inventory, &seen.reference).is_none();
    let strays = live.values().filter(|seen| !is_shared(&seen.reference)).filter(is_stray);
    drift.extend(strays.map(|seen| format!("{} stray", seen.uid)));
    match (drift.is_empty(), health.is_empty()) {
        (false, _) => Finding::Drift(joined(drift)),
        (true, false) => Finding::Health(joined(health)),
        (true, true) => Finding::Same,
    }
}

/// A contended object is news only once somebody else comes or goes.
fn is_news(known: &InventoryEntry, seen: &Observed) -> bool {
    match Repairs::read(&known.repairs).contended {
        Some(contention) if seen.uid == known.uid => contention.ownership != seen.ownership_hash,
        _ => is_drifted(known, seen),
    }
}

fn joined(mut parts: Vec<String>) -> String {
    parts.sort();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;

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
            reference: reference(),
        };
        change(&mut seen);
        Live::from([(key(&reference()), seen)])
    }

    #[test]
    fn what_is_as_we_left_it_is_the_same() {
        assert_eq!(compare(&[known()], &live(|_| {}), |_| true), Finding::Same);
    }

    #[test]
    fn a_missing_object_is_drift_only_where_absence_is_known() {
        assert!(matches!(compare(&[known()], &Live::new(), |_| true), Finding::Drift(_)));
        assert_eq!(compare(&[known()], &Live::new(), |_| false), Finding::Same);
    }

    #[test]
    fn health_alone_is_no_drift() {
        let seen = live(|seen| seen.health = Health::reconciling("NotReady", "0 of 1"));
        assert!(matches!(compare(&[known()], &seen, |_| true), Finding::Health(_)));
        assert!(matches!(
            compare(&[known()], &live(|seen| seen.managed_hash = "other".into()), |_| true),
            Finding::Drift(_)
        ));
    }

    #[test]
    fn an_object_of_an_instance_without_inventory_is_unknown() {
        assert_eq!(compare(&[], &live(|_| {}), |_| true), Finding::Unknown);
    }

    #[test]
    fn an_object_recorded_and_not_yet_made_is_no_drift() {
        let recorded = InventoryEntry { uid: String::new(), ..known() };
        assert_eq!(compare(&[recorded], &Live::new(), |_| true), Finding::Same);
    }

    #[test]
    fn a_contended_object_is_news_only_when_its_owners_change() {
        let repairs = r#"{"contended":{"field":"spec.replicas","manager":"k","since":0,"ownership":"o"}}"#;
        let contended = InventoryEntry { repairs: repairs.into(), ..known() };
        assert_eq!(
            compare(std::slice::from_ref(&contended), &live(|seen| seen.managed_hash = "taken".into()), |_| true),
            Finding::Same
        );
        assert!(matches!(
            compare(&[contended], &live(|seen| seen.ownership_hash = "p".into()), |_| true),
            Finding::Drift(_)
        ));
    }
}
