//! Namespaces and CRDs, which may be there already and be others' too: never forced, and labelled only when we make them.

use threeport::v1::SharedResource;
use threeport_sdk::controller::Error as Failure;

use super::desired::Nature;
use super::work::{Outcome, Work};
use crate::clients::kubernetes::{Applied, Apply, Error, Identity};
use crate::resource::{CONTROL_PLANE_LABEL, display, is_terminating, label, set_label};

impl Work<'_> {
    /// Sees to it that a namespace or CRD is there, as described where it is described.
    pub async fn ensure_shared(&self, index: usize) -> Result<Outcome, Failure> {
        if self.desired[index].nature == Nature::Implied {
            self.make_namespace(index).await
        } else {
            self.apply_described(index).await
        }
    }

    /// A namespace or CRD that may be there already: only what we make gets our label.
    async fn make_namespace(&self, index: usize) -> Result<Outcome, Failure> {
        let one = &self.desired[index];
        let mut outcome = self.outcome(index);
        let is_it = |seen: &&SharedResource| seen.kind == one.reference.kind && seen.name == one.reference.name;
        if let Some(seen) = self.seen_by_others.iter().find(is_it) {
            outcome.entry.uid.clone_from(&seen.uid);
            outcome.entry.applied_hash.clone_from(&one.hash);
            outcome.entry.health = outcome.health.summary();
            return Ok(outcome);
        }
        match self.under_lease(self.cluster.create(&one.value, self.manager)).await? {
            Ok(object) => self.note_applied(&mut outcome, Ok(Applied { object, is_created: true })),
            Err(Error::AlreadyExists(_)) => match self.read(index).await? {
                Ok(Some(object)) if is_terminating(&object) => {
                    Self::note_error(
                        &mut outcome,
                        Error::Terminating(format!("{} is being deleted", display(&one.reference))),
                    );
                }
                Ok(Some(object)) => {
                    let is_created = label(&object, CONTROL_PLANE_LABEL) == self.control_plane_id;
                    self.note_applied(&mut outcome, Ok(Applied { object, is_created }));
                }
                Ok(None) => Self::note_error(&mut outcome, Error::Stale("it went as it was looked at".into())),
                Err(error) => Self::note_error(&mut outcome, error),
            },
            Err(error) => Self::note_error(&mut outcome, error),
        }
        Ok(outcome)
    }

    /// Applies a described namespace or CRD, never forced; the label of our making stays as it is.
    async fn apply_described(&self, index: usize) -> Result<Outcome, Failure> {
        let mut outcome = self.outcome(index);
        let Some(live) = self.read_or_note(&mut outcome).await? else { return Ok(outcome) };
        let is_made_by_us = live.as_ref().is_none_or(|live| label(live, CONTROL_PLANE_LABEL) == self.control_plane_id);
        let mut value = self.desired[index].value.clone();
        if is_made_by_us {
            set_label(&mut value, CONTROL_PLANE_LABEL, self.control_plane_id);
        }
        let known = live.as_ref().map(Identity::of);
        let apply = Apply { object: &value, manager: self.manager, force: false, known: known.as_ref() };
        let applied = match (self.under_lease(self.cluster.apply(apply)).await?, &live) {
            (Err(Error::Conflict { message, conflicts }), Some(live)) => {
                let managers = conflicts.iter().map(|conflict| conflict.manager.clone()).collect();
                Err(Error::Conflict { message: self.explained(live, &message, &managers).await, conflicts })
            }
            (applied, _) => applied,
        };
        self.note_applied(&mut outcome, applied);
        outcome.is_created = is_made_by_us;
        Ok(outcome)
    }
}
