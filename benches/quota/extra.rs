//! Requests with fields that this build may or may not have: they are found by name and added to the bytes of the
//! request, which the server reads as if they had been set.

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, encode_key, string},
};
use prost_types::FieldDescriptorProto;
use tidings::proto::v1::{SubmitBatchRequest, SubmitBatchResponse};
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use super::report::Stop;

/// A request, and the bytes that follow it.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    /// What this build knows.
    pub(crate) request: SubmitBatchRequest,
    /// What it may not know.
    pub(crate) extra: Vec<u8>,
}

impl Message for Extended {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        self.request.encode_raw(buffer);
        buffer.put_slice(&self.extra);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.request.merge_field(tag, wire_type, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.request.encoded_len() + self.extra.len()
    }

    fn clear(&mut self) {
        *self = Extended::default();
    }
}

/// Calls SubmitBatch with it.
pub(crate) async fn submit(
    channel: &Channel,
    request: Extended,
) -> Result<SubmitBatchResponse, Stop> {
    let path = PathAndQuery::from_static("/tidings.v1.TaskService/SubmitBatch");
    let codec = ProstCodec::<Extended, SubmitBatchResponse>::default();
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    let reply = grpc
        .unary(tonic::Request::new(request), path, codec)
        .await?;
    Ok(reply.into_inner())
}

/// The bytes of a field that holds this text.
pub(crate) fn text(field: &FieldDescriptorProto, value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    string::encode(number_of(field), &value.to_owned(), &mut bytes);
    bytes
}

/// The bytes of a field that holds a message of these bytes. Given twice, a message is merged.
pub(crate) fn nested(field: &FieldDescriptorProto, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number_of(field), WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend_from_slice(inner);
    bytes
}

fn number_of(field: &FieldDescriptorProto) -> u32 {
    field.number().unsigned_abs()
}
