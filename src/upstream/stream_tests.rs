//! Silence, breaks and ends.

use futures::stream;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;

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

/// What comes of these chunks, after which the stream falls silent, breaks or ends.
async fn read_all(chunks: &[&'static str], then: Then) -> (Result<(), Broken>, String) {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
        .collect();
    let heard = Heard::default();
    let chunks = stream::iter(chunks);
    let read = match then {
        Then::Silent => read(chunks.chain(stream::pending()), 1 << 20, Some(&heard)).await,
        Then::Breaks => read(chunks.chain(stream::iter([Err(())])), 1 << 20, Some(&heard)).await,
        Then::Ends => read(chunks, 1 << 20, Some(&heard)).await,
    };
    (read.map(drop), heard.0.into_inner())
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
    let huge: &'static str = Box::leak("x".repeat(EVENT_MAX + 1).into_boxed_str());
    let read = read_all(&[TEXT, "data: ", huge], Then::Ends).await.0;
    assert_eq!(read, Err(Broken::Unreadable));
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
