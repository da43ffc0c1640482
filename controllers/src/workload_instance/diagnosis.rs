//! Why something isn't healthy: what its pods and recent warnings say, told by the watch or asked of the cluster.

use std::time::Duration;

use threeport_sdk::controller::{Context, Error as Failure};

use super::deployment::Deployment;
use super::outcome::{Round, unready_for};
use super::plan::{self, Live, Observed};
use super::work::Outcome;
use crate::clients::kubernetes::{Cluster, Result, Scope};
use crate::drift::{Told, Troubles};
use crate::resource::as_query;

/// Pods and warnings are asked for no sooner than this after something became unready.
const ASK_AFTER: Duration = Duration::from_secs(1);

impl Round {
    /// Says why something is not healthy, once it has had a moment.
    pub async fn explain(
        &self,
        context: &Context<impl Deployment>,
        live: &Live,
        outcomes: &mut [Outcome],
    ) -> std::result::Result<(), Failure> {
        if outcomes.iter().any(|outcome| outcome.has_written) {
            return Ok(());
        }
        let is_ill = |outcome: &&mut Outcome| outcome.error.is_none() && !outcome.health.is_healthy();
        for outcome in outcomes.iter_mut().filter(is_ill) {
            let Some(seen) = self.seen(outcome, live) else { continue };
            if let Told::Better(better) = self.explained(context, &seen).await? {
                outcome.entry.health = outcome.health.summary_with(&better.health.reason, &better.said);
                outcome.health = better.health;
            }
        }
        Ok(())
    }

    fn seen(&self, outcome: &Outcome, live: &Live) -> Option<Observed> {
        match &outcome.object {
            Some(object) => Some(Observed::of(object, &self.manager)),
            None => live.get(&plan::key(&self.wanted[outcome.index].reference)).cloned(),
        }
    }

    /// From the watch, if this process has it; else by asking, once things have had a moment.
    async fn explained(
        &self,
        context: &Context<impl Deployment>,
        seen: &Observed,
    ) -> std::result::Result<Told, Failure> {
        let instance_id = context.object.meta().id.as_str();
        let told = self.watch.explain(instance_id, seen);
        if told != Told::Unknown || unready_for(context) < ASK_AFTER {
            return Ok(told);
        }
        let asked = context.lease().guard(ask(&self.cluster, instance_id, seen)).await?;
        Ok(asked.unwrap_or(Told::Unknown))
    }
}

/// A better word on what was seen, by the same pods and warnings as the watch goes by. Costs up to two calls.
async fn ask(cluster: &Cluster, instance_id: &str, seen: &Observed) -> Result<Told> {
    let mut troubles = Troubles::default();
    let namespace = seen.reference.namespace.as_str();
    if !seen.selector.is_empty() {
        let resource = cluster.resource_type("v1", "Pod").await?;
        let scope = Scope { namespace, labels: &as_query(&seen.selector), fields: "" };
        for pod in cluster.list(&resource, &scope).await?.items {
            troubles.put_pod(instance_id, &pod);
        }
    }
    let resource = cluster.resource_type("v1", "Event").await?;
    // What lives in no namespace has its events in this one.
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let scope = Scope { namespace, labels: "", fields: "type=Warning" };
    troubles.warnings.replace(&cluster.list(&resource, &scope).await?.items);
    Ok(troubles.explain(instance_id, seen))
}
