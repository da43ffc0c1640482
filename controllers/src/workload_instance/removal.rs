//! Taking single resources away: by uid, with proof of their absence.

use threeport::v1::{InventoryEntry, ResourceReference};
use threeport_sdk::controller::{Error as Failure, LeaseGuard};

use serde_json::json;

use super::claims::why_it_stays;
use super::kept;
use super::plan::Observed;
use super::report::ResourceState;
use crate::clients::kubernetes::{Cluster, Deletion, Error, Result};
use crate::health::{Health, State};
use crate::resource::{APPLIED_HASH, CONTROL_PLANE_LABEL, INSTANCE_LABEL, label};

/// Who removes.
pub struct Removal<'a> {
    pub cluster: &'a Cluster,
    pub lease: &'a LeaseGuard,
    pub manager: &'a str,
    pub instance_id: &'a str,
}

/// What became of a resource.
pub enum Removed {
    /// Proved absent, or never ours.
    Gone,
    /// Kept, and no longer marked as ours.
    Kept,
    /// Still there; why.
    Going(String),
    Failed(Error),
}

impl Removal<'_> {
    /// Deletes what the entry stands for.
    pub async fn delete(&self, entry: &InventoryEntry) -> std::result::Result<Removed, Failure> {
        let Some(reference) = &entry.resource else { return Ok(Removed::Gone) };
        let deleted = self.lease.guard(self.delete_ours(reference, &entry.uid)).await?;
        Ok(match deleted {
            Ok(Deletion::Gone) => Removed::Gone,
            Ok(Deletion::Going(object)) => Removed::Going(why_it_stays(&object, reference)),
            Err(error) => Removed::Failed(error),
        })
    }

    /// An entry without uid may stand for something that a reconcile made just before it died.
    async fn delete_ours(&self, reference: &ResourceReference, uid: &str) -> Result<Deletion> {
        if !uid.is_empty() {
            return self.cluster.delete(reference, uid).await;
        }
        let live = self.cluster.get(reference).await?.filter(|live| label(live, INSTANCE_LABEL) == self.instance_id);
        match live.map(|live| Observed::of(&live, self.manager)).filter(Observed::is_ours) {
            Some(seen) => self.cluster.delete(reference, &seen.uid).await,
            None => Ok(Deletion::Gone),
        }
    }

    /// Takes our marks off something that outlives its instance, so that nothing later takes it for ours.
    pub async fn let_go(&self, entry: &InventoryEntry) -> std::result::Result<Removed, Failure> {
        let Some(reference) = entry.resource.as_ref().filter(|_| !entry.uid.is_empty()) else {
            return Ok(Removed::Gone);
        };
        let patch = json!({ "metadata": {
            "labels": { CONTROL_PLANE_LABEL: null, INSTANCE_LABEL: null },
            "annotations": { APPLIED_HASH: null },
        }});
        let patched = self.lease.guard(self.cluster.merge(reference, &entry.uid, &patch, self.manager)).await?;
        Ok(match patched {
            Ok(_) => Removed::Kept,
            // Gone, or another one has the name now.
            Err(Error::NotFound(_) | Error::Stale(_) | Error::UnknownKind { .. }) => Removed::Gone,
            Err(error) => Removed::Failed(error),
        })
    }
}

/// What became of what is no longer wanted.
#[derive(Default)]
pub struct Removals {
    pub gone: Vec<ResourceReference>,
    pub kept: Vec<InventoryEntry>,
    /// Still there, and why.
    pub going: Vec<(ResourceReference, String)>,
    pub failed: Vec<(ResourceReference, Error)>,
    pub notes: Vec<String>,
}

impl Removals {
    pub fn note(&mut self, entry: &InventoryEntry, removed: Removed) {
        let reference = entry.resource.clone().unwrap_or_default();
        match removed {
            Removed::Gone => self.gone.push(reference),
            Removed::Kept => self.kept.push(kept(entry)),
            Removed::Going(why) => self.going.push((reference, why)),
            Removed::Failed(error) => self.failed.push((reference, error)),
        }
    }

    /// Whether nothing is still to go.
    pub fn are_over(&self) -> bool {
        self.going.is_empty() && self.failed.is_empty()
    }

    pub fn states(&self) -> Vec<ResourceState> {
        let going =
            self.going.iter().map(|(reference, why)| (reference.clone(), Health::reconciling("Removing", why.clone())));
        let failed = self.failed.iter().map(|(reference, error)| {
            (reference.clone(), Health::new(State::Error, error.reason(), error.to_string()))
        });
        going.chain(failed).collect()
    }
}
