//! Documents as a user writes them (JSON is YAML), and the manifests that tests deploy.

use serde_json::{Value, json};

/// One native document.
#[expect(clippy::needless_pass_by_value, reason = "documents read better without references")]
pub fn document(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "version": "v1", "kind": kind, "name": name, "spec": spec })
}

pub fn definition(name: &str, manifest: &str) -> Value {
    document("workload-definition", name, json!({ "manifest": manifest }))
}

/// An instance on the default runtime, in a namespace of its own.
pub fn instance(name: &str, definition: &str) -> Value {
    document("workload-instance", name, json!({ "definition": definition }))
}

/// Several documents as one file.
pub fn file(documents: &[Value]) -> String {
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// A config map with one key, the cheapest workload there is.
pub fn config_map(name: &str, key: &str, value: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {{{key}: {value:?}}}}}\n")
}

/// A deployment of one container `main`.
pub fn deployment(name: &str, image: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - {{name: main, image: '{image}'}}
"
    )
}

/// Defines a namespaced kind of resource.
pub fn resource_definition(group: &str, kind: &str, plural: &str) -> Value {
    let schema = json!({ "type": "object", "properties": {
        "spec": { "type": "object", "properties": { "size": { "type": "integer" } } } } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}

/// Manifests as one.
pub fn manifests(parts: &[&str]) -> String {
    parts.join("---\n")
}
