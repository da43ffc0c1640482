//! What looks wrong in a manifest but isn't refused.

use serde_json::Value;

use super::images::Image;
use super::pods;
use super::resource::Resource;

/// Versions that Kubernetes no longer serves, with what came after. Source:
/// <https://kubernetes.io/docs/reference/using-api/deprecation-guide/>
const REMOVED: &[(&str, &str, &str)] = &[
    ("extensions/v1beta1", "", "apps/v1 or networking.k8s.io/v1"),
    ("apps/v1beta1", "", "apps/v1"),
    ("apps/v1beta2", "", "apps/v1"),
    ("networking.k8s.io/v1beta1", "Ingress", "networking.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", "IngressClass", "networking.k8s.io/v1"),
    ("batch/v1beta1", "CronJob", "batch/v1"),
    ("batch/v2alpha1", "CronJob", "batch/v1"),
    ("policy/v1beta1", "", "policy/v1"),
    ("autoscaling/v2beta1", "", "autoscaling/v2"),
    ("autoscaling/v2beta2", "", "autoscaling/v2"),
    ("rbac.authorization.k8s.io/v1beta1", "", "rbac.authorization.k8s.io/v1"),
    ("apiextensions.k8s.io/v1beta1", "", "apiextensions.k8s.io/v1"),
    ("admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1"),
    ("admissionregistration.k8s.io/v1beta1", "ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", "StorageClass", "storage.k8s.io/v1"),
    ("scheduling.k8s.io/v1beta1", "", "scheduling.k8s.io/v1"),
];

/// One line for each thing that looks wrong, in the order of the resources.
pub fn warnings(resources: &[Resource]) -> Vec<String> {
    let mut warnings = Vec::new();
    for resource in resources {
        let removed = REMOVED.iter().find(|(version, kind, _)| {
            *version == resource.api_version() && (kind.is_empty() || *kind == resource.kind())
        });
        if let Some((version, _, instead)) = removed {
            warnings.push(format!("{resource} uses `{version}`, which Kubernetes no longer serves; use {instead}"));
        }
        if !resource.dropped.is_empty() {
            let left_out = if resource.dropped.len() == 1 { "it is left out" } else { "they are left out" };
            let dropped = resource.dropped.join("`, `");
            warnings.push(format!("{resource} has `{dropped}`, which belongs to one cluster; {left_out}"));
        }
        if resource.is("policy", "PodSecurityPolicy") {
            warnings.push(format!("{resource} is ignored since Kubernetes 1.25; use pod security admission"));
        }
        if resource.namespace() == "default" {
            warnings.push(format!(
                "{resource} is put into namespace `default`; leave the namespace out to get one of its own"
            ));
        }
        for container in pods::containers(resource) {
            warn_of_container(resource, container, &mut warnings);
        }
        let volumes = pods::pod_spec(resource).and_then(|spec| spec["volumes"].as_array());
        for volume in volumes.into_iter().flatten().filter(|volume| volume.get("hostPath").is_some()) {
            warnings.push(format!(
                "{resource} mounts `{}` of the node; it runs only where nodes allow that",
                volume["hostPath"]["path"].as_str().unwrap_or_default()
            ));
        }
    }
    warnings
}

fn warn_of_container(resource: &Resource, container: &Value, warnings: &mut Vec<String>) {
    let name = container["name"].as_str().unwrap_or_default();
    match container["image"].as_str().map(str::parse::<Image>) {
        None => warnings.push(format!("container `{name}` of {resource} has no image")),
        Some(Err(message)) => warnings.push(format!("container `{name}` of {resource}: {message}")),
        Some(Ok(image)) if image.digest.is_none() && matches!(image.tag.as_deref(), None | Some("latest")) => warnings
            .push(format!(
                "container `{name}` of {resource} runs `{image}`, whatever that is by then; name a tag or digest"
            )),
        Some(Ok(_)) => {}
    }
    if container["resources"]["requests"].as_object().is_none_or(serde_json::Map::is_empty) {
        warnings
            .push(format!("container `{name}` of {resource} requests no CPU or memory; it is the first to be evicted"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::manifest::parse_manifest;

    #[test]
    fn what_looks_wrong_is_said() {
        let text = "apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: a, namespace: default}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: nginx}], volumes: [{name: h, hostPath: {path: /etc}}]}}}}}\n";
        insta::assert_snapshot!(warnings(&parse_manifest(text).unwrap()).join("\n"), @r"
CronJob `default/a` uses `batch/v1beta1`, which Kubernetes no longer serves; use batch/v1
CronJob `default/a` is put into namespace `default`; leave the namespace out to get one of its own
container `c` of CronJob `default/a` runs `nginx`, whatever that is by then; name a tag or digest
container `c` of CronJob `default/a` requests no CPU or memory; it is the first to be evicted
CronJob `default/a` mounts `/etc` of the node; it runs only where nodes allow that
");
    }

    #[test]
    fn what_only_clusters_write_is_left_out_and_said() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, uid: x, resourceVersion: '7', creationTimestamp: null, ownerReferences: [{uid: y}]}\nstatus: {phase: b}\n";
        let resources = parse_manifest(text).unwrap();
        assert_eq!(resources[0].value["metadata"], serde_json::json!({ "name": "a" }));
        insta::assert_snapshot!(warnings(&resources).join("\n"), @"ConfigMap `a` has `status`, `metadata.ownerReferences`, `metadata.resourceVersion`, `metadata.uid`, which belongs to one cluster; they are left out");
        let fresh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: null}\nstatus: {}\n";
        assert_eq!(warnings(&parse_manifest(fresh).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn a_careful_manifest_gives_no_warning() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: 'nginx:1.27', resources: {requests: {cpu: 1}}}]}\n";
        assert_eq!(warnings(&parse_manifest(text).unwrap()), Vec::<String>::new());
    }
}
