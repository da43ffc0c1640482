//! Makes one instance's resources be in its cluster as they should, and tells how they are.

pub mod contents;
pub mod desired;
pub mod plan;
pub mod repairs;

mod apply;
mod claims;
pub mod cleanup;
pub mod deployment;
mod diagnosis;
mod keeping;
mod names;
pub mod observe;
mod order;
pub mod outcome;
mod ownership;
mod paused;
mod prepare;
mod refused;
mod removal;
mod report;
mod shared;
mod source;
mod takeover;
mod uptake;
mod volume_claims;
pub mod work;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::v1::{InventoryEntry, KubernetesRuntimeInstance, SharedResource, WorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, Next, Reconciler};

use crate::clients::kubernetes::{Cluster, Clusters, InvalidCredentials};
use crate::drift::{Watch, Watches};
use crate::resource::field_manager;
use deployment::Deployment;
use desired::{Desired, Owner, desired};
use names::Names;
use outcome::Round;
use plan::{Live, plan};
use removal::Removals;
use source::Source;
use work::{Work, step_end};

/// The longest time between looks at what nothing tells of.
const SLOW_LOOK: Duration = Duration::from_mins(5);

/// Reconciles workload instances.
pub struct WorkloadInstances {
    pub clusters: Clusters,
    pub watches: Watches,
}

impl Reconciler for WorkloadInstances {
    type Object = WorkloadInstance;
    const CONTROLLER: &'static str = "workload-instance";

    async fn reconcile(&self, context: &mut Context<WorkloadInstance>) -> Result<Next, Failure> {
        let until = step_end();
        let source = Source::of(context)?;
        context.set_status(source.status());
        if source.is_paused() {
            return paused::reconcile(self, context, &source).await;
        }
        let resources = match source.render() {
            Ok(resources) => resources,
            Err(message) => return Err(not_ready(context, &source.status(), "ValuesInvalid", &message, true)),
        };
        let cluster = match cluster_of(&self.clusters, &context.object, source.runtime.as_ref()) {
            Ok(cluster) => cluster,
            Err((reason, message)) => return Ok(wait_for_runtime(context, &source.status(), &reason, &message)),
        };
        let meta = context.object.meta().clone();
        let watch = self.watches.on(&cluster, context.lease(), context.control(), context.control_plane_id());
        let _in_flight = watch.begin(&meta.id);
        context.set_runtime(cluster.runtime_id());
        let owner = Owner { control_plane_id: context.control_plane_id(), instance_id: &meta.id };
        let wanted = desired(observe::scoped(&cluster, resources, &source.namespace).await, owner);
        let round = Round {
            cluster,
            watch,
            wanted,
            manager: field_manager(&meta.id),
            is_simulated: source.is_simulated(),
            status: source.status(),
            until,
        };
        round.run(context).await
    }

    async fn cleanup(&self, context: &mut Context<WorkloadInstance>) -> Result<Next, Failure> {
        cleanup::run(self, context).await
    }

    /// Instances on one cluster share a cap, so that a dead one can't hold all slots.
    fn gate(&self, object: &WorkloadInstance) -> Option<String> {
        let runtime = object.spec.as_ref()?.runtime.clone();
        if runtime.contains('/') { Some(runtime) } else { Some(format!("{}/{runtime}", object.meta().project)) }
    }
}

/// The cluster of an object's runtime, or why there is none now.
pub fn cluster_of(
    clusters: &Clusters,
    object: &impl Deployment,
    runtime: Option<&KubernetesRuntimeInstance>,
) -> Result<Arc<Cluster>, (String, String)> {
    let Some(runtime) = runtime else {
        return Err(("RuntimeMissing".into(), "its runtime can't be read".into()));
    };
    let name = &runtime.meta().name;
    let conditions = runtime.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.r#type == "Ready");
    // A runtime that nobody has looked at yet may well be there.
    if let Some(ready) = ready.filter(|ready| ready.status == "False" && !object.is_deleting()) {
        return Err((format!("Runtime{}", ready.reason), format!("runtime `{name}`: {}", ready.message)));
    }
    let invalid =
        |error: InvalidCredentials| ("RuntimeCredentialsInvalid".to_owned(), format!("runtime `{name}`: {error}"));
    clusters.of(runtime).map_err(invalid)
}

/// Says why the instance isn't ready and how to go on: after an edit, or by itself.
pub fn not_ready(
    context: &mut Context<impl Deployment>,
    status: &Value,
    reason: &str,
    message: &str,
    needs_edit: bool,
) -> Failure {
    context.set_status(unseen(status));
    context.condition("Ready", false, reason, message);
    if needs_edit { Failure::give_up(reason, message) } else { Failure::Retry(anyhow::anyhow!("{reason}: {message}")) }
}

/// Waiting is no error, and costs nothing: the runtime's readiness, or an edit of it, wakes its users.
pub fn wait_for_runtime(context: &mut Context<impl Deployment>, status: &Value, reason: &str, message: &str) -> Next {
    context.set_status(unseen(status));
    context.condition("Ready", false, reason, message);
    Next::Done
}

impl Round {
    /// Claims, looks, plans, acts and reports.
    pub async fn run(mut self, context: &mut Context<impl Deployment>) -> Result<Next, Failure> {
        let claimed = claims::record(context, self.cluster.runtime_id(), &self.wanted).await?;
        if !claimed.refused.is_empty() {
            return self.not_granted(context, &claimed.refused).await;
        }
        self.watch.follow(self.wanted.iter().map(|one| &one.reference));
        let live = match self.observe(context).await? {
            Ok(live) => live,
            Err(error) => return Err(self.unreachable(context, &error)),
        };
        if let Err(error) = self.yield_to_autoscalers(context).await? {
            return Err(self.unreachable(context, &error));
        }
        let steps = plan(&self.wanted, context.inventory(), &live);
        let work = self.work(context, &claimed.seen, &live);
        let mut outcomes = work.apply(&steps).await?;
        claims::record_made(context, self.cluster.runtime_id(), &self.wanted, &outcomes).await?;
        let is_whole = outcomes.iter().all(|outcome| outcome.error.is_none()) && outcomes.len() == self.wanted.len();
        let removed = if is_whole { self.remove(context, &steps).await? } else { Removals::put_off(&steps) };
        self.revive_shared(&mut outcomes).await?;
        self.wait_for_uptake(context, &mut outcomes).await?;
        self.explain(context, &live, &mut outcomes).await?;
        self.report(context, outcomes, removed).await
    }
}

impl Round {
    /// What every step of this round needs.
    fn work<'a>(
        &'a self,
        context: &'a Context<impl Deployment>,
        seen_by_others: &'a [SharedResource],
        live: &'a Live,
    ) -> Work<'a> {
        Work {
            cluster: &self.cluster,
            lease: context.lease(),
            names: Names(context.client()),
            manager: &self.manager,
            control_plane_id: context.control_plane_id(),
            instance_id: &context.object.meta().id,
            adopt: context.object.adopt(),
            inventory: context.inventory(),
            seen_by_others,
            live,
            desired: &self.wanted,
            until: self.until,
        }
    }
}

/// What a removal leaves in the inventory, as the cluster's own and kept.
fn kept(entry: &InventoryEntry) -> InventoryEntry {
    InventoryEntry {
        observed: true,
        retained: true,
        applied_hash: String::new(),
        managed_hash: String::new(),
        ..entry.clone()
    }
}

/// The status of an instance that can't be looked at: how its resources are is not known.
fn unseen(status: &Value) -> Value {
    let mut status = status.clone();
    status["health"] = json!("Error");
    status
}
