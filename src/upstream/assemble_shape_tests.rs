//! Streams of plain completions and of the Responses API, in the shapes in which servers are known to send them.

use super::{tests::assemble, *};
use crate::upstream::reply;

/// Chunks of plain completions, as servers differ in them: the text, and what they say at the end.
const CHUNKS: [(&str, &[&str]); 4] = [
    // vLLM: counts with every chunk, and no role or name in any.
    (
        "vLLM",
        &[
            r#"{"id":"cmpl-a","object":"text_completion","created":1,"model":"q","choices":[{"index":0,"text":" a","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":{"prompt_tokens":4,"total_tokens":5,"completion_tokens":1}}"#,
            r#"{"id":"cmpl-a","object":"text_completion","created":1,"model":"q","choices":[{"index":0,"text":"b","logprobs":null,"finish_reason":"stop","stop_reason":null}],"usage":{"prompt_tokens":4,"total_tokens":6,"completion_tokens":2}}"#,
            r#"{"id":"cmpl-a","object":"text_completion","created":1,"model":"q","choices":[],"usage":{"prompt_tokens":4,"total_tokens":6,"completion_tokens":2}}"#,
            "[DONE]",
        ],
    ),
    // llama.cpp: members in another order, an empty chunk, its timings.
    (
        "llama.cpp",
        &[
            r#"{"choices":[{"text":" a","index":0,"logprobs":null,"finish_reason":null}],"created":1,"model":"q","system_fingerprint":"b6351","object":"text_completion","id":"chatcmpl-q"}"#,
            r#"{"choices":[{"text":"b","index":0,"logprobs":null,"finish_reason":null}],"created":1,"model":"q","system_fingerprint":"b6351","object":"text_completion","id":"chatcmpl-q"}"#,
            r#"{"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}],"created":1,"model":"q","object":"text_completion","usage":{"completion_tokens":2,"prompt_tokens":4,"total_tokens":6},"id":"chatcmpl-q","timings":{"prompt_n":4}}"#,
            "[DONE]",
        ],
    ),
    // Ollama: the usage in a chunk of its own.
    (
        "Ollama",
        &[
            r#"{"id":"cmpl-1","object":"text_completion","created":1,"choices":[{"text":" a","index":0,"finish_reason":null}],"model":"q","system_fingerprint":"fp_ollama"}"#,
            r#"{"id":"cmpl-1","object":"text_completion","created":1,"choices":[{"text":"b","index":0,"finish_reason":"stop"}],"model":"q","system_fingerprint":"fp_ollama"}"#,
            r#"{"id":"cmpl-1","object":"text_completion","created":1,"choices":[],"model":"q","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}"#,
            "[DONE]",
        ],
    ),
    // A gateway such as LiteLLM that passes on a stream whose server says nothing at its end.
    (
        "LiteLLM",
        &[
            r#"{"id":"1","object":"text_completion","model":"q","choices":[{"finish_reason":null,"index":0,"text":" a"}]}"#,
            r#"{"id":"1","object":"text_completion","model":"q","choices":[{"finish_reason":"stop","index":0,"text":"b"}],"usage":{"completion_tokens":2,"prompt_tokens":4,"total_tokens":6,"completion_tokens_details":null}}"#,
        ],
    ),
];

/// Whether what the server sent comes to the one answer that all servers give here.
fn is_the_same<'a>(
    server: &str,
    kind: Kind,
    sent: impl Iterator<Item = (&'a str, &'a str)>,
    finish_reason: &str,
) {
    let (body, said) = assemble(kind, 1, sent);
    let outcome = reply::read(kind, body.unwrap().to_string(), "asked").unwrap();
    let texts = (outcome.text.as_str(), said.as_str());
    assert_eq!(texts, (" ab", " ab"), "{server}");
    let ended = (outcome.model.as_str(), outcome.finish_reason.as_str());
    assert_eq!(ended, ("q", finish_reason), "{server}");
    let used = (outcome.usage.input_tokens, outcome.usage.output_tokens);
    assert_eq!(used, (4, 2), "{server}");
}

#[test]
fn plain_completions_of_every_server_come_to_the_same() {
    for (server, chunks) in CHUNKS {
        let sent = chunks.iter().map(|data| ("", *data));
        is_the_same(server, Kind::Completion, sent, "stop");
    }
}

/// Events of a response, as servers differ in them.
const EVENTS: [(&str, &[(&str, &str)]); 3] = [
    // vLLM: its last event repeats all of it.
    (
        "vLLM",
        &[
            (
                "response.created",
                r#"{"response":{"id":"resp_a","status":"in_progress","output":[]},"sequence_number":0,"type":"response.created"}"#,
            ),
            (
                "response.output_item.added",
                r#"{"item":{"id":"msg_a","content":[],"role":"assistant","status":"in_progress","type":"message"},"output_index":0,"sequence_number":2,"type":"response.output_item.added"}"#,
            ),
            (
                "response.output_text.delta",
                r#"{"content_index":0,"delta":" a","item_id":"msg_a","logprobs":[],"output_index":0,"sequence_number":4,"type":"response.output_text.delta"}"#,
            ),
            (
                "response.output_text.delta",
                r#"{"content_index":0,"delta":"b","item_id":"msg_a","logprobs":[],"output_index":0,"sequence_number":5,"type":"response.output_text.delta"}"#,
            ),
            (
                "response.completed",
                r#"{"response":{"id":"resp_a","object":"response","status":"completed","model":"q","output":[{"id":"msg_a","content":[{"annotations":[],"text":" ab","type":"output_text","logprobs":null}],"role":"assistant","status":"completed","type":"message"}],"usage":{"input_tokens":4,"output_tokens":2,"total_tokens":6}},"sequence_number":8,"type":"response.completed"}"#,
            ),
        ],
    ),
    // transformers: types only in the data, nothing after the last event.
    (
        "transformers",
        &[
            (
                "",
                r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"queued","model":"q","output":[]}}"#,
            ),
            (
                "",
                r#"{"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_1","status":"in_progress","model":"q","output":[]}}"#,
            ),
            (
                "",
                r#"{"type":"response.output_text.delta","item_id":"msg_1","sequence_number":4,"output_index":0,"content_index":0,"delta":" a"}"#,
            ),
            (
                "",
                r#"{"type":"response.output_text.delta","item_id":"msg_1","sequence_number":5,"output_index":0,"content_index":0,"delta":"b"}"#,
            ),
            (
                "",
                r#"{"type":"response.completed","sequence_number":9,"response":{"id":"resp_1","status":"completed","model":"q","output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":" ab","annotations":[]}]}],"usage":{"input_tokens":4,"output_tokens":2}}}"#,
            ),
        ],
    ),
    // LiteLLM before a chat completion: no item is opened or closed, and `[DONE]` follows.
    (
        "LiteLLM",
        &[
            (
                "",
                r#"{"type":"response.output_text.delta","item_id":"1","output_index":0,"content_index":0,"delta":" ab"}"#,
            ),
            (
                "",
                r#"{"type":"response.completed","response":{"id":"1","status":"completed","model":"q","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":" ab"}]}],"usage":{"input_tokens":4,"output_tokens":2,"total_tokens":6}}}"#,
            ),
            ("", "[DONE]"),
        ],
    ),
];

#[test]
fn responses_of_every_server_come_to_the_same() {
    for (server, events) in EVENTS {
        is_the_same(server, Kind::Response, events.iter().copied(), "completed");
    }
}
