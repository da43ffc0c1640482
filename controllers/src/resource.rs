//! What we read from and write into any Kubernetes object: identity, our marks, ownership of fields, hashes.

use std::collections::BTreeMap;
use std::fmt::Write;

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use threeport::v1::ResourceReference;

/// On everything that we apply: the control plane's id.
pub const CONTROL_PLANE_LABEL: &str = "threeport.io/control-plane";
/// On everything that one instance alone applies: its id.
pub const INSTANCE_LABEL: &str = "threeport.io/instance";
/// SHA-256 of what was applied, so that late writes of ours show.
pub const APPLIED_HASH: &str = "threeport.io/applied-hash";
/// On a namespace that we made for one instance: its id. No label, for others may come to use the namespace.
pub const MADE_FOR: &str = "threeport.io/made-for";
/// `retain` keeps a resource on delete and prune.
pub const ON_DELETE: &str = "threeport.io/on-delete";

/// On hooks of a chart instead of [`INSTANCE_LABEL`]: the instance's id.
pub const HOOK_LABEL: &str = "threeport.io/hook-of";
/// `keep` is how charts say the same as [`ON_DELETE`].
pub const RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// On what an instance applies under another field manager than its own: that one.
pub const APPLIED_BY: &str = "threeport.io/applied-by";
/// The field manager that Helm applies as.
pub const HELM_MANAGER: &str = "helm";

/// The field manager that an instance applies an object as, by what that says.
pub fn manager_of(object: &Value, instance_id: &str) -> String {
    if annotation(object, APPLIED_BY) == HELM_MANAGER { HELM_MANAGER.to_owned() } else { field_manager(instance_id) }
}

/// The field manager of an instance: the id's last digits are random, its first are a clock.
pub fn field_manager(instance_id: &str) -> String {
    let digits = instance_id.chars().filter(|c| *c != '-').collect::<String>();
    format!("threeport-{}", &digits[digits.len().saturating_sub(10)..])
}

/// The reference of an object.
pub fn reference(object: &Value) -> ResourceReference {
    ResourceReference {
        api_version: text(&object["apiVersion"]).to_owned(),
        kind: text(&object["kind"]).to_owned(),
        namespace: text(&object["metadata"]["namespace"]).to_owned(),
        name: text(&object["metadata"]["name"]).to_owned(),
    }
}

/// `Deployment web/api`, for messages.
pub fn display(reference: &ResourceReference) -> String {
    let ResourceReference { kind, namespace, name, .. } = reference;
    if namespace.is_empty() { format!("{kind} `{name}`") } else { format!("{kind} `{namespace}/{name}`") }
}

/// The group of an `apiVersion`; empty for the core group.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether two references mean the same object: versions of a group are views of it.
pub fn is_same(a: &ResourceReference, b: &ResourceReference) -> bool {
    group(&a.api_version) == group(&b.api_version) && a.kind == b.kind && a.namespace == b.namespace && a.name == b.name
}

pub fn is_namespace(reference: &ResourceReference) -> bool {
    reference.kind == "Namespace" && reference.api_version == "v1"
}

pub fn is_crd(reference: &ResourceReference) -> bool {
    reference.kind == "CustomResourceDefinition" && group(&reference.api_version) == "apiextensions.k8s.io"
}

/// Namespaces and CRDs: several instances may use one.
pub fn is_shared(reference: &ResourceReference) -> bool {
    is_namespace(reference) || is_crd(reference)
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

pub fn resource_version(object: &Value) -> &str {
    text(&object["metadata"]["resourceVersion"])
}

pub fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    text(&object["metadata"]["labels"][name])
}

pub fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    text(&object["metadata"]["annotations"][name])
}

pub fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Volume claims and what is annotated so outlive their instance.
pub fn is_retained(object: &Value) -> bool {
    (object["kind"] == "PersistentVolumeClaim" && object["apiVersion"] == "v1")
        || annotation(object, ON_DELETE) == "retain"
        || annotation(object, RESOURCE_POLICY) == "keep"
}

/// Kinds whose selector picks the pods that they run; of others it means something else, or nothing.
const RUNS_PODS: &[(&str, &str)] =
    &[("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("apps", "ReplicaSet"), ("batch", "Job")];

/// The `matchLabels` of what runs pods. A job gets its own from the cluster.
pub fn selector(object: &Value) -> BTreeMap<String, String> {
    let of = (group(text(&object["apiVersion"])), text(&object["kind"]));
    let labels = object["spec"]["selector"]["matchLabels"].as_object().filter(|_| RUNS_PODS.contains(&of));
    labels.into_iter().flatten().map(|(name, value)| (name.clone(), text(value).to_owned())).collect()
}

/// Labels as the query of a list.
pub fn as_query(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// The `managedFields` of an object.
pub fn managed_fields(object: &Value) -> &[Value] {
    object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What a manager owns by server-side apply, as `fieldsV1`.
pub fn owned_fields<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    let ours = |entry: &&Value| {
        entry["manager"] == manager && entry["operation"] == "Apply" && text(&entry["subresource"]).is_empty()
    };
    managed_fields(object).iter().find(ours).map(|entry| &entry["fieldsV1"])
}

/// SHA-256 of what a manager owns, without the time; of nothing if it owns nothing.
pub fn managed_hash(object: &Value, manager: &str) -> String {
    hash(owned_fields(object, manager).unwrap_or(&Value::Null))
}

/// SHA-256 of who owns what, without times and without what the cluster reports: changes when any manager comes or goes.
pub fn ownership_hash(object: &Value) -> String {
    let entries = managed_fields(object).iter().filter(|entry| entry["subresource"] != "status");
    let owned = entries.map(|entry| (text(&entry["manager"]).to_owned(), entry["fieldsV1"].clone()));
    let mut owned = owned.map(|(manager, fields)| Value::from(vec![Value::from(manager), fields])).collect::<Vec<_>>();
    owned.sort_by_key(Value::to_string);
    hash(&Value::from(owned))
}

/// SHA-256 of JSON with its keys in order, in hexadecimal.
pub fn hash(value: &Value) -> String {
    let digest = digest(&SHA256, sorted(value).to_string().as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Independent of whether maps keep the order of insertion.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys = fields.keys().collect::<Vec<_>>();
            keys.sort_unstable();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&fields[key]))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        value => value.clone(),
    }
}

/// Sets a label, making the map if need be.
pub fn set_label(object: &mut Value, name: &str, value: &str) {
    set_metadata(object, "labels", name, value);
}

/// Sets an annotation, making the map if need be.
pub fn set_annotation(object: &mut Value, name: &str, value: &str) {
    set_metadata(object, "annotations", name, value);
}

fn set_metadata(object: &mut Value, map: &str, name: &str, value: &str) {
    let metadata = &mut object["metadata"];
    if !metadata[map].is_object() {
        metadata[map] = Value::Object(Map::new());
    }
    metadata[map][name] = Value::from(value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_manager_ends_in_the_random_digits() {
        assert_eq!(field_manager("0190c2de-7b1f-7abc-8def-0123456789ab"), "threeport-23456789ab");
    }

    #[test]
    fn what_helm_applies_is_told_from_what_we_do() {
        let by_helm = json!({ "metadata": { "annotations": { APPLIED_BY: "helm" } } });
        assert_eq!(manager_of(&by_helm, "0190c2de-7b1f-7abc-8def-0123456789ab"), "helm");
        assert_eq!(manager_of(&json!({}), "0190c2de-7b1f-7abc-8def-0123456789ab"), "threeport-23456789ab");
    }

    #[test]
    fn hashes_do_not_depend_on_the_order_of_keys() {
        assert_eq!(
            hash(&json!({ "a": 1, "b": { "c": 2, "d": 3 } })),
            hash(&json!({ "b": { "d": 3, "c": 2 }, "a": 1 }))
        );
        assert_ne!(hash(&json!([1, 2])), hash(&json!([2, 1])));
    }

    #[test]
    fn the_managed_hash_changes_when_a_field_is_taken_and_not_with_time() {
        let object = |time: &str, fields: Value| {
            json!({ "metadata": { "managedFields": [
                { "manager": "threeport-a", "operation": "Apply", "time": time, "fieldsV1": fields },
                { "manager": "kubectl", "operation": "Update", "time": time, "fieldsV1": { "f:x": {} } },
            ]}})
        };
        let before = managed_hash(&object("1", json!({ "f:spec": { "f:replicas": {} } })), "threeport-a");
        assert_eq!(before, managed_hash(&object("2", json!({ "f:spec": { "f:replicas": {} } })), "threeport-a"));
        assert_ne!(before, managed_hash(&object("2", json!({ "f:spec": {} })), "threeport-a"));
    }
}
