//! Namespaces and CRDs: claimed before they are used, released after, deleted by their last user.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use threeport::v1::{InventoryEntry, RecordRequest, ResourceReference, SharedResource};
use threeport_sdk::controller::{Context, Error as Failure};
use tokio::time::Instant;

use super::contents::{self, Contents};
use super::deployment::Deployment;
use super::desired::{Desired, Owner};
use super::plan::entry;
use super::removal::Going;
use super::work::{Outcome, Work};
use crate::clients::kubernetes::{Cluster, Deletion, Error, Result as ClusterResult};
use crate::health::{self, Health};
use crate::resource::{
    CONTROL_PLANE_LABEL, MADE_FOR, ON_DELETE, annotation, display, is_namespace, is_retained, is_terminating, label,
    text, uid,
};

/// How long one reconcile waits for a CRD to be served.
const ESTABLISHING: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of the claims of one reconcile.
#[derive(Default)]
pub struct Claimed {
    pub refused: Vec<SharedResource>,
    /// Others of ours have seen them in the cluster, and this instance claims them for the first time.
    pub seen: Vec<SharedResource>,
}

/// Notes what is about to be made, and claims what is shared, before anything is touched.
pub async fn record(
    context: &Context<impl Deployment>,
    runtime_id: &str,
    desired: &[Desired],
) -> Result<Claimed, Failure> {
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
        return Ok(Claimed::default());
    }
    let answer = context.record(request).await?;
    let (granted, refused): (Vec<_>, Vec<_>) = answer.claims.into_iter().partition(|claim| claim.granted);
    // What isn't there after all shows in what needs it. From the second time on it is looked for.
    let is_first = |claim: &SharedResource| {
        let of = desired.iter().find(|one| one.reference.kind == claim.kind && one.reference.name == claim.name);
        of.is_some_and(|one| known(&one).is_none())
    };
    let is_seen = |claim: &SharedResource| !context.full_look() && !claim.uid.is_empty() && is_first(claim);
    Ok(Claimed { refused, seen: granted.into_iter().filter(is_seen).collect() })
}

fn new_entry(one: &Desired) -> InventoryEntry {
    InventoryEntry { resource: Some(one.reference.clone()), retained: one.is_retained, ..Default::default() }
}

fn shared(reference: &ResourceReference) -> SharedResource {
    SharedResource { kind: reference.kind.clone(), name: reference.name.clone(), ..Default::default() }
}

/// Notes the uids of claimed resources that now exist, and whether we made them.
pub async fn record_made(
    context: &Context<impl Deployment>,
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
        let deadline = (Instant::now() + ESTABLISHING).min(self.until);
        let is_waiting =
            |outcome: &&mut Outcome| outcome.has_written && outcome.error.is_none() && !outcome.health.is_healthy();
        for outcome in outcomes.iter_mut().filter(is_waiting) {
            while !outcome.health.is_healthy() && Instant::now() < deadline {
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
    /// Those of them that we made and that are proved absent, with all that was in them.
    pub absent: Vec<ResourceReference>,
    /// Still there.
    pub waiting: Vec<Going>,
    /// The cluster didn't let us.
    pub failed: Vec<(ResourceReference, Error)>,
    /// Left in the cluster for what others, or we for good, have in them.
    pub kept: Vec<String>,
    /// They hold what they can't go with, unless it goes before.
    pub occupied: Vec<ResourceReference>,
    /// Some were not even looked at: this step has lasted long enough.
    pub is_cut_short: bool,
}

/// Gives shared resources back; the last user deletes what we made, unless something foreign or retained is in it.
/// Repeating it goes on where it stopped.
pub async fn release(
    leaver: &Leaver<'_, impl Deployment>,
    entries: &[InventoryEntry],
    contents: Contents,
) -> Result<Released, Failure> {
    let Leaver { context, cluster, .. } = *leaver;
    let mut released = Released::default();
    let references = entries.iter().filter_map(|entry| entry.resource.clone()).collect::<Vec<_>>();
    if references.is_empty() {
        return Ok(released);
    }
    let made = match context.lease().guard(unrecorded(context, cluster, entries)).await? {
        Ok(made) => made,
        Err(error) => {
            released.failed.extend(references.into_iter().next().map(|reference| (reference, error)));
            return Ok(released);
        }
    };
    let releases = references.iter().map(shared).collect();
    let runtime_id = cluster.runtime_id().to_owned();
    // Who wants it again later has to claim it again: the entry no longer stands for something in use.
    let entries = entries.iter().filter(|entry| !entry.uid.is_empty()).map(unused).collect();
    let request = RecordRequest { runtime_id: runtime_id.clone(), made, releases, entries, ..Default::default() };
    let answer = context.record(request).await?;
    let mut gone = Vec::new();
    for (reference, release) in references.into_iter().zip(answer.releases) {
        if Instant::now() >= leaver.until {
            released.is_cut_short = true;
            break;
        }
        match context.lease().guard(leaver.leave(&reference, &release, contents)).await? {
            Ok(End::Absent) => released.absent.push(reference.clone()),
            Ok(End::Left) => {}
            Ok(End::Kept(why)) => released.kept.push(why),
            Ok(End::Going(going)) => {
                released.waiting.push(going);
                continue;
            }
            Ok(End::Occupied) => {
                released.occupied.push(reference);
                continue;
            }
            Err(error) => {
                released.failed.push((reference, error));
                continue;
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

/// What we made without having noted it: the reconcile may have died in between.
async fn unrecorded(
    context: &Context<impl Deployment>,
    cluster: &Cluster,
    entries: &[InventoryEntry],
) -> ClusterResult<Vec<SharedResource>> {
    let mut made = Vec::new();
    let unknown = entries.iter().filter(|entry| entry.uid.is_empty());
    for reference in unknown.filter_map(|entry| entry.resource.as_ref()) {
        let live = cluster.get(reference).await?;
        let is_ours =
            |live: &Value| !is_terminating(live) && label(live, CONTROL_PLANE_LABEL) == context.control_plane_id();
        if let Some(live) = live.filter(is_ours) {
            made.push(SharedResource { uid: uid(&live).to_owned(), made_by_us: true, ..shared(reference) });
        }
    }
    Ok(made)
}

fn unused(entry: &InventoryEntry) -> InventoryEntry {
    InventoryEntry { uid: String::new(), applied_hash: String::new(), managed_hash: String::new(), ..entry.clone() }
}

enum End {
    /// What we made is proved absent.
    Absent,
    /// It wasn't ours to delete.
    Left,
    Going(Going),
    Kept(String),
    Occupied,
}

/// Who gives shared resources back.
pub struct Leaver<'a, T> {
    pub context: &'a Context<T>,
    pub cluster: &'a Arc<Cluster>,
    pub manager: &'a str,
    /// Nothing new is begun after this.
    pub until: Instant,
}

impl<T: Deployment> Leaver<'_, T> {
    async fn leave(
        &self,
        reference: &ResourceReference,
        release: &SharedResource,
        contents: Contents,
    ) -> ClusterResult<End> {
        if !release.granted {
            return self.unmark(reference).await;
        }
        if !release.made_by_us || release.uid.is_empty() {
            return Ok(End::Left);
        }
        let Some(live) = self.cluster.get(reference).await? else { return Ok(End::Absent) };
        if uid(&live) != release.uid {
            // Somebody has made it anew, and what is in it proves nothing of what was in the other.
            return Ok(End::Left);
        }
        if is_terminating(&live) {
            return Ok(End::Going(Going::of(&live, reference)));
        }
        if let Some(why) = self.why_kept(&live, contents).await? {
            if contents == Contents::All {
                return Ok(End::Occupied);
            }
            self.patch(reference, &release.uid, &json!({ CONTROL_PLANE_LABEL: null })).await?;
            return Ok(End::Kept(format!("{} stays: {why}", display(reference))));
        }
        Ok(match self.cluster.delete(reference, &release.uid).await? {
            Deletion::Gone => End::Absent,
            Deletion::Going(object) => End::Going(Going::of(&object, reference)),
        })
    }

    async fn why_kept(&self, live: &Value, contents: Contents) -> ClusterResult<Option<String>> {
        if is_retained(live) && !self.context.delete_data() {
            return Ok(Some(format!("it is annotated `{ON_DELETE}: retain`")));
        }
        let left = contents::foreign(self.cluster, live, self.owner(), contents).await?;
        Ok(left.map(|left| format!("{left} is in it")))
    }

    /// Others go on using it: nothing later may take it for what this instance has left behind.
    async fn unmark(&self, reference: &ResourceReference) -> ClusterResult<End> {
        if is_namespace(reference)
            && let Some(live) = self.cluster.get(reference).await?
            && annotation(&live, MADE_FOR) == self.owner().instance_id
            && label(&live, CONTROL_PLANE_LABEL) == self.context.control_plane_id()
        {
            self.patch(reference, uid(&live), &json!({})).await?;
        }
        Ok(End::Left)
    }

    /// Takes the mark of the instance off, and changes labels.
    async fn patch(&self, reference: &ResourceReference, uid: &str, labels: &Value) -> ClusterResult<()> {
        let patch = json!({ "metadata": { "labels": labels, "annotations": { MADE_FOR: null } } });
        match self.cluster.merge(reference, uid, &patch, self.manager).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn owner(&self) -> Owner<'_> {
        let instance_id = self.context.object.meta().id.as_str();
        Owner { control_plane_id: self.context.control_plane_id(), instance_id }
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
