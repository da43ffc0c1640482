//! `{file: path}` in place of a text: reads the file, relative to the document's directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;
use threeport::json::{Violation, join};
use threeport::spelling::closest;

/// The largest file taken.
const LIMIT: u64 = 1024 * 1024;

/// Replaces every reference at or below a message by the file's content, as text, or as base64 for fields of bytes.
///
/// A map with the one key `file` is a reference only where the descriptor has a text, bytes or any value in its place; so
/// a map of texts may well have a key of that name.
pub fn resolve(message: &MessageDescriptor, json: &mut Value, path: &str, base: &Path, wrong: &mut Vec<Violation>) {
    let Value::Object(fields) = json else { return };
    for (name, value) in fields {
        let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name));
        if let Some(field) = field {
            resolve_field(&field, value, &join(path, name), base, wrong);
        }
    }
}

fn resolve_field(field: &FieldDescriptor, json: &mut Value, path: &str, base: &Path, wrong: &mut Vec<Violation>) {
    match (field.kind(), json) {
        (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
            for (key, value) in entries {
                let kind = entry.map_entry_value_field().kind();
                resolve_value(&kind, value, &format!("{path}[{key:?}]"), base, wrong);
            }
        }
        (kind, Value::Array(items)) if field.is_list() => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve_value(&kind, item, &format!("{path}[{index}]"), base, wrong);
            }
        }
        (kind, json) => resolve_value(&kind, json, path, base, wrong),
    }
}

fn resolve_value(kind: &Kind, json: &mut Value, path: &str, base: &Path, wrong: &mut Vec<Violation>) {
    let is_bytes = match kind {
        Kind::String => false,
        Kind::Bytes => true,
        Kind::Message(message) if message.full_name() == "google.protobuf.Value" => false,
        Kind::Message(message) if message.package_name() == "google.protobuf" => return,
        Kind::Message(message) => return resolve(message, json, path, base, wrong),
        _ => return,
    };
    let Some(name) = reference(json) else {
        if let Some(key) = misspelt(json) {
            wrong.push(Violation::new(join(path, key), "unknown key; did you mean `file`?"));
        }
        return;
    };
    match read(&base.join(name), is_bytes) {
        Ok(content) => *json = Value::String(content),
        Err(why) => wrong.push(Violation::new(path, format!("file `{name}` {why}"))),
    }
}

fn reference(json: &Value) -> Option<&str> {
    let fields = json.as_object()?;
    if fields.len() == 1 { fields.get("file")?.as_str() } else { None }
}

/// The key of what was meant as a reference, where only a text could stand.
fn misspelt(json: &Value) -> Option<&str> {
    let fields = json.as_object().filter(|fields| fields.len() == 1)?;
    let key = fields.keys().next()?;
    closest(key, &["file".to_owned()]).map(|_| key.as_str())
}

fn read(path: &Path, is_bytes: bool) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("can't be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err("is no regular file".into());
    }
    let mut content = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > LIMIT {
        return Err("is larger than 1 MiB".into());
    }
    if is_bytes {
        return Ok(base64::engine::general_purpose::STANDARD.encode(content));
    }
    String::from_utf8(content).map_err(|_| "is not UTF-8 text".into())
}
