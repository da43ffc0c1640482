//! Bringing one resource where it should be: first applies, changes and repairs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use threeport_sdk::controller::{Error as Failure, EventType};

use super::desired::Nature;
use super::ownership::{Lost, lost, resolve_yields};
use super::plan::key;
use super::repairs::Repairs;
use super::work::{Note, Outcome, Work};
use crate::clients::kubernetes::{Applied, Apply, Error, Identity, Result};
use crate::health::{Health, State};
use crate::resource::{APPLIED_HASH, annotation, display, is_terminating, ownership_hash, uid};

/// An object that changes under our hands is read again this often.
const ATTEMPTS: usize = 4;
const SERVED_TRIES: u32 = 8;
const SERVED_SOON: Duration = Duration::from_millis(300);

impl Work<'_> {
    /// Applies what isn't known to be in the cluster, if nothing of its name is there; what is there is looked at first.
    pub async fn create(&self, index: usize) -> std::result::Result<Outcome, Failure> {
        let one = &self.desired[index];
        if one.is_shared() {
            return self.ensure_shared(index).await;
        }
        let mut outcome = self.outcome(index);
        let apply = Apply { object: &one.value, manager: self.manager, force: false, known: None };
        let mut tries = 0;
        let applied = loop {
            match self.under_lease(self.cluster.apply(apply)).await? {
                Err(Error::Stale(_) | Error::Conflict { .. }) => {
                    self.apply_over_live(&mut outcome).await?;
                    return Ok(outcome);
                }
                // The CRD of this manifest is established, and its kind served a moment later.
                Err(Error::UnknownKind { .. } | Error::NotFound(_))
                    if one.nature == Nature::Custom && tries < SERVED_TRIES =>
                {
                    tries += 1;
                    self.lease.guard(tokio::time::sleep(SERVED_SOON)).await?;
                }
                applied => break applied,
            }
        };
        self.note_applied(&mut outcome, applied);
        Ok(outcome)
    }

    /// Applies a change to what is ours, if it still is the object that was seen under this lease.
    pub async fn change(&self, index: usize) -> std::result::Result<Outcome, Failure> {
        let one = &self.desired[index];
        if one.is_shared() {
            return self.ensure_shared(index).await;
        }
        let mut outcome = self.outcome(index);
        outcome.entry.repairs.clear();
        let seen =
            self.live.get(&key(&one.reference)).filter(|seen| one.yields.is_empty() && seen.uid == outcome.entry.uid);
        if let Some(seen) = seen {
            let known = Identity { uid: seen.uid.clone(), resource_version: seen.resource_version.clone() };
            let apply = Apply { object: &one.value, manager: self.manager, force: true, known: Some(&known) };
            match self.under_lease(self.cluster.apply(apply)).await? {
                Err(Error::Stale(_)) => {}
                applied => {
                    self.note_applied(&mut outcome, applied);
                    return Ok(outcome);
                }
            }
        }
        self.apply_over_live(&mut outcome).await?;
        Ok(outcome)
    }

    /// Reads the object and applies onto exactly that, again if it changes meanwhile.
    async fn apply_over_live(&self, outcome: &mut Outcome) -> std::result::Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            let applied = match self.read(outcome.index).await? {
                Ok(live) => self.apply_onto(outcome, live.as_ref()).await?,
                Err(error) => Err(error),
            };
            if !matches!(applied, Err(Error::Stale(_))) {
                self.note_applied(outcome, applied);
                return Ok(());
            }
        }
        Self::note_error(outcome, Error::Stale("it changes faster than it can be applied; trying again".into()));
        Ok(())
    }

    /// The object as it is now.
    pub async fn read(&self, index: usize) -> std::result::Result<Result<Option<Value>>, Failure> {
        self.lease.guard(self.cluster.get(&self.desired[index].reference)).await
    }

    /// The object, if any; none if it can't be read, which the outcome then says.
    pub async fn read_or_note(&self, outcome: &mut Outcome) -> std::result::Result<Option<Option<Value>>, Failure> {
        match self.read(outcome.index).await? {
            Ok(live) => Ok(Some(live)),
            Err(error) => {
                Self::note_error(outcome, error);
                Ok(None)
            }
        }
    }

    /// One apply onto a live object, or onto nothing; an object that isn't ours (any more) is taken or left.
    async fn apply_onto(
        &self,
        outcome: &mut Outcome,
        live: Option<&Value>,
    ) -> std::result::Result<Result<Applied>, Failure> {
        let one = &self.desired[outcome.index];
        let mut value = one.value.clone();
        let Some(live) = live else {
            let apply = Apply { object: &value, manager: self.manager, force: false, known: None };
            return self.under_lease(self.cluster.apply(apply)).await;
        };
        if is_terminating(live) {
            return Ok(Err(Error::Terminating(format!(
                "{} is being deleted; it is made again once it is gone",
                display(&one.reference)
            ))));
        }
        resolve_yields(&mut value, &one.yields, live, self.manager);
        if uid(live) != outcome.entry.uid {
            return self.take(outcome, &value, live).await;
        }
        let known = Identity::of(live);
        let apply = Apply { object: &value, manager: self.manager, force: true, known: Some(&known) };
        self.under_lease(self.cluster.apply(apply)).await
    }

    /// Looks at something that isn't as we left it, and repairs it unless that is a fight.
    pub async fn inspect(&self, index: usize) -> std::result::Result<Outcome, Failure> {
        let one = &self.desired[index];
        let mut outcome = self.outcome(index);
        let Some(live) = self.read_or_note(&mut outcome).await? else { return Ok(outcome) };
        if live.is_none()
            && let Some(error) = self.undefined(index).await?
        {
            Self::note_error(&mut outcome, error);
            return Ok(outcome);
        }
        let found = self.differences(&outcome, live.as_ref());
        let before = outcome.entry.repairs.clone();
        let mut repairs = Repairs::read(&outcome.entry.repairs);
        if found.is_empty() {
            repairs.settle();
            outcome.entry.repairs = repairs.stored();
            self.note_object(&mut outcome, live.unwrap_or_default());
            return Ok(outcome);
        }
        let is_allowed = repairs.allows(&found, &live.as_ref().map(ownership_hash).unwrap_or_default(), now());
        outcome.entry.repairs = repairs.stored();
        outcome.contention = repairs.contended;
        if !is_allowed {
            match live {
                Some(live) => self.note_object(&mut outcome, live),
                // The entry stays as it is, or the next round would make the object as if it were new.
                None => outcome.health = Health::new(State::Down, "Deleted", "is deleted whenever it is made again"),
            }
            outcome.entry.health = outcome.health.summary();
            return Ok(outcome);
        }
        self.apply_over_live(&mut outcome).await?;
        if outcome.error.is_some() {
            // Only what succeeds can be undone by somebody: failures are no fight.
            outcome.entry.repairs = before;
        } else {
            let text = format!("{}: {}", display(&one.reference), sentence(&found));
            outcome.notes.push(Note { event_type: EventType::Warning, reason: "DriftRepaired", text });
        }
        Ok(outcome)
    }

    /// Why a custom resource went, if its definition did: it goes with that, and comes again after it.
    async fn undefined(&self, index: usize) -> std::result::Result<Option<Error>, Failure> {
        let Some(definition) = self.desired.iter().position(|one| one.defines(&self.desired[index].reference)) else {
            return Ok(None);
        };
        let name = display(&self.desired[definition].reference);
        Ok(match self.read(definition).await? {
            Ok(Some(live)) if !is_terminating(&live) => None,
            Ok(_) => Some(Error::Terminating(format!("{name} was deleted; this is made again after it"))),
            Err(error) => Some(error),
        })
    }

    /// What differs from what we left, beside what is yielded.
    fn differences(&self, outcome: &Outcome, live: Option<&Value>) -> Vec<Lost> {
        let one = &self.desired[outcome.index];
        let whole = |path: &str| vec![Lost { path: path.to_owned(), manager: None }];
        let Some(live) = live else { return whole(DELETED) };
        if uid(live) != outcome.entry.uid {
            return whole(REPLACED);
        }
        let mut wanted = one.value.clone();
        one.yields.iter().for_each(|path| path.remove(&mut wanted));
        let found = lost(&wanted, live, self.manager);
        if found.is_empty() && annotation(live, APPLIED_HASH) != one.hash { whole(LATE) } else { found }
    }

    /// Notes the answer of an apply: uid, hashes and health.
    pub fn note_applied(&self, outcome: &mut Outcome, applied: Result<Applied>) {
        match applied {
            Ok(applied) => {
                outcome.has_written = true;
                outcome.is_created = applied.is_created;
                outcome.entry.applied_hash.clone_from(&self.desired[outcome.index].hash);
                self.note_object(outcome, applied.object);
            }
            Err(error) => Self::note_error(outcome, error),
        }
    }
}

const DELETED: &str = "(deleted)";
const REPLACED: &str = "(replaced)";
const LATE: &str = "(late write)";

/// What happened to the fields, and who did it where that is known.
fn sentence(lost: &[Lost]) -> String {
    let one = |lost: &Lost| match (lost.path.as_str(), &lost.manager) {
        (DELETED, _) => "had been deleted; made again".to_owned(),
        (REPLACED, _) => "had been deleted and made by somebody else; taken back".to_owned(),
        (LATE, _) => "had been overwritten by a late write of an older generation; restored".to_owned(),
        (path, Some(manager)) => format!("`{path}` had been changed by `{manager}`; restored"),
        (path, None) => format!("`{path}` had been removed; restored"),
    };
    lost.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_names_fields_and_managers_and_invents_neither() {
        let lost = [
            Lost { path: "spec.replicas".into(), manager: Some("kubectl-edit".into()) },
            Lost { path: "spec.paused".into(), manager: None },
        ];
        assert_eq!(
            sentence(&lost),
            "`spec.replicas` had been changed by `kubectl-edit`; restored, `spec.paused` had been removed; restored"
        );
        assert_eq!(sentence(&[Lost { path: DELETED.into(), manager: None }]), "had been deleted; made again");
    }
}
