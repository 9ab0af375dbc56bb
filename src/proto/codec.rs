//! How messages become bytes: as tonic has it, but for the room that each call is given, and for what is bytes already.

use std::marker::PhantomData;

use bytes::BufMut as _;
use prost::{EncodeError, Message};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::Encoded;

/// What a call is given to write into at first. tonic's own 8 KiB are more than all else that an open watch costs, and
/// most of what is told fits into this. It grows by doubling.
const FIRST_ROOM: usize = 1 << 10;
/// Messages that are ready together leave together, up to about so many bytes.
const TOGETHER: usize = 32 << 10;

/// What can be sent.
pub trait Outgoing: Send + 'static {
    /// Puts its bytes behind those that are there.
    ///
    /// # Errors
    /// There is no room for them.
    fn put(&self, room: &mut EncodeBuf<'_>) -> Result<(), EncodeError>;
}

impl<T: Message + Send + 'static> Outgoing for T {
    fn put(&self, room: &mut EncodeBuf<'_>) -> Result<(), EncodeError> {
        self.encode(room)
    }
}

impl<T: 'static> Outgoing for Encoded<T> {
    fn put(&self, room: &mut EncodeBuf<'_>) -> Result<(), EncodeError> {
        room.put_slice(self.bytes());
        Ok(())
    }
}

/// Protobuf by prost.
#[derive(Debug)]
pub struct LeanCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for LeanCodec<T, U> {
    fn default() -> Self {
        LeanCodec(PhantomData)
    }
}

impl<T, U> Codec for LeanCodec<T, U>
where
    T: Outgoing,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = LeanEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        LeanEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

/// Writes into the room that a call has.
#[derive(Debug)]
pub struct LeanEncoder<T>(PhantomData<T>);

impl<T: Outgoing> Encoder for LeanEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, room: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.put(room)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_ROOM, TOGETHER)
    }
}
