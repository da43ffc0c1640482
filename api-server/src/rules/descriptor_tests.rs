//! What every `.proto` file must keep to, checked on the descriptors.

use std::collections::BTreeSet;

use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use threeport::POOL;
use threeport::kind::is_sensitive;
use threeport::registry::Registry;

const PACKAGE: &str = "threeport.v1";

fn ours() -> impl Iterator<Item = MessageDescriptor> {
    POOL.all_messages().filter(|message| message.package_name() == PACKAGE && !message.is_map_entry())
}

fn reachable(message: &MessageDescriptor, found: &mut BTreeSet<String>) {
    if message.package_name() == "google.protobuf" || !found.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields() {
        if let FieldKind::Message(inner) = field.kind() {
            reachable(&inner, found);
        }
    }
}

#[test]
fn numbers_and_booleans_of_specs_tell_unset_from_zero() {
    let mut messages = BTreeSet::new();
    for kind in Registry::built_in().kinds() {
        reachable(&kind.spec().unwrap(), &mut messages);
    }
    let scalar =
        |field: &FieldDescriptor| !matches!(field.kind(), FieldKind::String | FieldKind::Bytes | FieldKind::Message(_));
    for message in messages.iter().filter_map(|name| POOL.get_message_by_name(name)).filter(|m| !m.is_map_entry()) {
        for field in message.fields().filter(|field| scalar(field) && !field.is_list()) {
            assert!(
                field.supports_presence(),
                "make {} `optional`: 0 or false must differ from unset",
                field.full_name()
            );
        }
    }
}

#[test]
fn everything_has_a_comment() {
    for file in POOL.files().filter(|file| file.package_name() == PACKAGE) {
        let proto = file.file_descriptor_proto();
        let info = proto.source_code_info.as_ref().expect("build.rs keeps comments");
        let is_commented = |path: &[i32]| {
            info.location
                .iter()
                .any(|at| at.path == path && at.leading_comments.as_deref().is_some_and(|text| !text.trim().is_empty()))
        };
        for (m, message) in (0..).zip(&proto.message_type) {
            assert!(is_commented(&[4, m]), "comment message {} in {}", message.name(), file.name());
            for (f, field) in (0..).zip(&message.field) {
                assert!(
                    is_commented(&[4, m, 2, f]),
                    "comment field {}.{} in {}",
                    message.name(),
                    field.name(),
                    file.name()
                );
            }
        }
        for (s, service) in (0..).zip(&proto.service) {
            for (r, method) in (0..).zip(&service.method) {
                assert!(
                    is_commented(&[6, s, 2, r]),
                    "comment rpc {}.{} in {}",
                    service.name(),
                    method.name(),
                    file.name()
                );
            }
        }
    }
}

#[test]
fn only_texts_and_bytes_are_sensitive() {
    let is_text = |kind: &FieldKind| matches!(kind, FieldKind::String | FieldKind::Bytes);
    for field in ours().flat_map(|message| message.fields().collect::<Vec<_>>()).filter(is_sensitive) {
        let is_text_map = field.is_map()
            && matches!(field.kind(), FieldKind::Message(entry) if is_text(&entry.map_entry_value_field().kind()));
        assert!(
            is_text_map || (is_text(&field.kind()) && !field.is_list()),
            "{}: debug_redact works on string, bytes and map<string, string>",
            field.full_name()
        );
    }
}
