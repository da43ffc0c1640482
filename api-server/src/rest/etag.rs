//! The etag of single objects, and If-Match as the etag that a write demands.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method};
use prost_reflect::{DynamicMessage, Kind as FieldKind, ReflectMessage, Value};
use threeport::json::{Violation, invalid};
use tonic::Status;

/// The etag of an answer that is an object or holds one as `object`; else empty.
pub fn of_answer(message: &DynamicMessage) -> String {
    let direct = text_at(message, &["meta", "etag"]);
    direct.or_else(|| text_at(message, &["object", "meta", "etag"])).unwrap_or_default()
}

fn text_at(message: &DynamicMessage, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    match (&*message.get_field_by_name(first)?, rest) {
        (Value::String(text), []) => Some(text.clone()),
        (Value::Message(inner), rest) if !rest.is_empty() => text_at(inner, rest),
        _ => None,
    }
}

/// Writes If-Match into the request; says whether there was one.
///
/// # Errors
/// When it isn't one strong etag, contradicts the request, or the method takes none; and for If-None-Match on a write.
pub fn demand(method: &Method, headers: &HeaderMap, request: &mut DynamicMessage) -> Result<bool, Status> {
    if method != Method::GET && headers.contains_key(IF_NONE_MATCH) {
        let why = "writes don't take it; a POST creates, and refuses what exists";
        return Err(invalid(&[Violation::new("If-None-Match", why)]));
    }
    let Some(header) = headers.get(IF_MATCH) else { return Ok(false) };
    let refuse = |description: &str| invalid(&[Violation::new("If-Match", description)]);
    let text = header.to_str().unwrap_or_default().trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|etag| !etag.contains('"'));
    let etag = quoted
        .or((text == "*").then_some(text))
        .ok_or_else(|| refuse("must be one etag in quotes, as the ETag header gave it"))?;
    let path: &[&str] =
        if request.descriptor().get_field_by_name("etag").is_some() { &["etag"] } else { &["object", "meta", "etag"] };
    match set(request, path, etag) {
        Ok(()) => Ok(true),
        Err(description) => Err(refuse(description)),
    }
}

fn set(message: &mut DynamicMessage, path: &[&str], etag: &str) -> Result<(), &'static str> {
    const NOT_TAKEN: &str = "this method takes none";
    let (first, rest) = path.split_first().ok_or(NOT_TAKEN)?;
    let field = message.descriptor().get_field_by_name(first).ok_or(NOT_TAKEN)?;
    if let (FieldKind::Message(_), false) = (field.kind(), field.is_list() || rest.is_empty()) {
        return match message.get_field_mut(&field) {
            Value::Message(inner) => set(inner, rest, etag),
            _ => Err(NOT_TAKEN),
        };
    }
    match message.get_field(&field).as_str() {
        Some("") => {}
        Some(given) if given == etag => {}
        Some(_) => return Err("differs from the etag in the request"),
        None => return Err(NOT_TAKEN),
    }
    message.set_field(&field, Value::String(etag.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use prost_reflect::DynamicMessage;
    use threeport::json::{descriptor, dynamic_to_json};
    use threeport::v1;

    use super::*;

    fn with(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(text))])
    }

    #[test]
    fn if_match_becomes_the_etag_of_a_write() {
        let mut delete = DynamicMessage::new(descriptor::<v1::DeleteRequest>());
        assert!(demand(&Method::PUT, &with("\"a.1\""), &mut delete).unwrap());
        assert_eq!(dynamic_to_json(&delete), serde_json::json!({ "etag": "a.1" }));
        assert!(demand(&Method::PUT, &with("\"a.2\""), &mut delete).unwrap_err().message().contains("differs"));
        let mut apply = DynamicMessage::new(descriptor::<v1::ApplyWorkloadRequest>());
        assert!(demand(&Method::PUT, &with("\"a.1\""), &mut apply).unwrap());
        assert_eq!(of_answer(&apply), "a.1");
        let mut get = DynamicMessage::new(descriptor::<v1::GetRequest>());
        assert!(demand(&Method::PUT, &with("\"a.1\""), &mut get).unwrap_err().message().contains("takes none"));
        assert!(demand(&Method::PUT, &with("W/\"a\""), &mut get).unwrap_err().message().contains("one etag in quotes"));
        let mut any = DynamicMessage::new(descriptor::<v1::DeleteRequest>());
        assert!(demand(&Method::DELETE, &with("*"), &mut any).unwrap());
        assert_eq!(dynamic_to_json(&any), serde_json::json!({ "etag": "*" }));
        let absent = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]);
        assert!(demand(&Method::PUT, &absent, &mut any).unwrap_err().message().contains("POST creates"));
        assert!(!demand(&Method::GET, &absent, &mut get).unwrap());
    }
}
