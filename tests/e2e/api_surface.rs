//! The API as text, so that any change of it shows up in review.

use std::fmt::Write;

use prost_reflect::{FieldDescriptor, Kind};
use threeport::POOL;

#[test]
fn the_api_is_what_the_snapshot_says() {
    let mut text = String::new();
    for service in POOL.services().filter(|service| service.package_name() == "threeport.v1") {
        writeln!(text, "service {}", service.name()).unwrap();
        for method in service.methods() {
            let stream = if method.is_server_streaming() { "stream " } else { "" };
            let (name, input, output) = (method.name(), method.input(), method.output());
            writeln!(text, "  {name}({}) -> {stream}{}", input.name(), output.name()).unwrap();
        }
    }
    let messages = POOL.all_messages().filter(|message| message.package_name() == "threeport.v1");
    for message in messages.filter(|message| !message.is_map_entry()) {
        writeln!(text, "message {}", message.name()).unwrap();
        for field in message.fields() {
            writeln!(text, "  {} {}: {}", field.number(), field.name(), type_of(&field)).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

fn type_of(field: &FieldDescriptor) -> String {
    let name = |kind: &Kind| match kind {
        Kind::Message(message) => message.name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let secret = if threeport::kind::is_sensitive(field) { " (sensitive)" } else { "" };
    let text = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            format!(
                "map<{}, {}>",
                name(&entry.map_entry_key_field().kind()),
                name(&entry.map_entry_value_field().kind())
            )
        }
        kind if field.is_list() => format!("repeated {}", name(&kind)),
        kind if field.supports_presence() && !matches!(kind, Kind::Message(_)) => format!("optional {}", name(&kind)),
        kind => name(&kind),
    };
    text + secret
}

#[test]
fn everything_in_the_api_is_explained() {
    let files = POOL.files().filter(|file| file.package_name() == "threeport.v1");
    let mut silent = Vec::new();
    for file in files {
        let source = file.file_descriptor_proto().source_code_info.clone().unwrap_or_default();
        let explained = |path: &[i32]| {
            let location = source.location.iter().find(|location| location.path == path);
            location.is_some_and(|location| !location.leading_comments().trim().is_empty())
        };
        for message in file.messages() {
            let fields = message.fields().map(|field| (field.full_name().to_owned(), field.path().to_vec()));
            silent.extend(fields.filter(|(_, path)| !explained(path)).map(|(name, _)| name));
            silent.extend((!explained(message.path())).then(|| message.full_name().to_owned()));
        }
        for service in file.services() {
            let methods = service.methods().map(|method| (method.full_name().to_owned(), method.path().to_vec()));
            silent.extend(methods.filter(|(_, path)| !explained(path)).map(|(name, _)| name));
        }
    }
    assert!(silent.is_empty(), "add a comment in proto/threeport/v1/ to each of: {silent:#?}");
}

#[test]
fn every_method_is_reachable_over_rest() {
    let http = POOL.get_extension_by_name("google.api.http").expect("the API imports google/api/annotations.proto");
    let services = POOL.services().filter(|service| service.package_name() == "threeport.v1");
    let silent = services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .filter(|method| !method.options().has_extension(&http))
        .map(|method| method.full_name().to_owned())
        .collect::<Vec<_>>();
    assert!(silent.is_empty(), "add `option (google.api.http)` in proto/threeport/v1/ to each of: {silent:#?}");
}
