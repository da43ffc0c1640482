//! The order of application, in which each resource finds what it needs.

use super::resource::Resource;
use super::scope;

/// Sorts by what needs what; resources of one rank keep the manifest's order.
pub fn order(resources: &mut [Resource]) {
    resources.sort_by_key(rank);
}

fn rank(resource: &Resource) -> u8 {
    match (resource.group(), resource.kind()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => 0,
        ("", "Namespace") => 1,
        // Pods are refused while their priority or runtime class is missing, and counted by the quotas that exist.
        ("scheduling.k8s.io", "PriorityClass")
        | ("node.k8s.io", "RuntimeClass")
        | ("storage.k8s.io", "StorageClass")
        | ("networking.k8s.io", "IngressClass" | "NetworkPolicy")
        | ("", "ResourceQuota" | "LimitRange" | "PersistentVolume") => 2,
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => 3,
        ("rbac.authorization.k8s.io", _) => 4,
        ("", "ServiceAccount") => 5,
        ("", "Secret") => 6,
        ("", "ConfigMap") => 7,
        ("", "PersistentVolumeClaim") => 8,
        ("", "Service") => 9,
        ("apps" | "batch", _) | ("", "Pod" | "ReplicationController") => 10,
        // They call services that the workloads serve: refused calls before that would block everything else.
        ("admissionregistration.k8s.io", _) => 13,
        (group, _) if scope::is_built_in(group) => 11,
        _ => 12,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_comes_after_what_it_needs() {
        let kinds = [
            ("acme.io/v1", "Widget"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("apps/v1", "Deployment"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ("v1", "Service"),
            ("v1", "ConfigMap"),
            ("v1", "Secret"),
            ("v1", "ServiceAccount"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
            ("v1", "PersistentVolumeClaim"),
            ("v1", "Namespace"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ];
        let resource = |(version, kind): &(&str, &str)| {
            Resource::new(json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x" } }))
        };
        let mut resources = kinds.iter().map(resource).collect::<Vec<_>>();
        order(&mut resources);
        assert_eq!(
            resources.iter().map(Resource::kind).collect::<Vec<_>>(),
            [
                "CustomResourceDefinition",
                "Namespace",
                "ClusterRole",
                "RoleBinding",
                "ServiceAccount",
                "Secret",
                "ConfigMap",
                "PersistentVolumeClaim",
                "Service",
                "Deployment",
                "HorizontalPodAutoscaler",
                "Widget",
                "ValidatingWebhookConfiguration"
            ]
        );
    }
}
