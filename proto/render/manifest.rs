//! Reads multi-document YAML into resources: strictly, within bounds, every mistake with its line and column.

use std::collections::BTreeMap;

use serde_json::Value;

use super::namespaces::is_label;
use super::parsed;
use super::resource::Resource;
use crate::json::Violation;

/// The longest manifest.
pub const MAX_BYTES: usize = 1 << 20;
/// The most resources in one.
pub const MAX_RESOURCES: usize = 500;

/// What a cluster writes; pasted back, it would be refused or fought over. Owners are named by uids of one cluster: with
/// those of another a resource would be collected as garbage.
const WRITTEN_BY_CLUSTERS: &[&str] = &[
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Holds another copy of everything, Secrets in the clear among it.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One document of a manifest: from its `---` to the next.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub number: usize,
    /// How many lines stand before it.
    pub line: usize,
}

/// Splits at `---`, which begins a document wherever it begins a line.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 0, 0);
    for (line_number, line) in text.split_inclusive('\n').enumerate() {
        let is_marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if is_marker && position > start {
            documents.push(Document { text: &text[start..position], number: documents.len() + 1, line: start_line });
            (start, start_line) = (position, line_number);
        }
        position += line.len();
    }
    documents.push(Document { text: &text[start..], number: documents.len() + 1, line: start_line });
    documents
}

impl Document<'_> {
    /// The document as JSON; none when it holds nothing but comments.
    pub fn parse(&self) -> Result<Option<Value>, Violation> {
        parsed::read(self.text)
            .map_err(|mistake| self.violation_at(self.line + mistake.line, mistake.column, &mistake.message))
    }

    /// Something wrong with the document as a whole: names its first line that says anything.
    pub fn violation(&self, message: &str) -> Violation {
        let says_something = |line: &str| !line.trim().is_empty() && !line.starts_with("---") && !line.starts_with('#');
        let line = self.text.lines().position(says_something).unwrap_or_default();
        self.violation_at(self.line + line + 1, 1, message)
    }

    fn violation_at(&self, line: usize, column: u64, message: &str) -> Violation {
        Violation::new("manifest", format!("manifest:{line}:{column}: document {}: {message}", self.number))
    }
}

/// All resources of a manifest, in its order; lists flattened, empty documents skipped.
///
/// # Errors
/// Every mistake in it, as violations of the field `manifest`.
pub fn parse_manifest(text: &str) -> Result<Vec<Resource>, Vec<Violation>> {
    if text.len() > MAX_BYTES {
        let message = format!("manifest is {} bytes long, more than {MAX_BYTES}; split it", text.len());
        return Err(vec![Violation::new("manifest", message)]);
    }
    let mut violations = Vec::new();
    let mut resources: Vec<Resource> = Vec::new();
    let mut seen = BTreeMap::new();
    for document in documents(text) {
        let values = match document.parse() {
            Ok(value) => value.map_or_else(Vec::new, flatten),
            Err(violation) => {
                violations.push(violation);
                continue;
            }
        };
        for value in values {
            match check(value) {
                Ok(resource) => match seen.insert(resource.identity(), document.number) {
                    Some(first) => violations
                        .push(document.violation(&format!("{resource} is already in document {first}; remove one"))),
                    None => resources.push(resource),
                },
                Err(messages) => violations.extend(messages.iter().map(|message| document.violation(message))),
            }
        }
    }
    if resources.len() > MAX_RESOURCES {
        let message = format!("manifest holds {} resources, more than {MAX_RESOURCES}; split it", resources.len());
        violations.push(Violation::new("manifest", message));
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    learn_scopes(&mut resources);
    Ok(resources)
}

/// Tells the custom resources among them the scope that CRDs among them give.
pub fn learn_scopes(resources: &mut [Resource]) {
    let mut scopes = BTreeMap::new();
    for definition in resources.iter().filter(|r| r.is("apiextensions.k8s.io", "CustomResourceDefinition")) {
        let spec = &definition.value["spec"];
        if let (Some(group), Some(kind), Some(scope)) =
            (spec["group"].as_str(), spec["names"]["kind"].as_str(), spec["scope"].as_str())
        {
            scopes.insert((group.to_owned(), kind.to_owned()), scope == "Cluster");
        }
    }
    for resource in resources.iter_mut().filter(|resource| resource.is_cluster_scoped().is_none()) {
        if let Some(is_cluster_scoped) = scopes.get(&(resource.group().to_owned(), resource.kind().to_owned())) {
            resource.set_cluster_scoped(*is_cluster_scoped);
        }
    }
}

/// The items of a `kind: List`, or the value itself.
pub fn flatten(value: Value) -> Vec<Value> {
    match value {
        Value::Object(mut fields) if fields.get("kind").is_some_and(|kind| kind == "List") => {
            match fields.remove("items") {
                Some(Value::Array(items)) => items.into_iter().flat_map(flatten).collect(),
                _ => Vec::new(),
            }
        }
        value => vec![value],
    }
}

/// One resource, cleared of what clusters write.
fn check(mut value: Value) -> Result<Resource, Vec<String>> {
    if !value.is_object() {
        return Err(vec!["expected a Kubernetes resource (a map with apiVersion, kind and metadata)".to_owned()]);
    }
    let mut problems = Vec::new();
    for (field, is_valid) in [("apiVersion", is_api_version as fn(&str) -> bool), ("kind", is_kind)] {
        match value[field].as_str() {
            None | Some("") => problems.push(format!("`{field}` is missing or no string")),
            Some(text) if !is_valid(text) => problems.push(format!("`{text}` is no `{field}`")),
            Some(_) => {}
        }
    }
    if let Some(problem) = value["metadata"].as_object().map_or(Some("`metadata` is missing"), check_name) {
        problems.push(problem.to_owned());
    }
    problems.extend(marks_problems(&value));
    if !problems.is_empty() {
        return Err(problems);
    }
    let fields = value.as_object_mut().expect("checked above");
    let mut dropped = Vec::new();
    if fields.remove("status").is_some_and(|status| status.as_object().is_none_or(|status| !status.is_empty())) {
        dropped.push("status".to_owned());
    }
    let metadata = fields["metadata"].as_object_mut().expect("checked above");
    metadata.retain(|key, value| {
        let is_clusters = WRITTEN_BY_CLUSTERS.contains(&key.as_str());
        if is_clusters && !value.is_null() {
            dropped.push(format!("metadata.{key}"));
        }
        !is_clusters && !value.is_null()
    });
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let mut resource = Resource::new(value);
    resource.dropped = dropped;
    Ok(resource)
}

/// What is wrong with the labels and annotations of a resource.
pub fn marks_problems(value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for field in ["labels", "annotations"] {
        match &value["metadata"][field] {
            Value::Null => {}
            Value::Object(entries) => {
                for (key, _) in entries.iter().filter(|(_, value)| !value.is_string()) {
                    problems.push(format!("`metadata.{field}[{key:?}]` isn't a string; quote it"));
                }
            }
            _ => problems.push(format!("`metadata.{field}` isn't a map")),
        }
    }
    problems
}

/// `v1` or `apps/v1`: a DNS subdomain and a label.
fn is_api_version(text: &str) -> bool {
    let (group, version) = text.split_once('/').map_or((None, text), |(group, version)| (Some(group), version));
    is_label(version) && group.is_none_or(|group| group.split('.').all(is_label))
}

/// A name as programs have it: `ConfigMap`.
fn is_kind(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn check_name(metadata: &serde_json::Map<String, Value>) -> Option<&'static str> {
    if metadata.contains_key("generateName") {
        return Some(
            "`metadata.generateName` makes another resource each time it is applied; give it a `metadata.name`",
        );
    }
    let is_name = |name: &str| !name.is_empty() && name.len() <= 253 && !name.contains(['/', '%', ' ']) && name != "..";
    if !metadata.get("name").and_then(Value::as_str).is_some_and(is_name) {
        return Some("`metadata.name` is missing or no name");
    }
    match metadata.get("namespace") {
        None | Some(Value::Null) => None,
        Some(Value::String(namespace)) if is_label(namespace) => None,
        Some(_) => Some("`metadata.namespace` is no DNS label (1 to 63 of a-z, 0-9 and -)"),
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
