//! Messages that are bytes already.

use std::marker::PhantomData;

use bytes::Bytes;
use prost::{DecodeError, Message};

/// A message as it goes over the wire. Its clones share the bytes: what many are told is encoded once.
#[derive(Debug)]
pub struct Encoded<T> {
    bytes: Bytes,
    message: PhantomData<fn() -> T>,
}

impl<T: Message + Default> Encoded<T> {
    /// What a client makes of it.
    ///
    /// # Errors
    /// The bytes are not such a message.
    pub fn decode(&self) -> Result<T, DecodeError> {
        T::decode(self.bytes.clone())
    }
}

impl<T> Encoded<T> {
    /// The message's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<T: Message> From<&T> for Encoded<T> {
    fn from(message: &T) -> Self {
        Encoded {
            bytes: message.encode_to_vec().into(),
            message: PhantomData,
        }
    }
}

impl<T> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Encoded {
            bytes: self.bytes.clone(),
            message: PhantomData,
        }
    }
}
