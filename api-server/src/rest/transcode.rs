//! JSON, path and query to a request message, and an answer back to JSON.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as FieldKind, MessageDescriptor, SerializeOptions};
use serde_json::ser::{CompactFormatter, Formatter};
use serde_json::{Map, Value};
use threeport::json::{self, Violation};
use threeport::spelling;
use tonic::Status;

use crate::routes::decode;

/// The request message of a path's fields, a query and a body. `body_field` is the rule's `body`.
pub fn request(
    input: &MessageDescriptor,
    path: &[(&str, String)],
    query: &str,
    body_field: Option<&str>,
    body: &[u8],
) -> Result<DynamicMessage, Status> {
    let mut violations = Vec::new();
    let mut fields = Map::new();
    if body_field == Some("*") {
        match parse_body(body)? {
            Value::Object(all) => fields = all,
            _ => violations.push(Violation::new("body", "must be a JSON object")),
        }
    }
    for (name, text) in pairs(query) {
        if is_in_path(path, &name) {
            continue;
        }
        if body_field == Some("*") || body_field.is_some_and(|body| name.split('.').next() == Some(body)) {
            violations.push(Violation::new(name, "give it in the body, not in the query"));
        } else if let Err(description) = put(&mut fields, input, &name, &text, true) {
            violations.push(Violation::new(name, description));
        }
    }
    for (name, text) in path {
        if let Err(description) = put(&mut fields, input, name, text, false) {
            violations.push(Violation::new(*name, description));
        }
    }
    let object = body_field.filter(|name| *name != "*").and_then(|name| input.get_field_by_name(name));
    let object = object.map(|field| body_message(&field, body, &mut violations)).transpose()?.flatten();
    if !violations.is_empty() {
        return Err(json::invalid(&violations));
    }
    let mut message =
        json::parse(input, &Value::Object(fields), "").map_err(|violations| json::invalid(&violations))?;
    if let Some((field, object)) = object {
        message.set_field(&field, prost_reflect::Value::Message(object));
    }
    Ok(message)
}

fn is_in_path(path: &[(&str, String)], name: &str) -> bool {
    path.iter().any(|(bound, _)| *bound == name)
}

/// Paths of what is wrong begin at what the caller wrote.
fn body_message(
    field: &FieldDescriptor,
    body: &[u8],
    violations: &mut Vec<Violation>,
) -> Result<Option<(FieldDescriptor, DynamicMessage)>, Status> {
    let FieldKind::Message(descriptor) = field.kind() else {
        return Err(Status::internal("the rule's body is not a message"));
    };
    match json::parse(&descriptor, &parse_body(body)?, "") {
        Ok(message) => Ok(Some((field.clone(), message))),
        Err(wrong) => {
            let place = |field: String| if field.is_empty() { "body".to_owned() } else { field };
            violations.extend(wrong.into_iter().map(|v| Violation::new(place(v.field), v.description)));
            Ok(None)
        }
    }
}

fn parse_body(body: &[u8]) -> Result<Value, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    super::body::read(body)
        .map_err(|error| json::invalid(&[Violation::new("body", format!("malformed JSON: {error}"))]))
}

/// The decoded pairs of a query string.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let plus = |text: &str| decode(&text.replace('+', " "));
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (plus(name), plus(value))
    })
}

/// Sets the field at a dotted path from text; a list takes one more element.
fn put(
    fields: &mut Map<String, Value>,
    message: &MessageDescriptor,
    path: &str,
    text: &str,
    is_query: bool,
) -> Result<(), String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = message.get_field_by_name(first).or_else(|| message.get_field_by_json_name(first)) else {
        let known = message.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>();
        return Err(match spelling::closest(first, &known) {
            Some(near) => format!("unknown query parameter; did you mean `{near}`?"),
            None => "unknown query parameter".to_owned(),
        });
    };
    let name = field.name().to_owned();
    let value = scalar(&field, text);
    match (field.kind(), rest) {
        (_, None) if field.is_list() => {
            let Value::Array(items) = fields.entry(name).or_insert_with(|| Value::Array(Vec::new())) else {
                return Err("is not a list".to_owned());
            };
            items.push(value);
            Ok(())
        }
        (_, None) if is_query && fields.contains_key(&name) => Err("is given twice".to_owned()),
        (_, None) => {
            fields.insert(name, value);
            Ok(())
        }
        (FieldKind::Message(entry), Some(key)) if field.is_map() => {
            let value = scalar(&entry.map_entry_value_field(), text);
            nested(fields, name)?.insert(key.to_owned(), value);
            Ok(())
        }
        (FieldKind::Message(inner), Some(rest)) if !field.is_list() => {
            put(nested(fields, name)?, &inner, rest, text, is_query)
        }
        _ => Err(format!("`{first}` has no fields")),
    }
}

fn nested(fields: &mut Map<String, Value>, name: String) -> Result<&mut Map<String, Value>, String> {
    match fields.entry(name).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(fields) => Ok(fields),
        _ => Err("is given twice".to_owned()),
    }
}

/// Text as JSON of the field's type; what doesn't fit stays text and is refused later, with its path.
fn scalar(field: &FieldDescriptor, text: &str) -> Value {
    let literal = match field.kind() {
        FieldKind::Bool => text.parse().ok().map(Value::Bool),
        FieldKind::Float | FieldKind::Double | FieldKind::Enum(_) => {
            serde_json::from_str(text).ok().filter(Value::is_number)
        }
        _ => None,
    };
    literal.unwrap_or_else(|| Value::from(text))
}

/// An answer as canonical JSON with proto field names.
pub fn answer(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let mut json = Vec::with_capacity(512);
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, Whole(CompactFormatter));
    let unwritable = |error: serde_json::Error| Status::internal(format!("the answer has no JSON form: {error}"));
    message.serialize_with_options(&mut serializer, &options).map_err(unwritable)?;
    Ok(json)
}

/// Writes whole numbers without a fraction: `google.protobuf.Struct` holds doubles alone.
struct Whole(CompactFormatter);

impl Formatter for Whole {
    fn write_f64<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> std::io::Result<()> {
        match threeport::json::whole(value) {
            Some(value) => self.0.write_i64(writer, value),
            None => self.0.write_f64(writer, value),
        }
    }
}

/// One answer of a stream, as a line.
pub fn line(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let mut line = b"{\"result\":".to_vec();
    line.extend(answer(message)?);
    line.extend(b"}\n");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use threeport::json::{descriptor, dynamic_to_json, to_struct};
    use threeport::v1;

    use super::*;

    fn path(text: &str) -> Vec<(&'static str, String)> {
        vec![("project", text.to_owned())]
    }

    #[test]
    fn path_query_and_body_make_one_request() {
        let input = descriptor::<v1::ApplyWorkloadRequest>();
        let body = br#"{"spec": {"image": "nginx", "replicas": 0}}"#;
        let query = "validate_only=true&request_id=a%20b&project=ignored";
        let message = request(&input, &path("default"), query, Some("object"), body).unwrap();
        assert_eq!(
            dynamic_to_json(&message),
            serde_json::json!({ "project": "default", "validate_only": true, "request_id": "a b",
                "object": { "spec": { "image": "nginx", "replicas": 0 } } })
        );
        let input = descriptor::<v1::WatchRequest>();
        let message = request(&input, &[], "kinds=workload&kinds=project&from_position=7", None, b"").unwrap();
        assert_eq!(
            dynamic_to_json(&message),
            serde_json::json!({ "kinds": ["workload", "project"], "from_position": "7" })
        );
    }

    #[test]
    fn bad_input_is_told_by_its_place() {
        let input = descriptor::<v1::ApplyWorkloadRequest>();
        let told = |query: &str, body: &str| {
            request(&input, &path("p"), query, Some("object"), body.as_bytes()).unwrap_err().message().to_owned()
        };
        assert!(told("", "{\n  \"spec\": }").contains("line 2 column 11"), "{}", told("", "{\n  \"spec\": }"));
        assert!(told("", r#"{"spec": {"imge": 1}}"#).starts_with("spec.imge: unknown field; did you mean `image`?"));
        assert!(told("", r#"{"spec": {"image": "a\u0000"}}"#).contains("NUL"));
        assert!(told("validate_onl=1", "{}").contains("did you mean `validate_only`?"));
        assert!(told("validate_only=maybe", "{}").starts_with("validate_only: "));
        assert!(told("object.spec.image=a", "{}").contains("give it in the body"));
        assert!(told("request_id=a&request_id=b", "{}").contains("given twice"));
        assert!(told("", "[1]").contains("must be a map with the fields of"));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(told("", &deep).contains("recursion limit"));
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        let spec = to_struct(serde_json::json!({ "replicas": 3, "share": 0.5 }));
        let object = v1::Object { kind: "w".into(), spec: Some(spec), ..Default::default() };
        let mut dynamic = DynamicMessage::new(descriptor::<v1::Object>());
        dynamic.transcode_from(&object).unwrap();
        let text = String::from_utf8(answer(&dynamic).unwrap()).unwrap();
        assert!(text.contains(r#""replicas":3"#) && text.contains(r#""share":0.5"#), "{text}");
    }
}
