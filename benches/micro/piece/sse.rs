//! A chat completion that comes as a stream: bytes to events, and events to the answer.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tidings::{
    model::Kind,
    upstream::{
        Call,
        bench::{answer, events},
    },
};
use tokio::runtime::Builder;

use crate::round::{Round, Rounds};

/// Pieces of the answer's text.
const WORDS: u64 = 300;
/// Those, who speaks, why it ends, the usage, and that it has ended.
pub(super) const EVENTS: u64 = WORDS + 4;
/// Bytes of a word.
const WORD: usize = 7;
const MODEL: &str = "gpt-4o-mini";

pub(super) fn parsed() -> Rounds {
    let chunks = Rc::new(chunks());
    Box::new(move || {
        let chunks = chunks.clone();
        Round::new(move || events(&chunks) as u64)
    })
}

pub(super) fn assembled() -> Rounds {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = Rc::new(runtime.expect("a runtime of one thread needs nothing"));
    let chunks = chunks();
    Box::new(move || {
        let (runtime, chunks) = (runtime.clone(), chunks.clone());
        let call = Call {
            kind: Kind::Chat,
            body: Call::prompt_body(MODEL, "Tell me a story."),
            timeout: Duration::from_secs(600),
            idempotency_key: "k".to_owned(),
            request_id: "r".to_owned(),
            model: MODEL.to_owned(),
            listener: None,
        };
        Round::new(move || {
            let count = chunks.len() as u64;
            let body = runtime.block_on(answer(chunks, &call));
            let body = body.expect("the stream is whole");
            assert!(body.len() >= WORDS as usize * WORD);
            count
        })
    })
}

/// One event a chunk, as it mostly comes.
fn chunks() -> Vec<Bytes> {
    let said = |delta: &str, reason: &str| {
        event(&format!(
            r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}],"usage":null"#
        ))
    };
    let word = "w".repeat(WORD - 1);
    let mut chunks = vec![said(
        r#"{"role":"assistant","content":"","refusal":null}"#,
        "null",
    )];
    chunks.extend((0..WORDS).map(|_| said(&format!(r#"{{"content":" {word}"}}"#), "null")));
    chunks.push(said("{}", r#""stop""#));
    chunks.push(event(
        r#""choices":[],"usage":{"prompt_tokens":12,"completion_tokens":300,"total_tokens":312}"#,
    ));
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    chunks
}

fn event(members: &str) -> Bytes {
    let head = r#""id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz","object":"chat.completion.chunk","created":1700000000"#;
    let event =
        format!(r#"{{{head},"model":"{MODEL}","system_fingerprint":"fp_0123456789",{members}}}"#);
    format!("data: {event}\n\n").into()
}
