//! Answers as server-sent events, the way OpenAI sends them.

use std::{collections::VecDeque, convert::Infallible, io, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    log::{Ended, OpenCall},
    reply::Completion,
};

/// Long enough for what was sent before to leave, so that the caller sees a cut and not nothing.
const BEFORE_CUT: Duration = Duration::from_millis(10);
/// Deltas an answer is sent in.
const DELTAS: usize = 4;

/// The events of an answer.
pub(super) fn events(completion: &Completion, include_usage: bool) -> VecDeque<Bytes> {
    let mut events = VecDeque::new();
    let mut delta = |delta: Value, finish_reason: Option<&str>| {
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        let mut chunk = chunk(completion, json!([choice]));
        if include_usage {
            chunk["usage"] = Value::Null;
        }
        events.push_back(event(&chunk));
    };
    delta(json!({"role": "assistant", "content": ""}), None);
    let size = completion.text.len().div_ceil(DELTAS).max(1);
    // All ASCII, so any place is a boundary.
    for piece in completion.text.as_bytes().chunks(size) {
        delta(json!({"content": String::from_utf8_lossy(piece)}), None);
    }
    delta(json!({}), Some(completion.finish_reason));
    if include_usage {
        let mut last = chunk(completion, json!([]));
        last["usage"] = completion.usage();
        events.push_back(event(&last));
    }
    events.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn chunk(completion: &Completion, choices: Value) -> Value {
    json!({
        "id": completion.id,
        "object": "chat.completion.chunk",
        "created": completion.created,
        "model": completion.model,
        "system_fingerprint": "simulated",
        "choices": choices,
    })
}

fn event(chunk: &Value) -> Bytes {
    Bytes::from(format!("data: {chunk}\n\n"))
}

/// A body of pieces with a pause before each. The call ends with the last one, or its caller has hung up.
pub(super) fn paced(call: OpenCall, pieces: VecDeque<Bytes>, pause: Duration) -> Body {
    let steps = (Some(call), pieces);
    Body::from_stream(stream::unfold(
        steps,
        move |(mut call, mut pieces)| async move {
            let piece = pieces.pop_front()?;
            if !pause.is_zero() {
                sleep(pause).await;
            }
            if pieces.is_empty()
                && let Some(call) = call.take()
            {
                call.end(Ended::Answered, Some(200));
            }
            Some((Ok::<_, Infallible>(piece), (call, pieces)))
        },
    ))
}

/// A body that breaks off after `pieces`.
pub(super) fn cut(call: OpenCall, pieces: VecDeque<Bytes>) -> Body {
    let steps = (Some(call), pieces);
    Body::from_stream(stream::unfold(steps, |(mut call, mut pieces)| async move {
        if let Some(piece) = pieces.pop_front() {
            return Some((Ok(piece), (call, pieces)));
        }
        sleep(BEFORE_CUT).await;
        call.take()?.end(Ended::Faulted, Some(200));
        Some((
            Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            (None, pieces),
        ))
    }))
}
