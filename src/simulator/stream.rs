//! Answers as server-sent events, the way OpenAI sends them.

use std::{collections::VecDeque, convert::Infallible, io, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    log::{Ended, OpenCall},
    reply::Answer,
    shape,
};
use crate::model::Kind;

/// Long enough for what was sent before to leave, so that the caller sees a cut and not nothing.
const BEFORE_CUT: Duration = Duration::from_millis(10);
/// Deltas an answer is sent in.
const DELTAS: usize = 4;

/// The events of an answer.
pub(super) fn events(answer: &Answer, include_usage: bool) -> VecDeque<Bytes> {
    match answer.kind {
        Kind::Response => response(answer),
        Kind::Chat => chat(answer, include_usage),
        Kind::Completion | Kind::Embedding => completion(answer, include_usage),
    }
}

fn chat(answer: &Answer, include_usage: bool) -> VecDeque<Bytes> {
    let choice = |delta: Value, finish_reason: Option<&str>| json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
    let mut choices = vec![choice(json!({"role": "assistant", "content": ""}), None)];
    choices.extend(deltas(answer).map(|text| choice(json!({"content": text}), None)));
    choices.push(choice(json!({}), Some(answer.finish_reason)));
    chunks(answer, "chat.completion.chunk", choices, include_usage)
}

fn completion(answer: &Answer, include_usage: bool) -> VecDeque<Bytes> {
    let choice = |text: &str, finish_reason: Option<&str>| json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason});
    let mut choices: Vec<Value> = deltas(answer).map(|text| choice(&text, None)).collect();
    choices.push(choice("", Some(answer.finish_reason)));
    chunks(answer, "text_completion", choices, include_usage)
}

fn chunks(
    answer: &Answer,
    object: &str,
    choices: Vec<Value>,
    include_usage: bool,
) -> VecDeque<Bytes> {
    let chunk = |choices: Value| shape::with_choices(answer, object, choices);
    let mut events = VecDeque::new();
    for choice in choices {
        let mut chunk = chunk(json!([choice]));
        if include_usage {
            chunk["usage"] = Value::Null;
        }
        events.push_back(event(&chunk));
    }
    if include_usage {
        let mut last = chunk(json!([]));
        last["usage"] = shape::usage(answer);
        events.push_back(event(&last));
    }
    events.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn response(answer: &Answer) -> VecDeque<Bytes> {
    let begun = shape::begun(answer);
    let (empty, whole) = (shape::part(""), shape::part(&answer.text));
    let status = shape::ended(answer);
    let item = |status, content| shape::message(answer, status, content);
    let mut events = vec![
        ("created", json!({"response": begun})),
        ("in_progress", json!({"response": begun})),
        (
            "output_item.added",
            json!({"item": item("in_progress", json!([]))}),
        ),
        ("content_part.added", json!({"part": empty})),
    ];
    events.extend(
        deltas(answer).map(|text| ("output_text.delta", json!({"delta": text, "logprobs": []}))),
    );
    events.extend([
        ("output_text.done", json!({"text": answer.text})),
        ("content_part.done", json!({"part": whole})),
        (
            "output_item.done",
            json!({"item": item(status, json!([whole]))}),
        ),
        (status, json!({"response": shape::body(answer)})),
    ]);
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(number, (name, mut data))| {
            let name = format!("response.{name}");
            data["type"] = name.as_str().into();
            data["sequence_number"] = number.into();
            if data.get("response").is_none() {
                data["output_index"] = 0.into();
                data["content_index"] = 0.into();
            }
            Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
        })
        .collect()
}

/// The text in pieces.
fn deltas(answer: &Answer) -> impl Iterator<Item = String> {
    let size = answer.text.len().div_ceil(DELTAS).max(1);
    // All ASCII, so any place is a boundary.
    let pieces = answer.text.as_bytes().chunks(size);
    pieces.map(|piece| String::from_utf8_lossy(piece).into_owned())
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
