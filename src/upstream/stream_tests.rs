//! Silence, breaks and ends.

use std::sync::Arc;

use futures::stream;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::{model::Kind, upstream::Listener};

#[derive(Default)]
struct Heard(Mutex<String>);

impl Listener for Heard {
    fn begin(&self) {}

    fn hear(&self, text: &str) {
        self.0.lock().push_str(text);
    }
}

const TEXT: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
const STOP: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const END: &str = "data: [DONE]\n\n";

/// Bytes that an answer may take.
const MAX: usize = 1 << 20;

/// What comes of these chunks, after which the stream falls silent, breaks or ends.
async fn read_all(chunks: &[&'static str], then: Then) -> (Result<(), Broken>, String) {
    read_of(Kind::Chat, chunks, then).await
}

async fn read_of(kind: Kind, chunks: &[&'static str], then: Then) -> (Result<(), Broken>, String) {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
        .collect();
    let heard = Arc::new(Heard::default());
    let call = Call {
        kind,
        body: Bytes::new(),
        timeout: IDLE,
        idempotency_key: String::new(),
        request_id: String::new(),
        model: String::new(),
        listener: Some(heard.clone()),
    };
    let chunks = stream::iter(chunks);
    let read = match then {
        Then::Silent => read(chunks.chain(stream::pending()), MAX, &call).await,
        Then::Breaks => read(chunks.chain(stream::iter([Err(())])), MAX, &call).await,
        Then::Ends => read(chunks, MAX, &call).await,
    };
    let heard = heard.0.lock().clone();
    (read.map(drop), heard)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Silent,
    Breaks,
    Ends,
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_in_its_midst_is_truncated_however_it_stops() {
    for then in [Then::Silent, Then::Breaks, Then::Ends] {
        let start = Instant::now();
        let (read, heard) = read_all(&[TEXT, ": alive\n\n", TEXT], then).await;
        assert_eq!(read, Err(Broken::Truncated), "{then:?}");
        assert_eq!(heard, "aa");
        assert_eq!(start.elapsed() >= IDLE, then == Then::Silent, "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_whole_is_one_however_its_stream_stops() {
    for then in [Then::Silent, Then::Breaks, Then::Ends] {
        for chunks in [&[TEXT, STOP][..], &[TEXT, STOP, END], &[TEXT, END]] {
            let start = Instant::now();
            assert_eq!(read_all(chunks, then).await.0, Ok(()), "{then:?}");
            assert!(start.elapsed() <= LINGER, "{then:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_event_without_its_end_counts_if_it_is_whole() {
    let (whole, _) = STOP.split_at(STOP.len() - 2);
    assert_eq!(read_all(&[TEXT, whole], Then::Ends).await.0, Ok(()));
    let (cut, _) = STOP.split_at(STOP.len() - 5);
    assert_eq!(
        read_all(&[TEXT, cut], Then::Ends).await.0,
        Err(Broken::Truncated)
    );
    let error = "data: {\"error\":{\"code\":\"slow_down\"}}";
    let read = read_all(&[TEXT, error], Then::Ends).await.0;
    assert!(matches!(
        read,
        Err(Broken::Error {
            after_output: true,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_event_too_large_to_be_one_is_no_answer() {
    let huge: &'static str = Box::leak("x".repeat(MAX + 1).into_boxed_str());
    let read = read_all(&[TEXT, "data: ", huge], Then::Ends).await.0;
    assert_eq!(read, Err(Broken::Unreadable));
}

const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n";
const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n";

#[tokio::test(start_paused = true)]
async fn a_response_is_whole_with_its_last_event_and_with_nothing_else() {
    for then in [Then::Silent, Then::Breaks, Then::Ends] {
        let start = Instant::now();
        let (read, heard) = read_of(Kind::Response, &[DELTA, DELTA, COMPLETED], then).await;
        assert_eq!((read, heard.as_str()), (Ok(()), "aa"), "{then:?}");
        assert!(start.elapsed() <= CLOSING, "{then:?}");
        let (read, heard) = read_of(Kind::Response, &[DELTA, DELTA], then).await;
        assert_eq!(read, Err(Broken::Truncated), "{then:?}");
        assert_eq!(heard, "aa");
    }
    let ended = read_of(Kind::Response, &[DELTA, END], Then::Ends).await.0;
    assert_eq!(ended, Err(Broken::Truncated), "only its last event ends it");
}

#[test]
fn a_stream_is_told_from_an_answer_in_one_piece() {
    let stream = Some("Text/Event-Stream; charset=utf-8");
    for (kind, asked, begun, expected) in [
        (stream, false, "data: {}", true),
        (stream, true, ": hello", true),
        (stream, true, "\u{feff}data: {}", true),
        // Nothing has come yet that could tell.
        (stream, true, "\n", false),
        (stream, true, "{\"error\":{}}", false),
        (stream, true, " [{}]", false),
        (None, true, "data: {}", true),
        (Some("text/plain"), true, "event: x", true),
        (Some("text/plain"), false, "data: {}", false),
        (Some("application/json"), true, "{\"choices\":[]}", false),
        (Some("application/json"), true, "data: {}", false),
        (Some("text/html"), true, "<html>", false),
    ] {
        assert_eq!(
            is_stream(kind, asked, begun.as_bytes()),
            expected,
            "{kind:?} {begun:?}"
        );
    }
}
