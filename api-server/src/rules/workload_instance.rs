//! Rules of workload instances, and of the same fields in a workload's instance templates.

use std::collections::BTreeSet;

use serde_json::Value;
use threeport::json::Violation;
use threeport::object::Object as _;
use threeport::render::{self, FieldPath, Resource, Source, patches};
use threeport::v1::{
    self, Adoption, FieldSelector, ObjectMeta, Patch, ProjectSpec, WorkloadDefinition, WorkloadInstanceSpec,
};
use uuid::Uuid;

use super::syntax::{check_namespace, full_reference};
use super::typed;

/// What can't change, and why.
const SECOND: &str = "can't change; add a second instance";

/// Everything wrong with an instance by itself.
pub fn check(meta: &ObjectMeta, spec: &Value, previous: Option<&Value>) -> Result<(), Vec<Violation>> {
    let instance: WorkloadInstanceSpec = typed(spec)?;
    let mut violations = Vec::new();
    if instance.definition.is_empty() {
        violations.push(Violation::new("spec.definition", "is required; name a workload definition"));
    }
    let fields = Fields {
        patches: &instance.patches,
        adopt: &instance.adopt,
        yields: &instance.r#yield,
        namespace: &instance.namespace,
        definition_generation: instance.definition_generation,
    };
    violations.extend(fields.check("spec"));
    violations.extend(check_moved(&meta.project, "spec", spec, previous));
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// The fields that instances and instance templates share.
pub struct Fields<'a> {
    pub patches: &'a [Patch],
    pub adopt: &'a [Adoption],
    pub yields: &'a [FieldSelector],
    pub namespace: &'a str,
    pub definition_generation: Option<i64>,
}

impl Fields<'_> {
    pub fn check(&self, place: &str) -> Vec<Violation> {
        let mut violations = patches::check(self.patches).into_iter().map(|v| v.below(place)).collect::<Vec<_>>();
        for (index, adoption) in self.adopt.iter().enumerate() {
            let names = adoption.resource.as_ref().is_some_and(|r| !r.kind.is_empty() && !r.name.is_empty());
            if !names {
                let message = "name the resource to take over by kind and name";
                violations.push(Violation::new(format!("{place}.adopt[{index}].resource"), message));
            }
        }
        violations.extend(check_yields(self.yields, place));
        violations.extend(check_namespace(&format!("{place}.namespace"), self.namespace));
        if self.definition_generation.is_some_and(|generation| generation < 1) {
            let message = "generations count from 1; leave it out to follow the newest";
            violations.push(Violation::new(format!("{place}.definition_generation"), message));
        }
        violations
    }
}

/// Refuses paths that aren't.
pub fn check_yields(selectors: &[FieldSelector], place: &str) -> Vec<Violation> {
    let wrong = |(index, selector): (usize, &FieldSelector)| {
        let message = selector.path.parse::<FieldPath>().err()?;
        Some(Violation::new(format!("{place}.yield[{index}].path"), message))
    };
    selectors.iter().enumerate().filter_map(wrong).collect()
}

/// Refuses another runtime or namespace than before. An empty runtime keeps the one before.
pub fn check_moved(project: &str, place: &str, spec: &Value, previous: Option<&Value>) -> Vec<Violation> {
    let Some(previous) = previous else { return Vec::new() };
    let runtime = check_runtime_stays(project, place, spec, previous);
    runtime.into_iter().chain(check_namespace_stays(place, "namespace", spec, previous)).collect()
}

pub fn check_runtime_stays(project: &str, place: &str, spec: &Value, previous: &Value) -> Option<Violation> {
    let (before, now) = (text(previous, "runtime"), text(spec, "runtime"));
    let is_moved =
        !now.is_empty() && !before.is_empty() && full_reference(project, before) != full_reference(project, now);
    is_moved.then(|| Violation::new(format!("{place}.runtime"), format!("the runtime `{before}` {SECOND}")))
}

pub fn check_namespace_stays(place: &str, field: &str, spec: &Value, previous: &Value) -> Option<Violation> {
    let (before, now) = (text(previous, field), text(spec, field));
    let shown =
        if before.is_empty() { "the managed namespace".to_owned() } else { format!("the namespace `{before}`") };
    (before != now).then(|| Violation::new(format!("{place}.{field}"), format!("{shown} {SECOND}")))
}

fn text<'a>(spec: &'a Value, field: &str) -> &'a str {
    spec[field].as_str().unwrap_or_default()
}

/// Settles the runtime: as given, as before, or the project's default.
pub fn fill_runtime(
    spec: &mut Value,
    previous: Option<&Value>,
    project: &ProjectSpec,
    place: &str,
) -> Option<Violation> {
    if spec["runtime"].as_str().is_some_and(|runtime| !runtime.is_empty()) {
        return None;
    }
    let before = previous.and_then(|previous| previous["runtime"].as_str()).unwrap_or_default();
    let runtime = if before.is_empty() { &project.default_runtime } else { before };
    if runtime.is_empty() {
        let message = "is required while the project has no default_runtime; add a runtime with `tptctl runtime add`, then name it here or as the project's default_runtime";
        return Some(Violation::new(format!("{place}.runtime"), message));
    }
    spec["runtime"] = runtime.into();
    None
}

/// A definition that instances are checked against: read once for all of them.
pub struct Definition {
    object: WorkloadDefinition,
    resources: Result<Vec<Resource>, Vec<Violation>>,
}

impl Definition {
    /// The definition among used objects, their specs in the clear.
    pub fn among(uses: &[v1::Object]) -> Option<Self> {
        let object = uses.iter().find(|object| object.kind == WorkloadDefinition::KIND)?;
        let object = WorkloadDefinition::from_erased(object.clone()).ok()?;
        let resources = render::parse_manifest(&object.spec.as_ref()?.manifest);
        Some(Self { object, resources })
    }

    /// Renders an instance, at the generation that it pins: what doesn't fit is refused before it is stored.
    pub fn check(&self, meta: &ObjectMeta, spec: &Value) -> Vec<Violation> {
        let Ok(instance) = typed::<WorkloadInstanceSpec>(spec) else { return Vec::new() };
        let ObjectMeta { name, generation, .. } = self.object.meta();
        if let Some(pinned) = instance.definition_generation.filter(|pinned| pinned > generation) {
            let message =
                format!("workload-definition `{name}` is at generation {generation}, and has no {pinned} yet");
            return vec![Violation::new("spec.definition_generation", message)];
        }
        let id = meta.id.parse::<Uuid>().unwrap_or_default();
        let namespace = render::default_namespace(&meta.name, id, &instance.namespace, &BTreeSet::new());
        let source = Source {
            definition: self.object.spec.as_ref().expect("`among` takes none without"),
            instance: &instance,
            name: &meta.name,
            namespace: &namespace,
            attachments: &[],
            images: &[],
        };
        render::render_parsed(self.resources.clone(), &source).err().unwrap_or_default()
    }
}
