//! Why something isn't healthy, in the cluster's own words: what its pods and recent warnings say.

use serde_json::Value;
use threeport::v1::ResourceReference;

use super::volume_claims::selector;
use crate::clients::kubernetes::{Cluster, Result, Scope};
use crate::health::{Health, State, pod_trouble};
use crate::resource::text;

/// Kinds whose pods tell more than they do.
const RUNS_PODS: &[&str] = &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"];

/// A better health than `found`, if pods or events know more. Costs up to two calls.
pub async fn explain(
    cluster: &Cluster,
    desired: &Value,
    reference: &ResourceReference,
    found: &Health,
) -> Result<Health> {
    if RUNS_PODS.contains(&reference.kind.as_str())
        && let Some((reason, message)) = pods_say(cluster, desired, reference).await?
    {
        let state = found.state.max(State::Unhealthy);
        return Ok(Health::new(state, &reason, join(&message, &found.message)));
    }
    match warning(cluster, reference).await? {
        Some((reason, message)) => Ok(Health::new(found.state, &reason, join(&message, &found.message))),
        None => Ok(found.clone()),
    }
}

fn join(first: &str, second: &str) -> String {
    if second.is_empty() { first.to_owned() } else { format!("{first} ({second})") }
}

async fn pods_say(
    cluster: &Cluster,
    desired: &Value,
    reference: &ResourceReference,
) -> Result<Option<(String, String)>> {
    let labels = match selector(desired) {
        labels if labels.is_empty() && reference.kind == "Job" => {
            format!("batch.kubernetes.io/job-name={}", reference.name)
        }
        labels => labels,
    };
    if labels.is_empty() {
        return Ok(None);
    }
    let resource = cluster.resource_type("v1", "Pod").await?;
    let pods =
        cluster.list(&resource, &Scope { namespace: &reference.namespace, labels: &labels, fields: "" }).await?.items;
    Ok(pods.iter().find_map(|pod| {
        let (reason, message) = pod_trouble(pod)?;
        Some((reason, format!("pod `{}`: {message}", text(&pod["metadata"]["name"]))))
    }))
}

/// The latest warning about the resource itself.
async fn warning(cluster: &Cluster, reference: &ResourceReference) -> Result<Option<(String, String)>> {
    let namespace = if reference.namespace.is_empty() { "default" } else { &reference.namespace };
    let fields = format!("type=Warning,involvedObject.kind={},involvedObject.name={}", reference.kind, reference.name);
    let resource = cluster.resource_type("v1", "Event").await?;
    let events = cluster.list(&resource, &Scope { namespace, labels: "", fields: &fields }).await?.items;
    let latest = events.into_iter().max_by_key(|event| seen_at(event).to_owned());
    Ok(latest.map(|event| (text(&event["reason"]).to_owned(), text(&event["message"]).to_owned())))
}

fn seen_at(event: &Value) -> &str {
    let times = [
        &event["lastTimestamp"],
        &event["series"]["lastObservedTime"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.into_iter().map(text).find(|time| !time.is_empty()).unwrap_or_default()
}
