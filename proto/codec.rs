//! The gRPC codec of the generated services: protobuf that refuses unknown fields in requests.
//!
//! Prost drops what it doesn't know, so a misspelt or newer field would be lost in silence. Responses stay lenient:
//! a newer server may answer more than an older client knows.

use std::marker::PhantomData;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, ReflectMessage};
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
            refuse_unknown_fields(&message)?;
        }
        U::decode(bytes).map(Some).map_err(malformed)
    }
}

/// Fails with the path of every field that the message's descriptor doesn't know.
pub fn refuse_unknown_fields(message: &DynamicMessage) -> Result<(), Status> {
    let mut violations = Vec::new();
    collect_unknown(message, "", &mut violations);
    if violations.is_empty() { Ok(()) } else { Err(crate::json::invalid(&violations)) }
}

fn collect_unknown(message: &DynamicMessage, path: &str, violations: &mut Vec<Violation>) {
    for unknown in message.unknown_fields() {
        let place = if path.is_empty() { message.descriptor().name().to_owned() } else { path.to_owned() };
        violations.push(Violation::new(
            place,
            format!("unknown field number {}; is the client newer than the server?", unknown.number()),
        ));
    }
    for (field, value) in message.fields() {
        let name = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        collect_unknown_in(value, &name, violations);
    }
}

fn collect_unknown_in(value: &prost_reflect::Value, path: &str, violations: &mut Vec<Violation>) {
    match value {
        prost_reflect::Value::Message(message) => collect_unknown(message, path, violations),
        prost_reflect::Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_unknown_in(item, &format!("{path}[{index}]"), violations);
            }
        }
        prost_reflect::Value::Map(entries) => {
            for (key, item) in entries {
                collect_unknown_in(item, &format!("{path}[{key:?}]"), violations);
            }
        }
        _ => {}
    }
}
