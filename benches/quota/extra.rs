//! Requests with fields that this build may or may not have: they are found by name and added to the bytes of the
//! request, which the server reads as if they had been set.

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, double, string, uint64},
};
use prost_types::{FieldDescriptorProto, field_descriptor_proto::Type};
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

/// The bytes of a field that holds this much money: dollars, or what its name says.
pub(crate) fn dollars(field: &FieldDescriptorProto, value: f64) -> Result<Vec<u8>, Stop> {
    let (number, name) = (number_of(field), field.name());
    let parts = [("micro", 1e6), ("nano", 1e9), ("cent", 1e2)];
    let unit = parts.iter().find(|(part, _)| name.contains(part));
    let amount = value * unit.map_or(1.0, |(_, factor)| *factor);
    let mut bytes = Vec::new();
    match field.r#type() {
        Type::Double => double::encode(number, &amount, &mut bytes),
        Type::Uint64 | Type::Int64 if unit.is_some() => {
            uint64::encode(number, &(amount as u64), &mut bytes);
        }
        Type::String => string::encode(number, &format!("{amount}"), &mut bytes),
        other => {
            return Err(Stop::Broken(format!(
                "teach benches/quota/extra.rs to write money into {name}, which is {other:?}"
            )));
        }
    }
    Ok(bytes)
}

fn number_of(field: &FieldDescriptorProto) -> u32 {
    field.number().unsigned_abs()
}
