//! What the fields of a kind may be: what could not be hidden, followed or stored is refused when the kind is registered.

use std::collections::{HashMap, HashSet};

use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use threeport::json::Violation;
use threeport::kind::{is_sensitive, reference_of};

/// These have no JSON form of their own for every value.
const WITHOUT_JSON: [&str; 2] = ["google.protobuf.Any", "google.protobuf.FieldMask"];

/// What is wrong with the fields of a spec, at any depth.
pub fn check_spec(spec: &MessageDescriptor) -> Vec<Violation> {
    let messages = messages(spec);
    let repeating = repeating(&messages);
    let mut violations = check_all(&messages);
    for field in messages.iter().flat_map(MessageDescriptor::fields) {
        let name = field.full_name();
        if is_sensitive(&field) && !may_be_secret(&field) {
            violations.push(refusal(format!(
                "`{name}` is marked debug_redact but is not string, bytes or map<string, string>"
            )));
        }
        if (is_sensitive(&field) || reference_of(&field).is_some())
            && repeating.contains(field.parent_message().full_name())
        {
            violations.push(refusal(format!(
                "`{name}` is marked debug_redact or references in a message that contains itself; move it out of there"
            )));
        }
    }
    violations
}

/// What is wrong with the fields of a status, at any depth.
pub fn check_status(status: &MessageDescriptor) -> Vec<Violation> {
    let messages = messages(status);
    let mut violations = check_all(&messages);
    let secrets = messages.iter().flat_map(MessageDescriptor::fields).filter(is_sensitive);
    violations.extend(secrets.map(|field| {
        let name = field.full_name();
        refusal(format!("`{name}` is marked debug_redact, and a status is shown to everybody; move it to the spec"))
    }));
    violations
}

fn check_all(messages: &[MessageDescriptor]) -> Vec<Violation> {
    let fields = messages.iter().flat_map(MessageDescriptor::fields);
    let unfit = fields.filter_map(|field| match field.kind() {
        FieldKind::Message(message) if WITHOUT_JSON.contains(&message.full_name()) => {
            Some(refusal(format!("`{}` is a {}; use a message or Struct", field.full_name(), message.full_name())))
        }
        _ => None,
    });
    unfit.collect()
}

fn refusal(description: String) -> Violation {
    Violation::new("spec.descriptor_set", description)
}

fn may_be_secret(field: &FieldDescriptor) -> bool {
    match field.kind() {
        FieldKind::String | FieldKind::Bytes => !field.is_list(),
        FieldKind::Message(entry) if field.is_map() => {
            let is_string = |kind| matches!(kind, FieldKind::String);
            is_string(entry.map_entry_key_field().kind()) && is_string(entry.map_entry_value_field().kind())
        }
        _ => false,
    }
}

/// A message and all below it but Google's, each once.
fn messages(root: &MessageDescriptor) -> Vec<MessageDescriptor> {
    let mut seen = HashSet::from([root.full_name().to_owned()]);
    let mut found = vec![root.clone()];
    let mut next = 0;
    while let Some(message) = found.get(next).cloned() {
        found.extend(nested(&message).filter(|nested| seen.insert(nested.full_name().to_owned())));
        next += 1;
    }
    found
}

fn nested(message: &MessageDescriptor) -> impl Iterator<Item = MessageDescriptor> {
    let messages = message.fields().filter_map(|field| match field.kind() {
        FieldKind::Message(nested) => Some(nested),
        _ => None,
    });
    messages.filter(|nested| nested.package_name() != "google.protobuf").collect::<Vec<_>>().into_iter()
}

/// The names of the messages that contain themselves, and of those below them: what is left when again and again those
/// are taken away that nothing left contains.
fn repeating(messages: &[MessageDescriptor]) -> HashSet<String> {
    let mut holders =
        messages.iter().map(|message| (message.full_name().to_owned(), 0_usize)).collect::<HashMap<_, _>>();
    for inner in messages.iter().flat_map(nested) {
        *holders.entry(inner.full_name().to_owned()).or_default() += 1;
    }
    let mut free = messages.iter().filter(|message| holders[message.full_name()] == 0).cloned().collect::<Vec<_>>();
    while let Some(message) = free.pop() {
        holders.remove(message.full_name());
        for inner in nested(&message) {
            if let Some(count) = holders.get_mut(inner.full_name()) {
                *count -= 1;
                if *count == 0 {
                    free.push(inner);
                }
            }
        }
    }
    holders.into_keys().collect()
}
