//! What to do about a release: its recorded revisions come in, one step comes out. Pure.

use threeport::v1::ResourceReference;

/// A revision as its record's labels tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub number: i64,
    /// Helm's word: `deployed`, `pending-upgrade`.
    pub status: String,
    /// Of what it was made from; none if others have made it.
    pub hash: String,
    /// Whether this instance has made it.
    pub is_ours: bool,
    /// The Secret that records it.
    pub record: ResourceReference,
    pub uid: String,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name is somebody else's: touch nothing.
    Leave,
    /// An operation was cut short: drop its record, for no other operation begins beside it.
    Recover(Revision),
    /// Install, or upgrade to what is wanted.
    Release,
    /// What was wanted failed: back to what ran before.
    RollBack(i64),
    /// A removal was cut short: remove, then install again.
    Uninstall,
    /// Nothing: what runs is as wanted, or what is wanted has failed and nothing has changed since.
    Settled { deployed: Option<Revision>, failed: Option<Revision> },
}

/// Decides; `retries` says that what failed is to be tried again although it is wanted unchanged.
pub fn plan(wanted: &str, revisions: &[Revision], retries: bool) -> Step {
    if revisions.iter().any(|revision| !revision.is_ours) {
        return Step::Leave;
    }
    let mut revisions = revisions.to_vec();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    let Some(latest) = revisions.first() else { return Step::Release };
    let deployed = revisions.iter().find(|revision| revision.status == "deployed");
    match latest.status.as_str() {
        status if status.starts_with("pending-") => Step::Recover(latest.clone()),
        "uninstalling" => Step::Uninstall,
        "deployed" if latest.hash == wanted => Step::Settled { deployed: deployed.cloned(), failed: None },
        "deployed" => match revisions.get(1) {
            // A roll-back stands right after what it answers.
            Some(before) if before.status == "failed" && before.hash == wanted && !retries => {
                Step::Settled { deployed: deployed.cloned(), failed: Some(before.clone()) }
            }
            _ => Step::Release,
        },
        "failed" if latest.hash == wanted && !retries => match deployed {
            Some(deployed) => Step::RollBack(deployed.number),
            None => Step::Settled { deployed: None, failed: Some(latest.clone()) },
        },
        _ => Step::Release,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(revisions: &[(&str, &str)]) -> Vec<Revision> {
        let one = |(index, (status, hash)): (usize, &(&str, &str))| Revision {
            number: i64::try_from(index).unwrap() + 1,
            status: (*status).to_owned(),
            hash: (*hash).to_owned(),
            is_ours: true,
            record: ResourceReference::default(),
            uid: String::new(),
        };
        revisions.iter().enumerate().map(one).collect()
    }

    fn step(revisions: &[(&str, &str)]) -> Step {
        plan("new", &history(revisions), false)
    }

    #[test]
    fn what_is_not_as_wanted_is_released() {
        assert_eq!(step(&[]), Step::Release);
        assert_eq!(step(&[("deployed", "old")]), Step::Release);
        assert_eq!(step(&[("uninstalled", "new")]), Step::Release);
        assert_eq!(step(&[("failed", "old")]), Step::Release, "an edit has mended it");
    }

    #[test]
    fn what_is_as_wanted_stays() {
        let step = step(&[("superseded", "old"), ("deployed", "new")]);
        assert!(matches!(step, Step::Settled { deployed: Some(revision), failed: None } if revision.number == 2));
    }

    #[test]
    fn what_failed_is_rolled_back_once_and_not_tried_again_by_itself() {
        let failed = [("deployed", "old"), ("failed", "new")];
        assert_eq!(step(&failed), Step::RollBack(1));
        let back = [("superseded", "old"), ("failed", "new"), ("deployed", "old")];
        let settled = step(&back);
        assert!(
            matches!(&settled, Step::Settled { deployed: Some(now), failed: Some(failed) } if (now.number, failed.number) == (3, 2))
        );
        assert_eq!(plan("new", &history(&back), true), Step::Release);
        assert_eq!(plan("other", &history(&back), false), Step::Release);
        assert!(matches!(step(&[("failed", "new")]), Step::Settled { deployed: None, failed: Some(_) }));
    }

    #[test]
    fn what_was_cut_short_is_recovered_first() {
        for status in ["pending-install", "pending-upgrade", "pending-rollback"] {
            assert!(
                matches!(step(&[("deployed", "old"), (status, "new")]), Step::Recover(revision) if revision.number == 2)
            );
        }
        assert_eq!(step(&[("uninstalling", "new")]), Step::Uninstall);
    }

    #[test]
    fn what_others_have_released_is_left_alone() {
        let mut revisions = history(&[("pending-upgrade", "")]);
        revisions[0].is_ours = false;
        assert_eq!(plan("new", &revisions, true), Step::Leave);
    }
}
