//! Whether a namespace or CRD that we made still holds something that it must not take along.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::desired::Owner;
use crate::clients::kubernetes::{Census, Cluster, Error, ResourceType, Result, Scope};
use crate::resource::{
    CONTROL_PLANE_LABEL, HELM_MANAGER, HOOK_LABEL, INSTANCE_LABEL, annotation, display, group, is_retained,
    is_terminating, label, manager_of, owned_fields, reference, text,
};

const AT_ONCE: usize = 8;

/// Kinds made by the cluster in every namespace, or records that mean nothing without what they tell of; with their groups.
const KINDS_BY_THE_CLUSTER: &[(&str, &str)] = &[
    ("", "Event"),
    ("events.k8s.io", "Event"),
    ("", "Endpoints"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("coordination.k8s.io", "Lease"),
];

/// Made by the cluster, or by its platform, in every namespace: group, kind and name.
const BY_THE_CLUSTER: &[(&str, &str, &str)] = &[
    ("", "ServiceAccount", "default"),
    ("", "ConfigMap", "kube-root-ca.crt"),
    // Istio's root certificate.
    ("", "ConfigMap", "istio-ca-root-cert"),
    // OpenShift's certificate of services, its accounts for builds and deployments, and what those may do.
    ("", "ConfigMap", "openshift-service-ca.crt"),
    ("", "ServiceAccount", "builder"),
    ("", "ServiceAccount", "deployer"),
    ("rbac.authorization.k8s.io", "RoleBinding", "system:deployers"),
    ("rbac.authorization.k8s.io", "RoleBinding", "system:image-builders"),
    ("rbac.authorization.k8s.io", "RoleBinding", "system:image-pullers"),
];

/// What may go with a shared resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All that the instance has in it: nothing was taken out before. What that isn't meant for stays for now.
    All,
    /// What is left when the instance's own resources are gone, and what that owned. What that isn't meant for stays for good.
    Leftovers,
}

/// The first thing in a namespace, or of a custom kind, that is retained, or isn't of the instance that leaves.
pub async fn foreign(
    cluster: &Arc<Cluster>,
    container: &Value,
    leaving: Owner<'_>,
    contents: Contents,
) -> Result<Option<String>> {
    if container["kind"] == "Namespace" {
        return in_namespace(cluster, text(&container["metadata"]["name"]), leaving, contents).await;
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

async fn in_namespace(
    cluster: &Arc<Cluster>,
    namespace: &str,
    leaving: Owner<'_>,
    contents: Contents,
) -> Result<Option<String>> {
    let census = cluster.census(is_kind_by_the_cluster).await?;
    let look = Look { leaving, contents, census: &census };
    if let Some(found) = look.first(census.few_in(namespace)) {
        return Ok(Some(found));
    }
    let looks = census.many().iter().cloned().map(|found| look.first_of(cluster, found, namespace));
    let found = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok(found.into_iter().flatten().next())
}

fn is_kind_by_the_cluster(resource: &ResourceType) -> bool {
    KINDS_BY_THE_CLUSTER.contains(&(group(&resource.api_version), resource.kind.as_str()))
}

/// For what a namespace is searched.
struct Look<'a> {
    leaving: Owner<'a>,
    contents: Contents,
    census: &'a Census,
}

impl Look<'_> {
    async fn first_of(&self, cluster: &Cluster, resource: ResourceType, namespace: &str) -> Result<Option<String>> {
        let scope = Scope { namespace, labels: "", fields: "" };
        match cluster.list_metadata(&resource, &scope).await {
            Ok(items) => Ok(self.first(&items)),
            Err(error) => cluster.is_nothing_of(&resource, error).await.map(|()| None),
        }
    }

    fn first(&self, items: &[Value]) -> Option<String> {
        items.iter().find(|item| self.is_foreign(item)).map(|item| display(&reference(item)))
    }

    /// Neither of the cluster's own, nor going by itself, nor of the instance that leaves. What other instances have there is
    /// as foreign as anything.
    fn is_foreign(&self, item: &Value) -> bool {
        if is_terminating(item) || is_by_the_cluster(item) {
            return false;
        }
        if self.contents == Contents::All && is_retained(item) {
            return true;
        }
        let goes_along = self.is_of_leaving(item) && !is_retained(item);
        !self.is_owned(item) && !goes_along
    }

    /// Labels get copied: what the instance has made shows its field manager too.
    fn is_of_leaving(&self, item: &Value) -> bool {
        let id = self.leaving.instance_id;
        let is_made_by_us = label(item, INSTANCE_LABEL) == id && owned_fields(item, &manager_of(item, id)).is_some();
        let is_hook = label(item, HOOK_LABEL) == id && owned_fields(item, HELM_MANAGER).is_some();
        (is_made_by_us || is_hook) && label(item, CONTROL_PLANE_LABEL) == self.leaving.control_plane_id
    }

    /// By something that lives in the namespace too: both go or both stay. What an owner outside has isn't the namespace's.
    fn is_owned(&self, item: &Value) -> bool {
        let owners = item["metadata"]["ownerReferences"].as_array();
        let is_outside =
            |owner: &Value| self.census.is_cluster_wide(group(text(&owner["apiVersion"])), text(&owner["kind"]));
        owners.is_some_and(|owners| owners.iter().any(|owner| !is_outside(owner)))
    }
}

fn is_by_the_cluster(item: &Value) -> bool {
    let (group, kind) = (group(text(&item["apiVersion"])), text(&item["kind"]));
    let is_token =
        (group, kind) == ("", "Secret") && !annotation(item, "kubernetes.io/service-account.name").is_empty();
    is_token || BY_THE_CLUSTER.contains(&(group, kind, text(&item["metadata"]["name"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::field_manager;

    const I: &str = "01980000-0000-7000-8000-00000000000a";
    const J: &str = "01980000-0000-7000-8000-00000000000b";
    const LEAVING: Owner = Owner { control_plane_id: "plane", instance_id: I };

    fn item(kind: &str, metadata: &Value) -> Value {
        json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata })
    }

    fn labelled(kind: &str, control_plane_id: &str, instance_id: &str, manager: &str) -> Value {
        let labels = json!({ CONTROL_PLANE_LABEL: control_plane_id, INSTANCE_LABEL: instance_id });
        let managed = json!([{ "manager": manager, "operation": "Apply" }]);
        item(kind, &json!({ "name": "x", "labels": labels, "managedFields": managed }))
    }

    fn is_foreign(item: &Value, contents: Contents) -> bool {
        let census = Census::of_cluster_wide([("acme.io", "Policy")]);
        Look { leaving: LEAVING, contents, census: &census }.is_foreign(item)
    }

    #[test]
    fn what_the_cluster_makes_or_something_beside_it_owns_is_not_foreign() {
        let owned = |api_version: &str, kind: &str| {
            let owner = json!({ "apiVersion": api_version, "kind": kind });
            item("Pod", &json!({ "name": "a", "ownerReferences": [owner] }))
        };
        for contents in [Contents::All, Contents::Leftovers] {
            assert!(!is_foreign(&item("ConfigMap", &json!({ "name": "kube-root-ca.crt" })), contents));
            assert!(!is_foreign(&owned("apps/v1", "ReplicaSet"), contents));
            assert!(!is_foreign(&item("Pod", &json!({ "name": "a", "deletionTimestamp": "now" })), contents));
            assert!(is_foreign(&item("ConfigMap", &json!({ "name": "theirs" })), contents));
            assert!(is_foreign(&owned("acme.io/v1", "Policy"), contents), "its owner stays");
        }
    }

    #[test]
    fn only_what_the_leaving_instance_made_and_does_not_retain_goes_with_its_namespace() {
        let foreign = |kind: &str, control_plane_id: &str, id: &str, manager: &str| {
            is_foreign(&labelled(kind, control_plane_id, id, manager), Contents::All)
        };
        let (ours, theirs) = (field_manager(I), field_manager(J));
        assert!(!foreign("ConfigMap", "plane", I, &ours));
        assert!(foreign("ConfigMap", "plane", J, &theirs), "another instance lives there");
        assert!(foreign("ConfigMap", "other", I, &ours), "of another control plane");
        assert!(foreign("PersistentVolumeClaim", "plane", I, &ours), "retained");
        assert!(foreign("Service", "plane", I, "kubectl"), "its labels were copied");
    }

    #[test]
    fn what_a_leaving_chart_has_run_goes_with_its_namespace() {
        let foreign = |id: &str, manager: &str| {
            let labels = json!({ CONTROL_PLANE_LABEL: "plane", HOOK_LABEL: id });
            let managed = json!([{ "manager": manager, "operation": "Apply" }]);
            let hook = item("Job", &json!({ "name": "x", "labels": labels, "managedFields": managed }));
            is_foreign(&hook, Contents::All)
        };
        assert!(!foreign(I, HELM_MANAGER) && foreign(J, HELM_MANAGER) && foreign(I, "kubectl"));
    }

    #[test]
    fn a_claim_that_something_owns_goes_only_after_its_owner() {
        let owner = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet" });
        let claim = item("PersistentVolumeClaim", &json!({ "name": "a", "ownerReferences": [owner] }));
        assert!(is_foreign(&claim, Contents::All), "its owner may let go of it");
        assert!(!is_foreign(&claim, Contents::Leftovers));
    }

    #[test]
    fn a_kind_of_somebody_is_not_the_clusters_for_its_name() {
        let kind = |api_version: &str| ResourceType {
            api_version: api_version.into(),
            kind: "Event".into(),
            plural: "events".into(),
            is_namespaced: true,
            is_collection: true,
        };
        assert!(is_kind_by_the_cluster(&kind("v1")) && !is_kind_by_the_cluster(&kind("acme.io/v1")));
    }
}
