//! Reads the descriptor sets of kinds registered at run time.

use prost::Message;
use prost_reflect::{DescriptorPool, Kind as FieldKind, MessageDescriptor};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use threeport::POOL;
use threeport::json::Violation;

use super::fields;

/// A `google.protobuf.FileDescriptorSet` whose files stay as they came: prost's own structs drop custom options.
#[derive(prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// Our packages and Google's.
pub fn is_reserved(package: &str) -> bool {
    ["threeport", "google"].iter().any(|root| package == *root || package.starts_with(&format!("{root}.")))
}

/// The pool with the set's own files added; files that it has already must say the same.
pub fn add_files(pool: &DescriptorPool, set: &[u8]) -> Result<DescriptorPool, String> {
    let files = Files::decode(set).map_err(|error| format!("not a google.protobuf.FileDescriptorSet: {error}"))?;
    let mut fresh = Files::default();
    let mut repeated = Vec::new();
    for raw in files.file {
        let file = prost_types::FileDescriptorProto::decode(raw.as_slice())
            .map_err(|error| format!("not a google.protobuf.FileDescriptorSet: {error}"))?;
        if let Some(ours) = POOL.get_file_by_name(file.name()) {
            // Ours is used: another version of it may stand there, but nothing that means something else.
            let ours = ours.file_descriptor_proto();
            let option = differing("option", &file.extension, &ours.extension);
            if let Some(field) = option.or_else(|| contradiction(&file.message_type, &ours.message_type)) {
                let name = file.name();
                return Err(format!(
                    "file `{name}` is another one than this server's: {field}; compile against the server's own"
                ));
            }
            continue;
        }
        if file.package() == "threeport" || file.package().starts_with("threeport.") {
            return Err(format!("file `{}` is in package `{}`, which is reserved", file.name(), file.package()));
        }
        if pool.get_file_by_name(file.name()).is_some() {
            repeated.push((file.name().to_owned(), raw.clone()));
            continue;
        }
        fresh.file.push(raw);
    }
    let mut extended = pool.clone();
    extended.decode_file_descriptor_set(fresh.encode_to_vec().as_slice()).map_err(|error| error.to_string())?;
    let differing = repeated.iter().find(|(name, raw)| !says_the_same(pool, name, raw));
    match differing {
        None => Ok(extended),
        Some((name, _)) => {
            Err(format!("file `{name}` differs from that of another kind; give the file another name and package"))
        }
    }
}

/// The first field that two versions of some messages both have, by name or number, but not as the same.
fn contradiction(theirs: &[DescriptorProto], ours: &[DescriptorProto]) -> Option<String> {
    theirs.iter().find_map(|theirs| {
        let ours = ours.iter().find(|ours| ours.name() == theirs.name())?;
        let own = differing("field", &theirs.field, &ours.field);
        let own = own.map(|field| format!("{field} of message `{}`", theirs.name()));
        own.or_else(|| contradiction(&theirs.nested_type, &ours.nested_type))
    })
}

/// The first of these fields that has the name or number of one of ours, but isn't that one.
fn differing(what: &str, theirs: &[FieldDescriptorProto], ours: &[FieldDescriptorProto]) -> Option<String> {
    let is_other = |field: &&FieldDescriptorProto| {
        let same = |ours: &&FieldDescriptorProto| ours.name() == field.name() || ours.number() == field.number();
        ours.iter().filter(same).any(|ours| sense(ours) != sense(field))
    };
    theirs.iter().find(is_other).map(|field| format!("{what} `{}`", field.name()))
}

/// What makes a field the one that it is.
fn sense(field: &FieldDescriptorProto) -> (&str, i32, i32, i32, &str, &str) {
    let (kind, label) = (field.r#type.unwrap_or_default(), field.label.unwrap_or_default());
    (field.name(), field.number(), kind, label, field.type_name(), field.extendee())
}

fn says_the_same(pool: &DescriptorPool, name: &str, raw: &[u8]) -> bool {
    let Some(known) = pool.get_file_by_name(name) else { return false };
    match (without_comments(&known.encode_to_vec()), without_comments(raw)) {
        (Some(known), Some(new)) => known == new,
        _ => false,
    }
}

/// A file's descriptor, extensions included, for comparison; protobuf compilers differ in whether they spell out `json_name`.
fn without_comments(raw: &[u8]) -> Option<serde_json::Value> {
    let descriptor = POOL.get_message_by_name("google.protobuf.FileDescriptorProto")?;
    let mut file = prost_reflect::DynamicMessage::decode(descriptor, raw).ok()?;
    file.clear_field_by_name("source_code_info");
    let mut json = threeport::json::dynamic_to_json(&file);
    drop_json_names(&mut json);
    Some(json)
}

fn drop_json_names(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(fields) => {
            fields.remove("json_name");
            fields.values_mut().for_each(drop_json_names);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_json_names),
        _ => {}
    }
}

/// What is wrong with the shape of a kind's message.
pub fn check_shape(message: &MessageDescriptor, is_reconciled: bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut refuse = |description: String| violations.push(Violation::new("spec.message", description));
    let name = message.full_name();
    if !has(message, "meta", 1, |kind| is_message(kind, "threeport.v1.ObjectMeta")) {
        refuse(format!("`{name}` must have `threeport.v1.ObjectMeta meta = 1`"));
    }
    if !has(message, "spec", 2, |kind| matches!(kind, FieldKind::Message(_))) {
        refuse(format!("`{name}` must have a message as `spec = 2`"));
    }
    let has_status = message.get_field_by_name("status").is_some() || message.get_field(3).is_some();
    if (has_status || is_reconciled) && !has(message, "status", 3, |kind| matches!(kind, FieldKind::Message(_))) {
        refuse(format!("`{name}` must have a message as `status = 3`, or no status and no controllers"));
    }
    if let (true, Some(status)) = (is_reconciled, part(message, "status")) {
        check_status(&status, &mut refuse);
    }
    if let Some(field) = message.fields().find(|field| field.number() > 3) {
        refuse(format!("`{name}` must have no fields but meta, spec and status; move `{}` into one", field.name()));
    }
    violations.extend(part(message, "spec").iter().flat_map(fields::check_spec));
    violations.extend(part(message, "status").iter().flat_map(fields::check_status));
    violations
}

fn check_status(status: &MessageDescriptor, refuse: &mut impl FnMut(String)) {
    let observed = status.get_field_by_name("observed_generation");
    if !observed.is_some_and(|field| matches!(field.kind(), FieldKind::Int64) && !field.is_list()) {
        refuse(format!("`{}` must have `int64 observed_generation`", status.full_name()));
    }
    let conditions = status.get_field_by_name("conditions");
    if !conditions.is_some_and(|field| field.is_list() && is_message(&field.kind(), "threeport.v1.Condition")) {
        refuse(format!("`{}` must have `repeated threeport.v1.Condition conditions`", status.full_name()));
    }
}

fn has(message: &MessageDescriptor, name: &str, number: u32, is_right: impl Fn(&FieldKind) -> bool) -> bool {
    message
        .get_field_by_name(name)
        .is_some_and(|field| field.number() == number && !field.is_list() && !field.is_map() && is_right(&field.kind()))
}

fn is_message(kind: &FieldKind, full_name: &str) -> bool {
    matches!(kind, FieldKind::Message(message) if message.full_name() == full_name)
}

/// The message of `spec` or `status`.
pub fn part(message: &MessageDescriptor, name: &str) -> Option<MessageDescriptor> {
    match message.get_field_by_name(name)?.kind() {
        FieldKind::Message(part) => Some(part),
        _ => None,
    }
}
