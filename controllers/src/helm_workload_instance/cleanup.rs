//! Takes a release out of its cluster: Helm uninstalls it, hooks and all, then everything it had is proved gone.

use serde_json::json;
use threeport::object::Object;
use threeport::v1::{HelmWorkloadInstance, InventoryEntry, RecordRequest};
use threeport_sdk::controller::{Context, Error as Failure, Next};

use super::jobs::{Action, End, Known};
use super::records::revisions;
use super::release_plan::Revision;
use super::settle::hooks;
use super::source::Source;
use super::{ELSEWHERE, HelmWorkloadInstances, LOOK_AGAIN};
use crate::clients::helm::Target;
use crate::clients::kubernetes::{Cluster, Result as ClusterResult};
use crate::resource::{HOOK_LABEL, label, uid};
use crate::workload_instance::cleanup::{clear, entries, stuck};
use crate::workload_instance::desired::Owner;

/// One pass; done when all is proved gone, or kept and no longer marked as ours.
pub async fn run(
    controller: &HelmWorkloadInstances,
    context: &mut Context<HelmWorkloadInstance>,
) -> Result<Next, Failure> {
    // The namespace is noted before anything is released.
    if context.inventory().is_empty() {
        return Ok(Next::Done);
    }
    let source = Source::of(context)?;
    let (cluster, target) = match controller.reach(context, &source) {
        Ok(reached) => reached,
        Err((reason, message)) => return Err(stuck(context, &reason, &message)),
    };
    let watch = controller.watches.on(&cluster, context.lease(), context.control(), context.control_plane_id());
    let _in_flight = watch.begin(&context.object.meta().id);
    context.set_runtime(cluster.runtime_id());
    match controller.jobs.look(&context.object.meta().id) {
        Known::Running(Action::Uninstall) => return Ok(uninstalling(context)),
        Known::Running(_) => controller.jobs.stop(&context.object.meta().id).await,
        Known::Ended(End { action: Action::Uninstall, result: Err(failed), .. }) => {
            controller.jobs.release(context).await?;
            return Err(stuck(context, failed.cause.reason(), &failed.words));
        }
        Known::Ended(_) | Known::Nothing => {}
    }
    match uninstall(controller, context, &cluster, target).await? {
        Some(next) => Ok(next),
        None => clear(context, &cluster).await,
    }
}

/// Begins to uninstall what is released; none when nothing is.
async fn uninstall(
    controller: &HelmWorkloadInstances,
    context: &mut Context<HelmWorkloadInstance>,
    cluster: &Cluster,
    target: Target,
) -> Result<Option<Next>, Failure> {
    let control_plane_id = context.control_plane_id().to_owned();
    let owner = Owner { control_plane_id: &control_plane_id, instance_id: &context.object.meta().id.clone() };
    let found = revisions(cluster, &target.namespace, &target.release, owner);
    let mut ours = match context.lease().guard(found).await? {
        Ok(found) => found.into_iter().filter(|revision| revision.is_ours).collect::<Vec<_>>(),
        Err(error) => return Err(stuck(context, error.reason(), &error.to_string())),
    };
    ours.sort_by_key(|revision| revision.number);
    let Some(latest) = ours.pop() else {
        return match context.lease().guard(find_hooks(context, cluster)).await? {
            Ok(found) if found.is_empty() => Ok(None),
            Ok(found) => {
                let runtime_id = cluster.runtime_id().to_owned();
                context.record(RecordRequest { runtime_id, entries: found, ..Default::default() }).await?;
                Ok(Some(Next::CheckIn(std::time::Duration::ZERO)))
            }
            Err(error) => Err(stuck(context, error.reason(), &error.to_string())),
        };
    };
    if !controller.jobs.acquire(context).await? {
        return Ok(Some(Next::CheckIn(ELSEWHERE)));
    }
    note_all(controller, context, cluster, &target, &latest).await?;
    let helm = controller.helm.clone();
    controller.jobs.start(context, Action::Uninstall, String::new(), async move { helm.uninstall(&target).await });
    Ok(Some(uninstalling(context)))
}

/// Notes what nothing leads to any more once the release is gone: hooks, and the claims of stateful sets.
async fn note_all(
    controller: &HelmWorkloadInstances,
    context: &mut Context<HelmWorkloadInstance>,
    cluster: &Cluster,
    target: &Target,
    latest: &Revision,
) -> Result<(), Failure> {
    let release = match controller.helm.read(target, latest.number).await {
        Ok(release) => release,
        Err(failed) => return Err(stuck(context, failed.cause.reason(), &failed.words)),
    };
    let found = hooks(&[&release], &target.namespace, context.inventory());
    if !found.is_empty() {
        let runtime_id = cluster.runtime_id().to_owned();
        context.record(RecordRequest { runtime_id, entries: found, ..Default::default() }).await?;
    }
    match entries(context, cluster).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(stuck(context, error.reason(), &error.to_string())),
    }
}

/// Hooks that are still there, by uid: only those that bear our mark are ours to delete.
async fn find_hooks(context: &Context<HelmWorkloadInstance>, cluster: &Cluster) -> ClusterResult<Vec<InventoryEntry>> {
    let instance_id = &context.object.meta().id;
    let mut found = Vec::new();
    let is_hook = |entry: &&InventoryEntry| entry.observed && !entry.retained && entry.uid.is_empty();
    for entry in context.inventory().iter().filter(is_hook) {
        let Some(reference) = &entry.resource else { continue };
        let live = cluster.get(reference).await?.filter(|live| label(live, HOOK_LABEL) == instance_id);
        found.extend(live.map(|live| InventoryEntry { uid: uid(&live).to_owned(), ..entry.clone() }));
    }
    Ok(found)
}

fn uninstalling(context: &mut Context<HelmWorkloadInstance>) -> Next {
    context.set_status(json!({ "health": "Reconciling" }));
    context.condition("Ready", false, "Uninstalling", "helm uninstalls it");
    Next::CheckIn(LOOK_AGAIN)
}
