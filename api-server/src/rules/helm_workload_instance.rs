//! Rules of releases: values that fit their chart's inputs, and what can't change.

use serde_json::Value;
use threeport::json::Violation;
use threeport::object::Object as _;
use threeport::render::charts;
use threeport::v1::{self, HelmWorkloadDefinition, HelmWorkloadInstanceSpec, ObjectMeta};

use super::helm_workload_definition::wrong_document;
use super::syntax::check_namespace;
use super::typed;
use super::workload_instance::{check_namespace_stays, check_runtime_stays};

/// Everything wrong with an instance by itself.
pub fn check(meta: &ObjectMeta, spec: &Value, previous: Option<&Value>) -> Result<(), Vec<Violation>> {
    let instance: HelmWorkloadInstanceSpec = typed(spec)?;
    let mut violations = Vec::new();
    if instance.definition.is_empty() {
        violations.push(Violation::new("spec.definition", "is required; name a helm workload definition"));
    }
    let mistake = wrong_document(&instance.values_document);
    violations.extend(mistake.map(|message| Violation::new("spec.values_document", message)));
    violations.extend(check_namespace("spec.release_namespace", &instance.release_namespace));
    if let Some(previous) = previous {
        violations.extend(check_runtime_stays(&meta.project, "spec", spec, previous));
        violations.extend(check_namespace_stays("spec", "release_namespace", spec, previous));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Checks the values against the inputs of the definition among used objects.
pub fn check_values(spec: &Value, uses: &[v1::Object]) -> Vec<Violation> {
    let definition = uses.iter().find(|object| object.kind == HelmWorkloadDefinition::KIND);
    let definition = definition.and_then(|object| HelmWorkloadDefinition::from_erased(object.clone()).ok());
    let (Some(definition), Ok(instance)) =
        (definition.and_then(|definition| definition.spec), typed::<HelmWorkloadInstanceSpec>(spec))
    else {
        return Vec::new();
    };
    let violations = charts::given_values(&definition.inputs, &instance.values).err().unwrap_or_default();
    violations.into_iter().map(|violation| violation.below("spec")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::json::to_struct;

    use super::*;

    fn fields(spec: &Value, previous: Option<&Value>) -> Vec<String> {
        let violations = check(&ObjectMeta::default(), spec, previous).err().unwrap_or_default();
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn what_is_wrong_is_said_of_its_field() {
        assert_eq!(fields(&json!({}), None), ["spec.definition"]);
        let bad = json!({ "definition": "web", "values_document": "a: [", "release_namespace": "kube-system" });
        assert_eq!(fields(&bad, None), ["spec.values_document", "spec.release_namespace"]);
    }

    #[test]
    fn a_release_stays_where_it_is() {
        let before = json!({ "definition": "web", "runtime": "eu", "release_namespace": "team" });
        let after = json!({ "definition": "web", "runtime": "us", "release_namespace": "" });
        assert_eq!(fields(&after, Some(&before)), ["spec.runtime", "spec.release_namespace"]);
        assert!(fields(&json!({ "definition": "api", "release_namespace": "team" }), Some(&before)).is_empty());
    }

    #[test]
    fn values_fit_the_inputs() {
        let spec = json!({ "inputs": [{ "name": "size", "type": "integer", "targets": [{ "path": "size" }] }] });
        let kind = HelmWorkloadDefinition::KIND.to_owned();
        let uses = [v1::Object { kind, spec: Some(to_struct(spec)), ..Default::default() }];
        assert!(check_values(&json!({ "values": { "size": 2 } }), &uses).is_empty());
        let wrong = check_values(&json!({ "values": { "size": "big", "color": 1 } }), &uses);
        assert_eq!(
            wrong.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(),
            ["spec.values.color", "spec.values.size"]
        );
    }
}
