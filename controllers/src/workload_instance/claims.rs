//! Namespaces and CRDs: claimed before they are used, released after, deleted by their last user.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use threeport::v1::{InventoryEntry, RecordRequest, ResourceReference, SharedResource, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure};

use super::contents;
use super::desired::Desired;
use super::plan::entry;
use super::work::{Outcome, Work};
use crate::clients::kubernetes::{Cluster, Deletion, Error};
use crate::health::{self, Health};
use crate::resource::{CONTROL_PLANE_LABEL, MADE_FOR, display, text};

/// How long one reconcile waits for a CRD to be served.
const ESTABLISHING: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Notes what is about to be made, and claims what is shared, before anything is touched. Answers the claims refused.
pub async fn record(
    context: &Context<WorkloadInstance>,
    runtime_id: &str,
    desired: &[Desired],
) -> Result<Vec<SharedResource>, Failure> {
    let known = |one: &&Desired| entry(context.inventory(), &one.reference);
    let claims = desired.iter().filter(|one| one.is_shared() && known(one).is_none_or(|known| known.uid.is_empty()));
    let entries = desired.iter().filter(|one| known(one).is_none());
    let request = RecordRequest {
        runtime_id: runtime_id.to_owned(),
        claims: claims.map(|one| shared(&one.reference)).collect(),
        entries: entries.map(new_entry).collect(),
        ..Default::default()
    };
    if request.claims.is_empty() && request.entries.is_empty() {
        return Ok(Vec::new());
    }
    let answer = context.record(request).await?;
    Ok(answer.claims.into_iter().filter(|claim| !claim.granted).collect())
}

fn new_entry(one: &Desired) -> InventoryEntry {
    InventoryEntry { resource: Some(one.reference.clone()), retained: one.is_retained, ..Default::default() }
}

fn shared(reference: &ResourceReference) -> SharedResource {
    SharedResource { kind: reference.kind.clone(), name: reference.name.clone(), ..Default::default() }
}

/// Notes the uids of claimed resources that now exist, and whether we made them.
pub async fn record_made(
    context: &Context<WorkloadInstance>,
    runtime_id: &str,
    desired: &[Desired],
    outcomes: &[Outcome],
) -> Result<(), Failure> {
    let is_new =
        |outcome: &&Outcome| desired[outcome.index].is_shared() && outcome.has_written && outcome.error.is_none();
    let made = outcomes.iter().filter(is_new).map(|outcome| SharedResource {
        uid: outcome.entry.uid.clone(),
        made_by_us: outcome.is_created,
        ..shared(&desired[outcome.index].reference)
    });
    let made = made.collect::<Vec<_>>();
    if !made.is_empty() {
        context.record(RecordRequest { runtime_id: runtime_id.to_owned(), made, ..Default::default() }).await?;
    }
    Ok(())
}

impl Work<'_> {
    /// Waits, for a while, until the cluster serves the CRDs that were applied.
    pub async fn wait_for_definitions(&self, outcomes: &mut [Outcome]) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + ESTABLISHING;
        let is_waiting =
            |outcome: &&mut Outcome| outcome.has_written && outcome.error.is_none() && !outcome.health.is_healthy();
        for outcome in outcomes.iter_mut().filter(is_waiting) {
            while !outcome.health.is_healthy() && tokio::time::Instant::now() < deadline {
                self.lease.guard(tokio::time::sleep(LOOK_EVERY)).await?;
                let live = self.lease.guard(self.cluster.get(&self.desired[outcome.index].reference)).await?;
                match live {
                    Ok(Some(live)) => outcome.health = health::of(&live),
                    Ok(None) => break,
                    Err(error) => {
                        Self::note_error(outcome, error);
                        break;
                    }
                }
            }
            outcome.entry.health = outcome.health.summary();
        }
        Ok(())
    }
}

/// What became of shared resources that are no longer used.
#[derive(Default)]
pub struct Released {
    /// To be dropped from the inventory.
    pub forgotten: Vec<ResourceReference>,
    /// Still there; why.
    pub waiting: Vec<String>,
    /// Left in the cluster for what others, or we for good, have in them.
    pub kept: Vec<String>,
}

/// Gives shared resources back; the last user deletes what we made, unless something foreign or retained is in it.
pub async fn release(
    context: &Context<WorkloadInstance>,
    cluster: &Cluster,
    manager: &str,
    entries: &[InventoryEntry],
) -> Result<Released, Failure> {
    let mut released = Released::default();
    let references = entries.iter().filter_map(|entry| entry.resource.clone()).collect::<Vec<_>>();
    if references.is_empty() {
        return Ok(released);
    }
    let runtime_id = cluster.runtime_id().to_owned();
    let releases = references.iter().map(shared).collect();
    let answer =
        context.record(RecordRequest { runtime_id: runtime_id.clone(), releases, ..Default::default() }).await?;
    let mut gone = Vec::new();
    for (reference, release) in references.into_iter().zip(answer.releases) {
        if release.granted && release.made_by_us && !release.uid.is_empty() {
            match end(context, cluster, manager, &reference, &release.uid).await? {
                End::Gone => {}
                End::Kept(why) => released.kept.push(why),
                End::Going(why) => {
                    released.waiting.push(why);
                    continue;
                }
            }
        }
        if release.granted {
            gone.push(shared(&reference));
        }
        released.forgotten.push(reference);
    }
    if !gone.is_empty() {
        context.record(RecordRequest { runtime_id, gone, ..Default::default() }).await?;
    }
    Ok(released)
}

enum End {
    Gone,
    Going(String),
    Kept(String),
}

/// Deletes a shared resource that nobody uses any more, or lets go of it.
async fn end(
    context: &Context<WorkloadInstance>,
    cluster: &Cluster,
    manager: &str,
    reference: &ResourceReference,
    uid: &str,
) -> Result<End, Failure> {
    let lease = context.lease();
    let failed = || format!("deleting {}", display(reference));
    let live = lease.guard(cluster.get(reference)).await?.with_context(failed)?;
    let Some(live) = live.filter(|live| live["metadata"]["uid"] == uid) else { return Ok(End::Gone) };
    if live["metadata"]["deletionTimestamp"].is_string() {
        return Ok(End::Going(why_it_stays(&live, reference)));
    }
    if let Some(left) = lease.guard(contents::foreign(cluster, &live)).await?.with_context(failed)? {
        let patch =
            json!({ "metadata": { "labels": { CONTROL_PLANE_LABEL: null }, "annotations": { MADE_FOR: null } } });
        let patched = lease.guard(cluster.merge(reference, uid, &patch, manager)).await?;
        match patched {
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(anyhow::Error::new(error).context(failed()).into()),
        }
        return Ok(End::Kept(format!("{} stays: {left} is in it", display(reference))));
    }
    match lease.guard(cluster.delete(reference, uid)).await?.with_context(failed)? {
        Deletion::Gone => Ok(End::Gone),
        Deletion::Going(object) => Ok(End::Going(why_it_stays(&object, reference))),
    }
}

/// In the cluster's words where it has some: a namespace tells what is left in it.
pub fn why_it_stays(object: &Value, reference: &ResourceReference) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let told =
        conditions.filter(|condition| condition["status"] == "True").map(|condition| text(&condition["message"]));
    let told = told.filter(|message| !message.is_empty()).collect::<Vec<_>>();
    let Health { message, .. } = health::of(object);
    let why = if told.is_empty() { message } else { told.join("; ") };
    format!("{} {why}", display(reference))
}
