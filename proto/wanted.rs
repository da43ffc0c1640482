//! What a field takes, in words for people.

use prost_reflect::{FieldDescriptor, Kind};

/// `a list of whole numbers`, `true or false`.
pub fn wanted(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            format!("a map, each value {}", wanted_of(&entry.map_entry_value_field().kind()))
        }
        kind if field.is_list() => format!("a list, each {}", wanted_of(&kind)),
        kind => wanted_of(&kind),
    }
}

/// The same for one value of a list or a map.
pub fn wanted_of(kind: &Kind) -> String {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        Kind::Uint32 | Kind::Fixed32 => format!("a whole number from 0 to {}", u32::MAX),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number".to_owned(),
        Kind::Uint64 | Kind::Fixed64 => "a whole number, 0 or more".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a text".to_owned(),
        Kind::Bytes => "bytes in base64".to_owned(),
        Kind::Enum(names) => names.values().map(|value| value.name().to_owned()).collect::<Vec<_>>().join(" or "),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => "a time such as `2026-01-31T12:00:00Z`".to_owned(),
            "google.protobuf.Duration" => "a duration such as `3.5s`".to_owned(),
            _ => format!("a map with the fields of {}", message.name()),
        },
    }
}
