//! A streamed answer, read until it is whole.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;

use super::{
    Call, asked,
    assemble::{Assembly, Broken},
    sse::{Event, Parser},
};

/// An upstream that says nothing for this long, not even a comment, is taken to have lost the call. Models that think
/// in silence need minutes.
const IDLE: Duration = Duration::from_secs(180);
/// How long the usage may come after the answer's last word.
const LINGER: Duration = Duration::from_secs(5);
/// How long the end of the reply may come after the end of the stream: a connection read to its end is used again.
const CLOSING: Duration = Duration::from_millis(100);
/// The type of streams.
const STREAM: &str = "text/event-stream";

/// Whether a reply that begins with `begun` is a stream. `asked`: a stream was asked for, and may come without saying
/// that it is one.
pub(super) fn is_stream(content_type: Option<&str>, asked: bool, begun: &[u8]) -> bool {
    let kind = content_type.unwrap_or_default().trim_start();
    let says_so = kind
        .get(..STREAM.len())
        .is_some_and(|kind| kind.eq_ignore_ascii_case(STREAM));
    let text = begun.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begun);
    match text.trim_ascii_start().first() {
        // Errors come as JSON, or as the page of a proxy, under any type.
        None | Some(b'{' | b'[' | b'<') => false,
        Some(_) => says_so || (asked && !kind.contains("json")),
    }
}

/// Reads `chunks` until the answer to `call` is whole, and puts it together into a body of about `max` bytes at most. No
/// event may be larger either: the last one of a response has all of it.
///
/// # Errors
/// See [`Broken`]. A stream that falls silent, breaks off or ends has been truncated, unless all of the answer had come.
pub(super) async fn read<E>(
    chunks: impl Stream<Item = Result<Bytes, E>>,
    max: usize,
    call: &Call,
) -> Result<Vec<u8>, Broken> {
    let mut chunks = std::pin::pin!(chunks);
    let mut parser = Parser::new(max);
    let mut assembly = Assembly::new(call.kind, asked::choices(&call.body), max);
    let mut say = |text: &str| {
        if let Some(listener) = &call.listener {
            listener.hear(text);
        }
    };
    let mut events: Vec<Event> = Vec::new();
    while !assembly.is_done() {
        let patience = if assembly.is_complete() { LINGER } else { IDLE };
        let Ok(Some(Ok(chunk))) = timeout(patience, chunks.next()).await else {
            return end(parser, assembly, &mut say);
        };
        let pushed = parser.push(&chunk, &mut events);
        for event in events.drain(..) {
            assembly.take(&event, &mut say)?;
        }
        pushed.map_err(|_| Broken::Unreadable)?;
    }
    // Whatever comes now, or not, changes nothing.
    let _ = timeout(CLOSING, async {
        while let Some(Ok(_)) = chunks.next().await {}
    })
    .await;
    assembly.finish()
}

/// No more will come: the last event may lack its end.
fn end(
    parser: Parser,
    mut assembly: Assembly,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, Broken> {
    if let Some(last) = parser.finish()
        && let Err(broken @ Broken::Error { .. }) = assembly.take(&last, say)
    {
        return Err(broken);
    }
    assembly.finish()
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
