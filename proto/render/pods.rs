//! Finds pods: the templates that resources make them from, and their containers.

use serde_json::Value;

use super::resource::Resource;

/// The container lists of a pod.
pub const CONTAINER_LISTS: &[&str] = &["initContainers", "containers"];

/// Where a resource keeps what its pods look like (an object with `metadata` and `spec`); none if it makes none.
pub fn template_pointer(resource: &Resource) -> Option<&'static str> {
    match (resource.group(), resource.kind()) {
        ("", "Pod") => Some(""),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job")
        | ("", "ReplicationController") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        ("", "PodTemplate") => Some("/template"),
        _ => None,
    }
}

/// The spec of a resource's pods.
pub fn pod_spec(resource: &Resource) -> Option<&Value> {
    resource.value.pointer(template_pointer(resource)?)?.get("spec")
}

/// As [`pod_spec`], with leave to change it.
pub fn pod_spec_mut(resource: &mut Resource) -> Option<&mut Value> {
    let pointer = template_pointer(resource)?;
    resource.value.pointer_mut(pointer)?.get_mut("spec")
}

/// All containers of a resource's pods, those that initialize first.
pub fn containers(resource: &Resource) -> impl Iterator<Item = &Value> {
    let spec = pod_spec(resource);
    CONTAINER_LISTS.iter().filter_map(move |list| spec?.get(list)?.as_array()).flatten()
}

/// Calls `visit` with every container of a resource's pods.
pub fn for_each_container(resource: &mut Resource, mut visit: impl FnMut(&mut Value)) {
    let Some(spec) = pod_spec_mut(resource) else { return };
    for list in CONTAINER_LISTS {
        spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(&mut visit);
    }
}

/// Sets the deprecated twin of `serviceAccountName` too.
///
/// The API server fills it in, owned by nobody, and takes the name back from it when an apply no longer sets the name: pods
/// would go on asking for an account that is gone.
pub fn own_account_twin(resource: &mut Resource) {
    let Some(Value::Object(spec)) = pod_spec_mut(resource) else { return };
    if let Some(name) = spec.get("serviceAccountName").filter(|name| name.is_string()).cloned() {
        spec.insert("serviceAccount".into(), name);
    }
}
