//! The gRPC codec of the generated services: protobuf that refuses unknown fields in requests.
//!
//! Prost drops what it doesn't know, so a misspelt or newer field would be lost in silence. Responses stay lenient:
//! a newer server may answer more than an older client knows.

use std::marker::PhantomData;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::POOL;
use crate::json::Violation;

/// Encodes `T`, decodes `U`; strict where `U` is a request.
pub struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// Decodes `U`, through a dynamic message where it is a request.
pub struct StrictDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use bytes::Buf;
        let bytes = from.copy_to_bytes(from.remaining());
        let malformed = |error: prost::DecodeError| Status::invalid_argument(format!("malformed protobuf: {error}"));
        if U::NAME.ends_with("Request") {
            let descriptor = POOL.get_message_by_name(&U::full_name()).expect("every generated message is described");
            let message = DynamicMessage::decode(descriptor, bytes.clone()).map_err(malformed)?;
            check_request(&message)?;
        }
        U::decode(bytes).map(Some).map_err(malformed)
    }
}

/// Fails with the path of every field that the message's descriptor doesn't know, and of every value that can't be stored
/// as JSON: a NUL, a number or time out of range.
pub fn check_request(message: &DynamicMessage) -> Result<(), Status> {
    let mut violations = Vec::new();
    check_message(message, "", &mut violations);
    if violations.is_empty() { Ok(()) } else { Err(crate::json::invalid(&violations)) }
}

fn check_message(message: &DynamicMessage, path: &str, violations: &mut Vec<Violation>) {
    for unknown in message.unknown_fields() {
        let place = if path.is_empty() { message.descriptor().name().to_owned() } else { path.to_owned() };
        violations.push(Violation::new(
            place,
            format!("unknown field number {}; is the client newer than the server?", unknown.number()),
        ));
    }
    for (field, value) in message.fields() {
        let name = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        check_value(value, &name, violations);
    }
}

fn check_value(value: &prost_reflect::Value, path: &str, violations: &mut Vec<Violation>) {
    match value {
        prost_reflect::Value::Message(message) => {
            check_message(message, path, violations);
            if let Some(description) = out_of_range(message) {
                violations.push(Violation::new(path, description));
            }
        }
        prost_reflect::Value::String(text) if text.contains('\0') => {
            violations.push(Violation::new(path, "must not contain a NUL character"));
        }
        prost_reflect::Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                check_value(item, &format!("{path}[{index}]"), violations);
            }
        }
        prost_reflect::Value::Map(entries) => {
            for (key, item) in entries {
                let key = match key {
                    MapKey::String(key) if key.contains('\0') => {
                        violations.push(Violation::new(path, "must not contain a NUL character"));
                        continue;
                    }
                    MapKey::String(key) => format!("{key:?}"),
                    MapKey::Bool(key) => key.to_string(),
                    MapKey::I32(key) => key.to_string(),
                    MapKey::I64(key) => key.to_string(),
                    MapKey::U32(key) => key.to_string(),
                    MapKey::U64(key) => key.to_string(),
                };
                check_value(item, &format!("{path}[{key}]"), violations);
            }
        }
        _ => {}
    }
}

/// Seconds from year 1 to year 9999: what the JSON form of times can say.
pub const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Seconds of the longest durations that have a JSON form.
const DURATIONS: std::ops::RangeInclusive<i64> = -315_576_000_000..=315_576_000_000;

/// What is wrong with a well-known message that would have no JSON form.
fn out_of_range(message: &DynamicMessage) -> Option<&'static str> {
    let integer = |field: &str| {
        let value = message.get_field_by_name(field)?;
        value.as_i64().or_else(|| value.as_i32().map(i64::from))
    };
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let is_right = TIMES.contains(&integer("seconds")?) && (0..1_000_000_000).contains(&integer("nanos")?);
            (!is_right).then_some("must be a time from year 1 to year 9999")
        }
        "google.protobuf.Duration" => {
            let (seconds, nanos) = (integer("seconds")?, integer("nanos")?);
            let is_right =
                DURATIONS.contains(&seconds) && nanos.abs() < 1_000_000_000 && seconds.signum() * nanos.signum() >= 0;
            (!is_right).then_some("must be a duration of at most 10000 years, seconds and nanos of one sign")
        }
        "google.protobuf.Value" => {
            let is_finite = message.get_field_by_name("number_value")?.as_f64().is_none_or(f64::is_finite);
            (!is_finite).then_some("must be a finite number")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;

    use super::*;
    use crate::json::descriptor;
    use crate::v1;

    fn told<M: Message + Name>(message: &M) -> String {
        let mut dynamic = DynamicMessage::new(descriptor::<M>());
        dynamic.transcode_from(message).unwrap();
        check_request(&dynamic).map_or_else(|status| status.message().to_owned(), |()| String::new())
    }

    #[test]
    fn what_json_cannot_say_is_refused_with_its_path() {
        let number = |number| prost_types::Value { kind: Some(Kind::NumberValue(number)) };
        let spec = |value| prost_types::Struct { fields: [("size".to_owned(), value)].into() };
        let object = |value| v1::Object { spec: Some(spec(value)), ..Default::default() };
        assert_eq!(told(&object(number(1.0))), "");
        assert_eq!(told(&object(number(f64::NAN))), "spec.fields[\"size\"]: must be a finite number");
        let meta = v1::ObjectMeta {
            name: "a\0".into(),
            created_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            ..Default::default()
        };
        let told = told(&v1::Object { meta: Some(meta), ..Default::default() });
        assert!(told.contains("meta.name: must not contain a NUL"), "{told}");
        assert!(told.contains("meta.created_at: must be a time"), "{told}");
    }
}
