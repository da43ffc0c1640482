//! The gRPC codec of messages that are known by their descriptor alone.

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Encodes any message, decodes the one that it was made for.
#[derive(Clone)]
pub struct DynamicCodec {
    decodes: MessageDescriptor,
    is_strict: bool,
}

impl DynamicCodec {
    /// Refuses what requests may not hold.
    pub fn strict(decodes: MessageDescriptor) -> Self {
        Self { decodes, is_strict: true }
    }

    /// For what we wrote ourselves.
    pub fn lenient(decodes: MessageDescriptor) -> Self {
        Self { decodes, is_strict: false }
    }
}

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = Self;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

/// Encodes any message.
pub struct DynamicEncoder;

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(to).map_err(|error| Status::internal(format!("the message can't be encoded: {error}")))
    }
}

impl Decoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.decodes.clone(), from)
            .map_err(|error| Status::invalid_argument(format!("malformed protobuf: {error}")))?;
        if self.is_strict {
            threeport::codec::check_request(&message)?;
        }
        Ok(Some(message))
    }
}
