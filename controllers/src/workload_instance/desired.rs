//! What an instance should have in its cluster: the rendered resources with our marks, in phases. Pure.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use threeport::render::{FieldPath, Resource};
use threeport::v1::ResourceReference;

use crate::resource::{
    APPLIED_HASH, CONTROL_PLANE_LABEL, INSTANCE_LABEL, MADE_FOR, group, hash, is_crd, is_retained, is_shared,
    reference, set_annotation, set_label, text,
};

/// One resource as it should be.
#[derive(Clone, Debug)]
pub struct Desired {
    pub reference: ResourceReference,
    /// What is applied, with labels and the hash's annotation.
    pub value: Value,
    /// Of the value without what is yielded, so that what others write there is no change.
    pub hash: String,
    pub yields: Vec<FieldPath>,
    pub phase: u8,
    pub is_retained: bool,
    pub nature: Nature,
}

/// How a resource stands to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// This instance's alone.
    Own,
    /// The same, of a kind that a CRD beside it defines.
    Custom,
    /// A namespace or CRD that the manifest describes: unlabelled, unforced, perhaps others' too.
    Described,
    /// A namespace of which nothing is said: only made if absent.
    Implied,
}

/// Who applies.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub control_plane_id: &'a str,
    pub instance_id: &'a str,
}

/// The rendered resources, and the namespaces that they need.
pub fn desired(resources: Vec<Resource>, owner: Owner) -> Vec<Desired> {
    let described = resources.iter().filter(|found| found.is("", "Namespace")).map(|found| found.name().to_owned());
    let described = described.collect::<BTreeSet<_>>();
    let used = resources.iter().map(|found| found.namespace().to_owned()).filter(|name| !name.is_empty());
    let implied = used
        .collect::<BTreeSet<_>>()
        .difference(&described)
        .map(|name| implied_namespace(name, owner))
        .collect::<Vec<_>>();
    let own_groups = resources.iter().filter(|found| found.kind() == "CustomResourceDefinition");
    let own_groups =
        own_groups.filter_map(|found| found.value["spec"]["group"].as_str()).map(str::to_owned).collect::<Vec<_>>();
    let one = |resource: Resource| {
        if is_bare_namespace(&resource) {
            implied_namespace(resource.name(), owner)
        } else {
            marked(resource, &own_groups, owner)
        }
    };
    let mut all = implied;
    all.extend(resources.into_iter().map(one));
    all.sort_by_key(|one| one.phase);
    all
}

/// Says nothing but that it should be there.
fn is_bare_namespace(resource: &Resource) -> bool {
    let is_bare = |value: &Value, allowed: &[&str]| {
        value.as_object().is_some_and(|fields| fields.keys().all(|key| allowed.contains(&key.as_str())))
    };
    let has_name_alone = is_bare(&resource.value["metadata"], &["name"]);
    resource.is("", "Namespace") && has_name_alone && is_bare(&resource.value, &["apiVersion", "kind", "metadata"])
}

fn implied_namespace(name: &str, owner: Owner) -> Desired {
    let value = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name,
        "labels": { CONTROL_PLANE_LABEL: owner.control_plane_id },
        "annotations": { MADE_FOR: owner.instance_id },
    }});
    Desired {
        reference: reference(&value),
        hash: "implied".into(),
        value,
        yields: Vec::new(),
        phase: 0,
        is_retained: false,
        nature: Nature::Implied,
    }
}

/// One resource with our marks; of the groups given its own CRDs are beside it.
pub fn marked(resource: Resource, own_groups: &[String], owner: Owner) -> Desired {
    let (yields, mut value) = (resource.yields, resource.value);
    encode_string_data(&mut value);
    let reference = reference(&value);
    let mut found = Desired {
        phase: phase(&reference, own_groups),
        is_retained: is_retained(&value),
        nature: nature(&reference, own_groups),
        hash: String::new(),
        reference,
        yields,
        value,
    };
    if !found.is_shared() {
        set_label(&mut found.value, CONTROL_PLANE_LABEL, owner.control_plane_id);
        set_label(&mut found.value, INSTANCE_LABEL, owner.instance_id);
        mark_pods(&mut found.value, owner);
    }
    found.rehash();
    found
}

impl Desired {
    /// Whether this is the CRD of a resource's kind.
    pub fn defines(&self, resource: &ResourceReference) -> bool {
        let spec = &self.value["spec"];
        is_crd(&self.reference)
            && text(&spec["group"]) == group(&resource.api_version)
            && text(&spec["names"]["kind"]) == resource.kind
    }

    /// A namespace or CRD.
    pub fn is_shared(&self) -> bool {
        matches!(self.nature, Nature::Described | Nature::Implied)
    }

    /// Leaves a field to others from now on.
    pub fn yield_field(&mut self, path: FieldPath) {
        if !self.yields.contains(&path) {
            self.yields.push(path);
            self.rehash();
        }
    }

    /// Keeps the hash that somebody else has put there for the same.
    pub fn keep_hash(&mut self, hash: &str) {
        if !hash.is_empty() {
            hash.clone_into(&mut self.hash);
            set_annotation(&mut self.value, APPLIED_HASH, hash);
        }
    }

    fn rehash(&mut self) {
        let mut rest = self.value.clone();
        if let Some(annotations) = rest["metadata"]["annotations"].as_object_mut() {
            annotations.remove(APPLIED_HASH);
        }
        for path in &self.yields {
            path.remove(&mut rest);
        }
        self.hash = hash(&rest);
        if !self.is_shared() {
            set_annotation(&mut self.value, APPLIED_HASH, &self.hash);
        }
    }
}

/// Pods bear the labels of what runs them, so that the watch on the cluster sees them.
fn mark_pods(value: &mut Value, owner: Owner) {
    let template = match (group(text(&value["apiVersion"])), text(&value["kind"])) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => "/spec/template",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template",
        _ => return,
    };
    if let Some(template) = value.pointer_mut(template).filter(|template| template.is_object()) {
        set_label(template, CONTROL_PLANE_LABEL, owner.control_plane_id);
        set_label(template, INSTANCE_LABEL, owner.instance_id);
    }
}

/// `stringData` is write-only: what others later do to `data` would go unseen.
fn encode_string_data(value: &mut Value) {
    if value["kind"] != "Secret" || value["apiVersion"] != "v1" {
        return;
    }
    let Some(plain) = value.as_object_mut().and_then(|fields| fields.remove("stringData")) else { return };
    if !value["data"].is_object() {
        value["data"] = Value::Object(Map::new());
    }
    for (key, text) in plain.as_object().into_iter().flatten() {
        value["data"][key] = Value::from(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

fn nature(reference: &ResourceReference, own_groups: &[String]) -> Nature {
    if is_shared(reference) {
        return Nature::Described;
    }
    let is_custom = own_groups.iter().any(|own| own == group(&reference.api_version));
    if is_custom { Nature::Custom } else { Nature::Own }
}

/// Resources of one phase need nothing of each other.
pub fn phase(reference: &ResourceReference, own_groups: &[String]) -> u8 {
    if is_shared(reference) {
        return 0;
    }
    let group = group(&reference.api_version);
    match (group, reference.kind.as_str()) {
        ("admissionregistration.k8s.io", _) => 4,
        _ if own_groups.iter().any(|own| own == group) => 3,
        ("", "Service" | "Pod" | "ReplicationController") => 2,
        ("" | "rbac.authorization.k8s.io" | "scheduling.k8s.io" | "storage.k8s.io" | "node.k8s.io", _) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { control_plane_id: "plane", instance_id: "instance" };

    fn resource(api_version: &str, kind: &str, spec: &Value) -> Resource {
        Resource::new(
            json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "x", "namespace": "n" }, "spec": spec }),
        )
    }

    #[test]
    fn needed_namespaces_come_first_and_custom_resources_after_their_definition() {
        let crd = Resource::new(json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "widgets.acme.io" }, "spec": { "group": "acme.io" } }));
        let all = desired(
            vec![
                resource("acme.io/v1", "Widget", &json!({})),
                crd,
                resource("apps/v1", "Deployment", &json!({})),
                resource("v1", "ConfigMap", &json!({})),
            ],
            OWNER,
        );
        let kinds = all.iter().map(|one| one.reference.kind.as_str()).collect::<Vec<_>>();
        assert_eq!(kinds, ["Namespace", "CustomResourceDefinition", "ConfigMap", "Deployment", "Widget"]);
    }

    #[test]
    fn a_yielded_field_does_not_count_in_the_hash() {
        let hash_of = |replicas: i64, yields: bool| {
            let mut one = desired(vec![resource("apps/v1", "Deployment", &json!({ "replicas": replicas }))], OWNER)
                .pop()
                .unwrap();
            if yields {
                one.yield_field("spec.replicas".parse().unwrap());
            }
            one.hash
        };
        assert_ne!(hash_of(1, false), hash_of(3, false));
        assert_eq!(hash_of(1, true), hash_of(3, true));
    }

    #[test]
    fn our_labels_are_on_all_but_shared_resources() {
        let all = desired(vec![resource("v1", "ConfigMap", &json!({}))], OWNER);
        assert_eq!(all[1].value["metadata"]["labels"][INSTANCE_LABEL], "instance");
        assert!(all[0].nature == Nature::Implied && all[0].value["metadata"]["labels"][INSTANCE_LABEL].is_null());
    }

    #[test]
    fn pods_bear_the_labels_of_what_runs_them() {
        let label_at = |kind: (&str, &str), spec: &Value, path: &str| {
            let one = desired(vec![resource(kind.0, kind.1, spec)], OWNER).pop().unwrap();
            one.value.pointer(path).unwrap()["metadata"]["labels"][INSTANCE_LABEL].clone()
        };
        let spec = json!({ "template": { "metadata": { "labels": { "app": "x" } } } });
        assert_eq!(label_at(("apps/v1", "Deployment"), &spec, "/spec/template"), "instance");
        let spec = json!({ "jobTemplate": { "spec": { "template": {} } } });
        assert_eq!(label_at(("batch/v1", "CronJob"), &spec, "/spec/jobTemplate/spec/template"), "instance");
    }

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "a": "b" } });
        encode_string_data(&mut secret);
        assert_eq!(secret, json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": "Yg==" } }));
    }
}
