//! What the micro-benchmarks reach: the way of a streamed answer, without a server. Nothing else uses it.

use std::convert::Infallible;

use bytes::Bytes;

use super::{Call, sse::Parser, stream};

/// Far more than an answer takes.
const MAX: usize = 16 << 20;

/// How many events these chunks are.
pub fn events(chunks: &[Bytes]) -> usize {
    let mut parser = Parser::new(MAX);
    let mut events = Vec::new();
    let mut count = 0;
    for chunk in chunks {
        if parser.push(chunk, &mut events).is_err() {
            break;
        }
        count += events.drain(..).count();
    }
    count
}

/// The body that the stream of an answer to `call` is put together to; none where it is not whole.
pub async fn answer(chunks: Vec<Bytes>, call: &Call) -> Option<Vec<u8>> {
    let chunks = chunks.into_iter().map(Ok::<_, Infallible>);
    let read = stream::read(futures::stream::iter(chunks), MAX, call);
    read.await.ok()
}
