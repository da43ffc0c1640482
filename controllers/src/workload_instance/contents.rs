//! Whether a namespace or CRD that we made still holds something that isn't ours to delete.

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::desired::Owner;
use crate::clients::kubernetes::{Cluster, Error, ResourceType, Result, Scope};
use crate::resource::{
    CONTROL_PLANE_LABEL, INSTANCE_LABEL, display, is_retained, is_terminating, label, reference, text,
};

const AT_ONCE: usize = 8;

/// Made by the cluster in every namespace, or records that mean nothing without what they tell of.
const BY_THE_CLUSTER: &[(&str, &str)] = &[
    ("Event", ""),
    ("Endpoints", ""),
    ("EndpointSlice", ""),
    ("Lease", ""),
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
];

/// The first thing in a namespace, or of a custom kind, that is retained, or isn't of the instance that leaves.
pub async fn foreign(cluster: &Cluster, container: &Value, leaving: Owner<'_>) -> Result<Option<String>> {
    if container["kind"] == "Namespace" {
        return in_namespace(cluster, text(&container["metadata"]["name"]), leaving).await;
    }
    let (group, kind) = (text(&container["spec"]["group"]), text(&container["spec"]["names"]["kind"]));
    let versions = container["spec"]["versions"].as_array().into_iter().flatten();
    let Some(version) = versions.into_iter().find(|version| version["served"] == true) else { return Ok(None) };
    let resource = match cluster.resource_type(&format!("{group}/{}", text(&version["name"])), kind).await {
        Err(Error::UnknownKind { .. }) => return Ok(None),
        resource => resource?,
    };
    let items = cluster.list_metadata(&resource, &Scope::ALL).await?;
    Ok(items.iter().find(|item| !is_terminating(item)).map(|item| display(&reference(item))))
}

async fn in_namespace(cluster: &Cluster, namespace: &str, leaving: Owner<'_>) -> Result<Option<String>> {
    let census = cluster.census(is_kind_by_the_cluster).await?;
    let told = |item: &Value| display(&reference(item));
    if let Some(item) = census.few_in(namespace).iter().find(|item| is_foreign(item, leaving)) {
        return Ok(Some(told(item)));
    }
    let looks = census.many().iter().cloned().map(|found| first(cluster, found, namespace, leaving));
    let found = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok(found.into_iter().flatten().next())
}

async fn first(
    cluster: &Cluster,
    resource: ResourceType,
    namespace: &str,
    leaving: Owner<'_>,
) -> Result<Option<String>> {
    let scope = Scope { namespace, labels: "", fields: "" };
    match cluster.list_metadata(&resource, &scope).await {
        Ok(items) => Ok(items.iter().find(|item| is_foreign(item, leaving)).map(|item| display(&reference(item)))),
        // Some kinds can't be listed, or went since discovery.
        Err(Error::NotFound(_) | Error::Invalid(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_kind_by_the_cluster(kind: &str) -> bool {
    is_by_the_cluster(kind, "")
}

fn is_by_the_cluster(kind: &str, name: &str) -> bool {
    BY_THE_CLUSTER.iter().any(|(of_kind, named)| *of_kind == kind && *named == name)
}

/// Neither owned by another object, nor of the cluster's own, nor of the instance that leaves. What other instances have
/// there is as foreign as anything.
fn is_foreign(item: &Value, leaving: Owner) -> bool {
    let is_owned = item["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    let is_token = !text(&item["metadata"]["annotations"]["kubernetes.io/service-account.name"]).is_empty();
    let is_leaving = label(item, INSTANCE_LABEL) == leaving.instance_id
        && label(item, CONTROL_PLANE_LABEL) == leaving.control_plane_id;
    let is_leftover = is_leaving && !is_retained(item);
    let name = text(&item["metadata"]["name"]);
    !is_owned && !is_token && !is_leftover && !is_terminating(item) && !is_by_the_cluster(text(&item["kind"]), name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LEAVING: Owner = Owner { control_plane_id: "plane", instance_id: "a" };

    fn item(kind: &str, metadata: &Value) -> Value {
        json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata })
    }

    fn labelled(kind: &str, control_plane_id: &str, instance_id: &str) -> Value {
        item(
            kind,
            &json!({ "name": "x", "labels": { CONTROL_PLANE_LABEL: control_plane_id, INSTANCE_LABEL: instance_id } }),
        )
    }

    #[test]
    fn what_the_cluster_makes_or_something_owns_is_not_foreign() {
        assert!(!is_foreign(&item("ConfigMap", &json!({ "name": "kube-root-ca.crt" })), LEAVING));
        assert!(!is_foreign(&item("Pod", &json!({ "name": "a", "ownerReferences": [{}] })), LEAVING));
        assert!(!is_foreign(&item("Pod", &json!({ "name": "a", "deletionTimestamp": "now" })), LEAVING));
        assert!(is_foreign(&item("ConfigMap", &json!({ "name": "theirs" })), LEAVING));
    }

    #[test]
    fn only_what_the_leaving_instance_does_not_retain_goes_with_its_namespace() {
        assert!(!is_foreign(&labelled("ConfigMap", "plane", "a"), LEAVING));
        assert!(is_foreign(&labelled("ConfigMap", "plane", "b"), LEAVING), "another instance lives there");
        assert!(is_foreign(&labelled("ConfigMap", "other", "a"), LEAVING), "of another control plane");
        assert!(is_foreign(&labelled("PersistentVolumeClaim", "plane", "a"), LEAVING), "retained");
    }
}
