//! Renders a workload: definition + values + patches + released images + attachments give Kubernetes resources.
//!
//! Pure: rules refuse by it what can't be rendered, `Render` shows it, the controller applies it. Architecture invariant:
//! nothing here asks a cluster or a clock, so the same inputs render the same resources everywhere.

pub mod attachments;
pub mod charts;
pub mod images;
pub mod manifest;
pub mod merge;
pub mod namespaces;
pub mod order;
mod parsed;
pub mod patches;
pub mod path;
pub mod plain;
pub mod pods;
pub mod resource;
pub mod scope;
pub mod secrets;
pub mod select;
pub mod values;
pub mod warnings;
pub mod yaml;
pub mod yields;

use std::collections::BTreeSet;

pub use images::{Image, ImageOverride, images, override_images};
pub use manifest::parse_manifest;
pub use namespaces::{default_namespace, manifest_namespaces};
pub use order::order;
pub use path::FieldPath;
pub use plain::plain_manifest;
pub use resource::Resource;
pub use secrets::{join_secrets, split_secrets};
pub use warnings::warnings;
pub use yaml::to_yaml;

use crate::json::Violation;
use crate::v1::{AttachmentSpec, WorkloadDefinitionSpec, WorkloadInstanceSpec};

/// All that a rendering depends on.
pub struct Source<'a> {
    /// Its secret data in the clear, or `(sensitive)` to hide it.
    pub definition: &'a WorkloadDefinitionSpec,
    pub instance: &'a WorkloadInstanceSpec,
    /// The instance's name.
    pub name: &'a str,
    /// For resources that name no namespace; see [`default_namespace`].
    pub namespace: &'a str,
    /// The attachments aimed at the instance, by name.
    pub attachments: &'a [(String, AttachmentSpec)],
    /// What releases give to repositories.
    pub images: &'a [ImageOverride],
}

/// The resources to apply, in the order of application.
///
/// # Errors
/// All that doesn't fit together, with fields of the instance such as `spec.values.replicas` and `spec.patches[2]`; what is
/// wrong with the definition is said of `spec.definition`.
pub fn render(source: &Source) -> Result<Vec<Resource>, Vec<Violation>> {
    render_parsed(parse_manifest(&source.definition.manifest), source)
}

/// The same, with the definition's manifest as [`parse_manifest`] has read it: once for many instances.
///
/// # Errors
/// As [`render`].
pub fn render_parsed(
    parsed: Result<Vec<Resource>, Vec<Violation>>,
    source: &Source,
) -> Result<Vec<Resource>, Vec<Violation>> {
    let mut resources = parsed.map_err(|violations| violations.iter().map(in_definition).collect::<Vec<_>>())?;
    join_secrets(&mut resources, &source.definition.secret_data);

    let mut violations = values::apply(&mut resources, &source.definition.inputs, &source.instance.values);
    violations.extend(patches::apply(&mut resources, &source.instance.patches));
    override_images(&mut resources, source.images);
    for (name, attachment) in source.attachments {
        violations.extend(attachments::apply(&mut resources, source.name, name, attachment));
    }
    let mut violations = violations.into_iter().map(|violation| violation.below("spec")).collect::<Vec<_>>();

    resources.iter_mut().for_each(pods::own_account_twin);
    manifest::learn_scopes(&mut resources);
    namespaces::assign(&mut resources, source.namespace);
    violations.extend(duplicates(&resources));
    violations.extend(yields::mark(&mut resources, &source.definition.r#yield).iter().map(in_definition));
    let own = yields::mark(&mut resources, &source.instance.r#yield);
    violations.extend(own.into_iter().map(|violation| violation.below("spec")));
    if !violations.is_empty() {
        return Err(violations);
    }
    order(&mut resources);
    Ok(resources)
}

fn in_definition(violation: &Violation) -> Violation {
    Violation::new("spec.definition", format!("the definition's {violation}"))
}

/// Resources that the default namespace or an attachment made one and the same.
fn duplicates(resources: &[Resource]) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let again = resources.iter().filter(|resource| !seen.insert(resource.identity()));
    again.map(|resource| Violation::new("spec", format!("{resource} is rendered twice; rename one"))).collect()
}

#[cfg(test)]
#[path = "render/render_tests.rs"]
mod tests;
