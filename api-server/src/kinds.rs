//! The kinds in force: ours and those registered at run time.
//!
//! [`check`] judges one `ObjectKind` alone; [`registry_with`] builds what all of them make together and is the last word:
//! a write of an `ObjectKind` is refused with its message if the stored kinds and the new one don't go together.

mod compatible;
mod convert;
mod descriptors;
mod fields;
mod synthesize;

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, Kind as FieldKind, MessageDescriptor};
use threeport::POOL;
use threeport::json::Violation;
use threeport::kind::{Controller, FieldPath, Kind, ReferenceField, Step};
use threeport::object::Object as _;
use threeport::registry::Registry;
use threeport::render::namespaces::is_label;
use threeport::v1::{ObjectKind, ObjectKindSpec};

pub use convert::{decode_placeholders, encode_placeholders, from_erased, to_erased};

use crate::error::{Error, Result};

/// What is wrong with a kind, seen alone; `previous` is what is stored.
pub fn check(spec: &ObjectKindSpec, previous: Option<&ObjectKindSpec>) -> Vec<Violation> {
    let message = match describe(&POOL, spec) {
        Ok((_, message)) => message,
        Err(violation) => return vec![violation],
    };
    let mut violations = descriptors::check_shape(&message, !spec.controllers.is_empty());
    for (index, reference) in spec.references.iter().enumerate() {
        if let Err(description) = field_path(&message, &reference.field) {
            violations.push(Violation::new(format!("spec.references[{index}].field"), description));
        }
    }
    check_names(spec, &mut violations);
    if let Some(previous) = previous {
        if previous.message != spec.message {
            let description = format!("can't change from `{}`; register another kind", previous.message);
            violations.push(Violation::new("spec.message", description));
        } else if let Ok((_, before)) = describe(&POOL, previous) {
            violations.extend(compatible::check(&before, &message));
        }
    }
    violations
}

fn check_names(spec: &ObjectKindSpec, violations: &mut Vec<Violation>) {
    if !spec.plural.is_empty() && !is_label(&spec.plural) {
        violations.push(Violation::new("spec.plural", "must be a DNS label: 1 to 63 of a-z, 0-9 and -"));
    }
    for (index, controller) in spec.controllers.iter().enumerate() {
        let field = format!("spec.controllers[{index}].name");
        if !is_label(&controller.name) {
            violations.push(Violation::new(field, "must be a DNS label: 1 to 63 of a-z, 0-9 and -"));
        } else if spec.controllers[..index].iter().any(|other| other.name == controller.name) {
            violations.push(Violation::new(field, format!("`{}` is named twice", controller.name)));
        }
    }
}

/// Our kinds and these.
///
/// # Errors
/// What a user reads when the newest of these doesn't go with the others.
pub fn registry_with(stored: &[ObjectKind]) -> Result<Registry> {
    build(stored).map_err(|message| Error::invalid("spec", message))
}

/// Our kinds and those of `stored` that go together, with what is wrong with the others. A server that is upgraded has to
/// start although a stored kind goes by a name that has become one of ours.
pub fn registry_of_sound(stored: &[ObjectKind]) -> (Registry, Vec<String>) {
    let (mut sound, mut registry) = (Vec::new(), Registry::built_in().clone());
    let (mut waiting, mut wrong) = (stored.to_vec(), Vec::new());
    // A kind may refer to one that comes after it: whatever was left out is tried again as long as that helps.
    loop {
        wrong.clear();
        let (count, mut left_out) = (waiting.len(), Vec::new());
        for kind in waiting {
            sound.push(kind);
            match build(&sound) {
                Ok(larger) => registry = larger,
                Err(error) => {
                    wrong.push(error);
                    left_out.extend(sound.pop());
                }
            }
        }
        if left_out.is_empty() || left_out.len() == count {
            return (registry, wrong);
        }
        waiting = left_out;
    }
}

fn build(stored: &[ObjectKind]) -> Result<Registry, String> {
    let mut pool = POOL.clone();
    let mut specs = BTreeMap::new();
    for object in stored {
        let name = object.meta().name.clone();
        let spec = object.spec.clone().unwrap_or_default();
        let of_kind = |error: String| format!("object-kind `{name}`: {error}");
        (pool, _) = describe(&pool, &spec).map_err(|violation| of_kind(violation.to_string()))?;
        specs.insert(name, spec);
    }
    check_messages(stored)?;
    for (name, spec) in &specs {
        let message =
            pool.get_message_by_name(&spec.message).ok_or_else(|| format!("object-kind `{name}`: no message"))?;
        synthesize::add_service(&mut pool, &message, name, &plural(name, spec))
            .map_err(|error| format!("object-kind `{name}`: {error}"))?;
    }
    let kinds = specs.iter().map(|(name, spec)| kind(&pool, name, spec)).collect::<Result<Vec<_>, _>>()?;
    check_together(&kinds)?;
    Ok(Registry::with(pool, kinds))
}

/// Each message is of one kind: the later one of two is refused.
fn check_messages(stored: &[ObjectKind]) -> Result<(), String> {
    let mut served = BTreeMap::new();
    for object in stored {
        let (name, message) = (&object.meta().name, object.spec.as_ref().map_or("", |spec| &spec.message));
        if let Some(other) = served.insert(message, name) {
            return Err(format!(
                "object-kind `{name}`: message `{message}` is already served as kind `{other}`; give this kind a message of its own"
            ));
        }
    }
    Ok(())
}

fn plural(name: &str, spec: &ObjectKindSpec) -> String {
    if spec.plural.is_empty() { format!("{name}s") } else { spec.plural.clone() }
}

/// The pool with the kind's own files added, and its message.
fn describe(pool: &DescriptorPool, spec: &ObjectKindSpec) -> Result<(DescriptorPool, MessageDescriptor), Violation> {
    let pool = descriptors::add_files(pool, &spec.descriptor_set)
        .map_err(|error| Violation::new("spec.descriptor_set", error))?;
    let Some(message) = pool.get_message_by_name(&spec.message) else {
        let description = format!("message `{}` is not in descriptor_set; give its full name", spec.message);
        return Err(Violation::new("spec.message", description));
    };
    if message.package_name().is_empty() || descriptors::is_reserved(message.package_name()) {
        let description = format!("package `{}` is reserved; use one of your own", message.package_name());
        return Err(Violation::new("spec.message", description));
    }
    Ok((pool, message))
}

fn kind(pool: &DescriptorPool, name: &str, spec: &ObjectKindSpec) -> Result<Kind, String> {
    let of_kind = |error: String| format!("object-kind `{name}`: {error}");
    let message = pool.get_message_by_name(&spec.message).ok_or_else(|| of_kind("its message is gone".to_owned()))?;
    let controllers =
        spec.controllers.iter().map(|c| Controller { name: c.name.clone(), owns: c.owns.clone() }).collect();
    let mut kind = Kind::new(name, message.clone(), true, controllers);
    kind.plural = plural(name, spec);
    kind.columns.clone_from(&spec.columns);
    for reference in &spec.references {
        let path = field_path(&message, &reference.field).map_err(of_kind)?;
        let field = ReferenceField { path, kind: reference.kind.clone() };
        if !kind.references.contains(&field) {
            kind.references.push(field);
        }
    }
    Ok(kind)
}

/// Names, plurals, messages and references over all kinds.
fn check_together(kinds: &[Kind]) -> Result<(), String> {
    let all = || Registry::built_in().kinds().map(AsRef::as_ref).chain(kinds);
    for kind in kinds {
        let others = || all().filter(|other| !std::ptr::eq(*other, kind));
        if let Some(other) = others().find(|other| answers_to(other, &kind.name)) {
            return Err(format!("object-kind `{}`: `{}` goes by that name; choose another", kind.name, other.name));
        }
        if let Some(other) = others().find(|other| answers_to(other, &kind.plural)) {
            let (name, plural) = (&kind.name, &kind.plural);
            return Err(format!(
                "object-kind `{name}`: plural `{plural}` is taken by `{}`; set spec.plural",
                other.name
            ));
        }
        for reference in &kind.references {
            if !all().any(|other| other.name == reference.kind) {
                let (name, path) = (&kind.name, &reference.path);
                return Err(format!("object-kind `{name}`: field `{path}` names unknown kind `{}`", reference.kind));
            }
        }
        for controller in &kind.controllers {
            if let Some(owned) = controller.owns.iter().find(|owned| !all().any(|other| other.name == **owned)) {
                let (name, controller) = (&kind.name, &controller.name);
                return Err(format!(
                    "object-kind `{name}`: controller `{controller}` is to own unknown kind `{owned}`; `tptctl kinds` lists them"
                ));
            }
        }
    }
    Ok(())
}

fn answers_to(kind: &Kind, name: &str) -> bool {
    kind.name == name || kind.plural == name || kind.aliases.iter().any(|alias| alias == name)
}

/// `parts.definition` below the spec, with a step through each list and map on the way.
fn field_path(message: &MessageDescriptor, text: &str) -> Result<FieldPath, String> {
    let mut steps = Vec::new();
    let mut inside = descriptors::part(message, "spec");
    let mut is_text = false;
    for name in text.split('.') {
        let Some(field) = inside.as_ref().and_then(|message| message.get_field_by_name(name)) else {
            return Err(format!("`{text}` is not a field of the spec"));
        };
        steps.push(Step::Field(name.to_owned()));
        let mut kind = field.kind();
        if field.is_list() || field.is_map() {
            steps.push(Step::Each);
        }
        if let (true, FieldKind::Message(entry)) = (field.is_map(), &kind) {
            kind = entry.map_entry_value_field().kind();
        }
        is_text = matches!(kind, FieldKind::String);
        inside = match kind {
            FieldKind::Message(message) => Some(message),
            _ => None,
        };
    }
    if is_text { Ok(FieldPath(steps)) } else { Err(format!("`{text}` is not a string; references are names")) }
}

#[cfg(test)]
mod tests;
