//! Makes one chart be released in its cluster as it should, and tells how it is.
//!
//! Helm installs, upgrades, rolls back and removes, and runs the hooks. What a release's manifest says is then a deployment
//! like any other: watched, repaired and reported by the rounds of workload instances, under the field manager that Helm
//! applies as.

pub mod post_render;

mod cleanup;
mod jobs;
mod records;
mod release_plan;
mod settle;
mod source;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use threeport::object::Object;
use threeport::v1::{Adoption, Condition, HelmWorkloadInstance};
use threeport_sdk::controller::{Context, Error as Failure, Next, Reconciler};

use crate::clients::helm::{Helm, Target, Upgrade};
use crate::clients::kubernetes::{Cluster, Clusters, InvalidCredentials, kubeconfig};
use crate::drift::Watches;
use crate::resource::{CONTROL_PLANE_LABEL, INSTANCE_LABEL};
use crate::workload_instance::deployment::Deployment;
use crate::workload_instance::work::step_end;
use crate::workload_instance::{cluster_of, not_ready, wait_for_runtime};
use jobs::Jobs;
use post_render::PostRender;
use records::RELEASE_HASH;
use settle::Releases;
use source::Source;
use visit::Visit;

/// The end of an operation wakes its instance; this is for when that is lost.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// While another replica is at it, or has an end to tell.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Reconciles helm workload instances.
pub struct HelmWorkloadInstances {
    clusters: Clusters,
    watches: Watches,
    helm: Helm,
    jobs: Jobs,
    releases: Releases,
}

impl HelmWorkloadInstances {
    pub fn new(clusters: Clusters, watches: Watches, helm: Helm) -> Self {
        Self { clusters, watches, helm, jobs: Jobs::default(), releases: Releases::default() }
    }
}

impl Deployment for HelmWorkloadInstance {
    fn runtime(&self) -> &str {
        self.spec.as_ref().map_or("", |spec| &spec.runtime)
    }

    fn adopt(&self) -> &[Adoption] {
        &[]
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Reconciler for HelmWorkloadInstances {
    type Object = HelmWorkloadInstance;
    const CONTROLLER: &'static str = "helm-workload-instance";

    async fn reconcile(&self, context: &mut Context<HelmWorkloadInstance>) -> Result<Next, Failure> {
        let until = step_end();
        let source = Source::of(context)?;
        let mut status = source.status();
        if source.is_paused {
            status["health"] = json!("Paused");
            context.set_status(status);
            context.condition("Ready", false, "Paused", "is paused: nothing is touched; set `paused: false` to go on");
            return Ok(Next::Done);
        }
        let values = match &source.values {
            Ok(values) => values.clone(),
            Err(message) => return Err(not_ready(context, &status, "ValuesInvalid", message, true)),
        };
        let (cluster, target) = match self.reach(context, &source) {
            Ok(reached) => reached,
            Err((reason, message)) => return Ok(wait_for_runtime(context, &status, &reason, &message)),
        };
        let watch = self.watches.on(&cluster, context.lease(), context.control(), context.control_plane_id());
        let _in_flight = watch.begin(&context.object.meta().id);
        context.set_runtime(cluster.runtime_id());
        let hash = source.hash(&values);
        let upgrade = upgrade(context, &source, &hash, values);
        let visit = Visit { controller: self, cluster, watch, source, target, hash, upgrade, until };
        Box::pin(visit.run(context)).await
    }

    async fn cleanup(&self, context: &mut Context<HelmWorkloadInstance>) -> Result<Next, Failure> {
        cleanup::run(self, context).await
    }

    /// As with workload instances: those on one cluster share a cap.
    fn gate(&self, object: &HelmWorkloadInstance) -> Option<String> {
        let runtime = object.runtime();
        Some(if runtime.contains('/') { runtime.to_owned() } else { format!("{}/{runtime}", object.meta().project) })
    }
}

impl HelmWorkloadInstances {
    /// The release's cluster, for us and for Helm; or why there is none now.
    fn reach(
        &self,
        context: &Context<HelmWorkloadInstance>,
        source: &Source,
    ) -> Result<(Arc<Cluster>, Target), (String, String)> {
        let cluster = cluster_of(&self.clusters, &context.object, source.runtime.as_ref())?;
        let spec = source.runtime.as_ref().and_then(|runtime| runtime.spec.clone()).unwrap_or_default();
        let invalid = |error: InvalidCredentials| ("RuntimeCredentialsInvalid".to_owned(), error.to_string());
        let target = Target {
            release: source.release.clone(),
            namespace: source.namespace.clone(),
            kubeconfig: kubeconfig(&spec).map_err(invalid)?,
            lease: context.lease().clone(),
            secrets: source.secrets.clone(),
        };
        Ok((cluster, target))
    }
}

fn upgrade(context: &Context<HelmWorkloadInstance>, source: &Source, hash: &str, values: Vec<String>) -> Upgrade {
    let instance_id = &context.object.meta().id;
    let labels = [
        (CONTROL_PLANE_LABEL, context.control_plane_id()),
        (INSTANCE_LABEL, instance_id.as_str()),
        (RELEASE_HASH, hash),
    ];
    let post_render = PostRender {
        control_plane_id: context.control_plane_id().to_owned(),
        instance_id: instance_id.clone(),
        release: source.release.clone(),
        namespace: source.namespace.clone(),
    };
    Upgrade {
        chart: source.chart.clone(),
        values,
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        post_render: json!(post_render).to_string(),
    }
}
