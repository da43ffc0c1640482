//! Whether what is stored under one version of a kind can be read under the next.

use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use threeport::json::Violation;
use threeport::kind::is_sensitive;

/// Every field that the next version lost, renumbered, retyped or narrowed.
pub fn check(before: &MessageDescriptor, after: &MessageDescriptor) -> Vec<Violation> {
    let mut violations = Vec::new();
    compare(before, after, &mut Vec::new(), &mut |description| {
        violations.push(Violation::new("spec.descriptor_set", description));
    });
    violations
}

fn compare(
    before: &MessageDescriptor,
    after: &MessageDescriptor,
    seen: &mut Vec<String>,
    refuse: &mut impl FnMut(String),
) {
    if seen.iter().any(|name| name == before.full_name()) {
        return;
    }
    seen.push(before.full_name().to_owned());
    for old in before.fields() {
        let name = old.full_name();
        let Some(new) = after.get_field_by_name(old.name()) else {
            refuse(format!("field `{name}` was removed; stored objects have it: keep it and mark it deprecated"));
            continue;
        };
        if new.number() != old.number() {
            refuse(format!("field `{name}` was renumbered from {} to {}; keep its number", old.number(), new.number()));
        }
        if let Some(change) = change(&old, &new) {
            refuse(format!("field `{name}` {change}; add a new field instead"));
        }
        match (old.kind(), new.kind()) {
            (FieldKind::Message(old), FieldKind::Message(new)) => compare(&old, &new, seen, refuse),
            (FieldKind::Enum(old), FieldKind::Enum(new)) => {
                for value in old.values().filter(|value| !same_value(value, &new)) {
                    refuse(format!("value `{}` was removed or renumbered; stored objects have it", value.full_name()));
                }
            }
            _ => {}
        }
    }
}

fn same_value(value: &prost_reflect::EnumValueDescriptor, new: &prost_reflect::EnumDescriptor) -> bool {
    new.get_value_by_name(value.name()).is_some_and(|same| same.number() == value.number())
}

fn change(old: &FieldDescriptor, new: &FieldDescriptor) -> Option<String> {
    let (was, is) = (type_name(old), type_name(new));
    if was != is {
        return Some(format!("changed from {was} to {is}"));
    }
    if old.supports_presence() != new.supports_presence() {
        return Some("gained or lost `optional`".to_owned());
    }
    if oneof(old) != oneof(new) {
        return Some("moved into or out of a oneof".to_owned());
    }
    if is_sensitive(old) != is_sensitive(new) {
        return Some("gained or lost debug_redact, and stored values are as they were".to_owned());
    }
    None
}

fn oneof(field: &FieldDescriptor) -> Option<String> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned())
}

/// `repeated string`, `map`, `acme.v1.Part`.
fn type_name(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        FieldKind::Message(_) if field.is_map() => "map".to_owned(),
        FieldKind::Message(message) => message.full_name().to_owned(),
        FieldKind::Enum(kind) => kind.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.is_list() { format!("repeated {kind}") } else { kind }
}
