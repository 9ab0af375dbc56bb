//! A request's body on its way to tonic: its messages' lengths are checked before they are gathered, its bytes are
//! counted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

use super::admission::Pass;
use crate::service;

/// A flag and the length, before every message.
const PREFIX: usize = 5;

type Error = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Inbound {
    body: Incoming,
    pass: Arc<Pass>,
    messages: Messages,
}

impl Inbound {
    /// The body of a call whose messages have at most `most` bytes.
    pub(super) fn new(body: Incoming, pass: Arc<Pass>, most: usize) -> Self {
        Inbound {
            body,
            pass,
            messages: Messages::new(most),
        }
    }

    fn check(&mut self, frame: &Frame<Bytes>) -> Result<(), Status> {
        let Some(data) = frame.data_ref() else {
            return self.pass.enter();
        };
        self.messages.read(data)?;
        self.pass.receive(data.len())
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(this.check(&frame).map(|()| frame).map_err(Error::from)),
            Some(Err(error)) => Some(Err(error.into())),
            None => this.pass.enter().err().map(|refusal| Err(refusal.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        // Whoever skips the end because there is nothing more to read would skip the count.
        self.pass.has_arrived() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Follows the lengths of messages through however they are cut into frames.
#[derive(Debug)]
struct Messages {
    most: usize,
    prefix: [u8; PREFIX],
    /// How much of the prefix has been read.
    filled: usize,
    /// How much of the message behind it is still to come.
    left: usize,
}

impl Messages {
    fn new(most: usize) -> Self {
        Messages {
            most,
            prefix: [0; PREFIX],
            filled: 0,
            left: 0,
        }
    }

    fn read(&mut self, mut data: &[u8]) -> Result<(), Status> {
        loop {
            let skipped = self.left.min(data.len());
            self.left -= skipped;
            data = &data[skipped..];
            if data.is_empty() {
                return Ok(());
            }
            let (part, rest) = data.split_at(data.len().min(PREFIX - self.filled));
            self.prefix[self.filled..][..part.len()].copy_from_slice(part);
            self.filled += part.len();
            data = rest;
            if self.filled == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.begin(u32::from_be_bytes(length) as usize)?;
            }
        }
    }

    fn begin(&mut self, length: usize) -> Result<(), Status> {
        if length > self.most {
            return Err(service::request_too_large(length, self.most));
        }
        (self.filled, self.left) = (0, length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(vec![0xff; length]);
        bytes
    }

    proptest! {
        #[test]
        fn messages_are_measured_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..20, 1..6),
            cut in 1_usize..30,
        ) {
            let bytes: Vec<u8> = lengths.iter().copied().flat_map(message).collect();
            let largest = lengths.iter().copied().max().unwrap_or_default();
            let read = |most| {
                let mut messages = Messages::new(most);
                bytes.chunks(cut).try_for_each(|part| messages.read(part))
            };
            prop_assert!(read(largest).is_ok());
            if largest > 0 {
                prop_assert_eq!(read(largest - 1).unwrap_err().code(), Code::InvalidArgument);
            }
        }
    }
}
