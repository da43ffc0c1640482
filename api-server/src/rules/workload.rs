//! Rules of workloads: exactly one source, and what it expands into.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use threeport::json::{Violation, to_json};
use threeport::render::{namespaces::is_label, parse_manifest, plain_manifest, warnings};
use threeport::v1::{ObjectMeta, ProjectSpec, WorkloadDefinitionSpec, WorkloadSpec};

use super::syntax::MAX_NAME;
use super::workload_instance::{Fields, check_moved, check_yields, fill_runtime};
use super::{Child, Derived, plain, typed, workload_definition};

/// Instances that one workload may have.
const MAX_INSTANCES: usize = 100;
/// The instance that is there when none is given.
const DEFAULT_INSTANCE: &str = "default";

/// Checks the source, fills what is left out, splits secrets.
pub fn normalize(meta: &ObjectMeta, spec: &mut Value, previous: Option<&Value>) -> Result<Derived, Vec<Violation>> {
    let workload: WorkloadSpec = typed(spec)?;
    let mut violations = check_source(&workload);
    let mut resources = match workload_definition::split(spec, "manifest", "secret_data") {
        Ok(resources) => resources,
        Err(wrong) => {
            violations.extend(wrong);
            Vec::new()
        }
    };
    if !workload.manifest.is_empty() && violations.is_empty() {
        violations.extend(workload_definition::check(&resources, &workload.inputs));
    }
    if !workload.image.is_empty() {
        violations.extend(plain::check(&meta.name, &workload));
        plain::fill(spec, &workload);
        resources = parse_manifest(&plain_manifest(&meta.name, &workload)).unwrap_or_default();
    }
    violations.extend(check_yields(&workload.r#yield, "spec"));
    if workload.instances.is_empty() {
        spec["instances"] = json!([{ "name": DEFAULT_INSTANCE }]);
    }
    violations.extend(check_instances(meta, spec, &workload, previous));
    if violations.is_empty() { Ok(Derived { status: None, warnings: warnings(&resources) }) } else { Err(violations) }
}

fn check_source(workload: &WorkloadSpec) -> Vec<Violation> {
    let sources = [("manifest", &workload.manifest), ("definition", &workload.definition), ("image", &workload.image)];
    let given = sources.iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| *name).collect::<Vec<_>>();
    let mut violations = Vec::new();
    match given.as_slice() {
        [_] => {}
        [] => violations.push(Violation::new("spec", "has no source; give one of manifest, definition and image")),
        _ => violations
            .push(Violation::new("spec", format!("has {} sources ({}); keep one", given.len(), given.join(", ")))),
    }
    if workload.manifest.is_empty() && !workload.inputs.is_empty() {
        violations.push(Violation::new("spec.inputs", "belong to a manifest; drop them"));
    }
    if workload.image.is_empty() {
        let stray = plain::given(workload).into_iter();
        violations.extend(stray.map(|field| {
            Violation::new(format!("spec.{field}"), "belongs to the plain form, which begins with image; drop it")
        }));
    }
    violations
}

fn check_instances(
    meta: &ObjectMeta,
    spec: &Value,
    workload: &WorkloadSpec,
    previous: Option<&Value>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    if workload.instances.len() > MAX_INSTANCES {
        let message = format!(
            "{} are more than the {MAX_INSTANCES} that one workload may have; make another workload of the same definition",
            workload.instances.len()
        );
        return vec![Violation::new("spec.instances", message)];
    }
    let mut names = BTreeSet::new();
    for (index, instance) in workload.instances.iter().enumerate() {
        let place = format!("spec.instances[{index}]");
        if !is_label(&instance.name) {
            let message = format!("`{}` is no DNS label (1 to 63 of a-z, 0-9 and -)", instance.name);
            violations.push(Violation::new(format!("{place}.name"), message));
        } else if !names.insert(&instance.name) {
            let message = format!("`{}` is the name of another instance; choose a new one", instance.name);
            violations.push(Violation::new(format!("{place}.name"), message));
        }
        let fields = Fields {
            patches: &instance.patches,
            adopt: &instance.adopt,
            yields: &instance.r#yield,
            namespace: &instance.namespace,
            definition_generation: instance.definition_generation,
        };
        violations.extend(fields.check(&place));
        let before = previous.and_then(|previous| instance_of(previous, &instance.name));
        violations.extend(check_moved(&meta.project, &place, &spec["instances"][index], before));
    }
    for (index, instance) in spec["instances"].as_array().into_iter().flatten().enumerate() {
        let name = format!("{}-{}", meta.name, instance["name"].as_str().unwrap_or_default());
        if name.len() > MAX_NAME {
            let message = format!(
                "the instance would be called `{name}`, which has more than {MAX_NAME} characters; shorten one of the names"
            );
            violations.push(Violation::new(format!("spec.instances[{index}].name"), message));
        }
    }
    violations
}

fn instance_of<'a>(spec: &'a Value, name: &str) -> Option<&'a Value> {
    spec["instances"].as_array()?.iter().find(|instance| instance["name"] == name)
}

/// Settles the runtime of each instance.
pub fn fill(spec: &mut Value, previous: Option<&Value>, project: &ProjectSpec) -> Vec<Violation> {
    let instances = spec.get_mut("instances").and_then(Value::as_array_mut).into_iter().flatten();
    let filled = instances.enumerate().map(|(index, instance)| {
        let name = instance["name"].as_str().unwrap_or_default();
        let before = previous.and_then(|previous| instance_of(previous, name));
        fill_runtime(instance, before, project, &format!("spec.instances[{index}]"))
    });
    filled.flatten().collect()
}

/// A definition, unless somebody's is used, and the instances.
pub fn expand(meta: &ObjectMeta, spec: &Value) -> Result<Vec<Child>, Vec<Violation>> {
    let workload: WorkloadSpec = typed(spec)?;
    let mut children = Vec::new();
    let own = definition(&meta.name, &workload);
    let definition = if own.is_some() { meta.name.clone() } else { workload.definition.clone() };
    let yields = match own {
        Some(own) => {
            children.push(child(meta, "workload-definition", meta.name.clone(), own));
            Vec::new()
        }
        None => spec["yield"].as_array().cloned().unwrap_or_default(),
    };
    for template in spec["instances"].as_array().into_iter().flatten() {
        let mut instance = template.as_object().cloned().unwrap_or_default();
        let name = instance.remove("name").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        instance.insert("definition".into(), definition.as_str().into());
        add_yields(&mut instance, &yields);
        children.push(child(meta, "workload-instance", format!("{}-{name}", meta.name), Value::Object(instance)));
    }
    Ok(children)
}

/// The spec of the definition of its own.
fn definition(name: &str, workload: &WorkloadSpec) -> Option<Value> {
    let manifest = match (workload.manifest.as_str(), workload.image.as_str()) {
        ("", "") => return None,
        ("", _) => plain_manifest(name, workload),
        (manifest, _) => manifest.to_owned(),
    };
    Some(to_json(&WorkloadDefinitionSpec {
        manifest,
        inputs: workload.inputs.clone(),
        r#yield: workload.r#yield.clone(),
        secret_data: workload.secret_data.clone(),
    }))
}

fn add_yields(instance: &mut Map<String, Value>, yields: &[Value]) {
    if !yields.is_empty() {
        let own = instance.remove("yield").and_then(|own| own.as_array().cloned()).unwrap_or_default();
        instance.insert("yield".into(), yields.iter().cloned().chain(own).collect());
    }
}

/// Children carry the labels of their workload, so that selecting by them finds both.
fn child(meta: &ObjectMeta, kind: &'static str, name: String, spec: Value) -> Child {
    let labels = meta.labels.clone().into_iter().collect();
    Child { kind, name, labels, annotations: BTreeMap::new(), spec }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
