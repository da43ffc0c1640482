//! One Kubernetes resource as JSON, and what can be said of it without a cluster.

use serde_json::{Map, Value};

use super::path::FieldPath;
use super::scope;
use crate::v1::{ResourceReference, ResourceSelector};

/// Kept on delete and prune when its value is `retain`.
pub const ON_DELETE: &str = "threeport.io/on-delete";

/// A resource of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    pub value: Value,
    /// Fields left to others: applied with their live value while ours alone, omitted once another manager owns them.
    pub yields: Vec<FieldPath>,
    /// What its document had that only a cluster writes.
    pub dropped: Vec<String>,
    cluster_scoped: Option<bool>,
}

impl Resource {
    /// The scope of built-in kinds is known; that of others is unknown until [`Resource::set_cluster_scoped`].
    pub fn new(value: Value) -> Self {
        let cluster_scoped = scope::is_cluster_scoped(group_of(text(&value, "/apiVersion")), text(&value, "/kind"));
        Self { value, yields: Vec::new(), dropped: Vec::new(), cluster_scoped }
    }

    pub fn api_version(&self) -> &str {
        text(&self.value, "/apiVersion")
    }

    /// The part of the API version before the slash; empty for the core group.
    pub fn group(&self) -> &str {
        group_of(self.api_version())
    }

    pub fn kind(&self) -> &str {
        text(&self.value, "/kind")
    }

    /// Empty for cluster-scoped resources, and for those whose scope or namespace isn't settled yet.
    pub fn namespace(&self) -> &str {
        text(&self.value, "/metadata/namespace")
    }

    pub fn name(&self) -> &str {
        text(&self.value, "/metadata/name")
    }

    pub fn reference(&self) -> ResourceReference {
        ResourceReference {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// What makes it the same resource in a cluster: group, kind, namespace and name.
    pub fn identity(&self) -> (String, String, String, String) {
        (self.group().into(), self.kind().into(), self.namespace().into(), self.name().into())
    }

    /// None: only the cluster knows (a custom resource whose definition isn't in the manifest).
    pub fn is_cluster_scoped(&self) -> Option<bool> {
        self.cluster_scoped
    }

    pub fn set_cluster_scoped(&mut self, is_cluster_scoped: bool) {
        self.cluster_scoped = Some(is_cluster_scoped);
    }

    /// Namespaces and CRDs belong to all who use them: created if absent, never forced, never labelled.
    pub fn is_shared(&self) -> bool {
        self.is("", "Namespace") || self.is("apiextensions.k8s.io", "CustomResourceDefinition")
    }

    /// Kept on delete and prune: a volume claim, or annotated `threeport.io/on-delete: retain`.
    pub fn is_retained(&self) -> bool {
        self.is("", "PersistentVolumeClaim") || self.annotation(ON_DELETE) == Some("retain")
    }

    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group() == group && self.kind() == kind
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.value["metadata"]["annotations"][name].as_str()
    }

    pub fn set_namespace(&mut self, namespace: &str) {
        self.metadata_mut().insert("namespace".into(), namespace.into());
    }

    /// Whether an empty or absent selector, or one whose given parts are equal, picks it.
    pub fn is_selected(&self, selector: Option<&ResourceSelector>) -> bool {
        let matches = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        selector.is_none_or(|selector| {
            matches(&selector.api_version, self.api_version())
                && matches(&selector.kind, self.kind())
                && matches(&selector.name, self.name())
        })
    }

    /// SHA-256 of the canonical JSON, in hexadecimal: equal for equal resources, whatever wrote them.
    pub fn hash(&self) -> String {
        let mut canonical = self.value.clone();
        canonical.sort_all_objects();
        let digest = ring::digest::digest(&ring::digest::SHA256, canonical.to_string().as_bytes());
        digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
            hex
        })
    }

    /// The metadata, made if it is absent or no object.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        object_at(object(&mut self.value), "metadata")
    }
}

/// ``Deployment `web` ``, with the namespace where it has one.
impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace() {
            "" => write!(f, "{} `{}`", self.kind(), self.name()),
            namespace => write!(f, "{} `{namespace}/{}`", self.kind(), self.name()),
        }
    }
}

/// A JSON object, made out of whatever was there.
pub fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("just made an object")
}

/// The object below a key, made if absent.
pub fn object_at<'a>(fields: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    object(fields.entry(key).or_insert(Value::Null))
}

/// The list below a key, made if absent.
pub fn list_at<'a>(fields: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let value = fields.entry(key).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("just made a list")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_resources_hash_alike_whatever_their_order() {
        let one: Value = serde_json::from_str(r#"{"kind":"A","spec":{"a":1,"b":2}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"spec":{"b":2,"a":1},"kind":"A"}"#).unwrap();
        assert_eq!(Resource::new(one).hash(), Resource::new(two).hash());
        assert_eq!(Resource::new(json!({})).hash(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }

    #[test]
    fn claims_and_what_is_annotated_is_retained() {
        let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" } });
        assert!(Resource::new(claim).is_retained());
        let mut map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "data" } });
        assert!(!Resource::new(map.clone()).is_retained());
        map["metadata"]["annotations"] = json!({ ON_DELETE: "retain" });
        assert!(Resource::new(map).is_retained());
    }
}
