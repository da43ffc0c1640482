//! What a release is made from, as its reconcile reads it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::render::{charts, default_namespace};
use threeport::v1::{HelmWorkloadDefinition, HelmWorkloadInstance, KubernetesRuntimeInstance};
use threeport_sdk::controller::{Context, Error as Failure};
use uuid::Uuid;

use crate::clients::helm::Chart;
use crate::resource::{field_manager, hash};

/// Helm's own limit.
const LONGEST_NAME: usize = 53;
/// Of a label's value 63 characters are allowed.
const HASH_DIGITS: usize = 40;

/// The inputs of a release.
pub struct Source {
    pub release: String,
    pub namespace: String,
    pub runtime: Option<KubernetesRuntimeInstance>,
    pub chart: Chart,
    /// Documents of values, later ones win; or why there are none.
    pub values: Result<Vec<String>, String>,
    /// What nobody may see.
    pub secrets: Vec<String>,
    pub is_paused: bool,
}

impl Source {
    /// Fails for an instance whose definition can't be read.
    pub fn of(context: &Context<HelmWorkloadInstance>) -> Result<Self, Failure> {
        let meta = context.object.meta();
        let spec = context.object.spec.clone().unwrap_or_default();
        let definition = context.used::<HelmWorkloadDefinition>();
        let definition = definition.ok_or_else(|| anyhow::anyhow!("definition `{}` can't be read", spec.definition))?;
        let definition = definition.spec.unwrap_or_default();
        let id = Uuid::parse_str(&meta.id).map_err(|error| anyhow::anyhow!("the instance's id is no UUID: {error}"))?;
        let credentials = definition.repo_credentials.clone().unwrap_or_default();
        let mut secrets = vec![credentials.password.clone()];
        let secret_values = charts::read_rendered(&definition.secret_values).unwrap_or_default();
        for document in &secret_values {
            texts(document, &mut secrets);
        }
        let values = charts::given_values(&definition.inputs, &spec.values).map(|given| {
            let defaults = charts::default_values(&definition.inputs);
            let documents = [
                definition.values_document,
                as_document(&defaults),
                spec.values_document,
                as_document(&given),
                definition.secret_values,
            ];
            documents.into_iter().filter(|document| !document.is_empty()).collect()
        });
        let values = values.map_err(|violations| {
            violations.iter().map(|one| format!("{}: {}", one.field, one.description)).collect::<Vec<_>>().join("; ")
        });
        let chart =
            Chart { repo: definition.repo, name: definition.chart, version: definition.chart_version, credentials };
        Ok(Self {
            release: release_name(&meta.name, &meta.id),
            namespace: default_namespace(&meta.name, id, &spec.release_namespace, &std::collections::BTreeSet::new()),
            runtime: context.used(),
            chart,
            values,
            secrets,
            is_paused: spec.paused.unwrap_or(false),
        })
    }

    pub fn is_simulated(&self) -> bool {
        self.runtime.as_ref().and_then(|runtime| runtime.status.as_ref()).is_some_and(|status| status.simulated)
    }

    /// What the status says of the source alone.
    pub fn status(&self) -> Value {
        json!({ "namespace": self.namespace, "release_name": self.release })
    }

    /// Tells apart what releases are made from. Who gets in with other credentials gets the same chart.
    pub fn hash(&self, values: &[String]) -> String {
        let Chart { repo, name, version, .. } = &self.chart;
        let mut hash = hash(&json!({ "repo": repo, "chart": name, "version": version, "values": values }));
        hash.truncate(HASH_DIGITS);
        hash
    }
}

/// A release's name: the instance's, cut and told apart by the id where Helm has no room for it.
fn release_name(name: &str, id: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let manager = field_manager(id);
    let digits = manager.rsplit('-').next().unwrap_or_default();
    let cut = name.get(..LONGEST_NAME - 1 - digits.len()).unwrap_or(name).trim_end_matches('-');
    format!("{cut}-{digits}")
}

/// Keys in order, so that the same values make the same text.
fn as_document(values: &Value) -> String {
    let ordered = values.as_object().into_iter().flatten().collect::<BTreeMap<_, _>>();
    if ordered.is_empty() { String::new() } else { json!(ordered).to_string() }
}

/// Every text and number in a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_helms_limit_and_differ() {
        let name = |text: &str| release_name(text, "0190c2de-7b1f-7abc-8def-0123456789ab");
        assert_eq!(name("web"), "web");
        assert_eq!(name(&"a".repeat(53)), "a".repeat(53));
        assert_eq!(name(&"a".repeat(60)), format!("{}-23456789ab", "a".repeat(42)));
    }

    #[test]
    fn all_secrets_of_a_document_are_found() {
        let mut found = Vec::new();
        texts(&json!({ "a": ["x", { "b": "y" }], "c": 12345, "d": true }), &mut found);
        assert_eq!(found, ["x", "y", "12345"]);
    }
}
