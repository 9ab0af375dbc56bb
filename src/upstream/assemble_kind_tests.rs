//! Streams of plain completions and of the Responses API: what they come to, and what is told of them.

use serde_json::json;

use super::{tests::assemble, *};
use crate::{model::Outcome, upstream::reply};

/// Events of the Responses API, each named by its type.
fn events(events: &[Value]) -> Vec<(String, String)> {
    events
        .iter()
        .map(|event| {
            let name = event["type"].as_str().unwrap_or_default();
            (name.to_owned(), event.to_string())
        })
        .collect()
}

fn responded(sent: &[Value]) -> (Result<Value, Broken>, String) {
    let sent = events(sent);
    let sent = sent
        .iter()
        .map(|(name, data)| (name.as_str(), data.as_str()));
    assemble(Kind::Response, 1, sent)
}

/// The outcome of a stream, which must be what was told.
fn outcome(sent: &[Value]) -> Outcome {
    let (body, said) = responded(sent);
    let body = body.unwrap().to_string();
    let outcome = reply::read(Kind::Response, body, "asked").unwrap();
    assert_eq!(outcome.text, said);
    outcome
}

fn created() -> Value {
    json!({"type": "response.created", "sequence_number": 0,
           "response": {"id": "resp_1", "object": "response", "status": "in_progress", "output": [], "error": null}})
}

fn delta(output: u64, content: u64, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": output,
           "content_index": content, "delta": text, "logprobs": [], "obfuscation": "xyz"})
}

fn refusal(text: &str) -> Value {
    json!({"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": text})
}

fn item(output: u64, item: &Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": output, "item": item})
}

fn message(texts: &[&str]) -> Value {
    let parts: Vec<Value> = texts
        .iter()
        .map(|text| json!({"type": "output_text", "text": text, "annotations": []}))
        .collect();
    json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": parts})
}

fn completed(output: &[Value]) -> Value {
    json!({"type": "response.completed", "sequence_number": 9,
           "response": {"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4o-mini",
                        "output": output, "error": null,
                        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}})
}

#[test]
fn a_response_is_the_one_in_its_last_event_as_it_was_written() {
    let last = r#"{"type":"response.completed","response":{"z":1.50, "id":"resp_1","status":"completed",
        "output":[{"type":"reasoning","summary":[]},{"type":"message","content":[{"type":"output_text","text":"数 b"}]}],
        "usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,
        "output_tokens_details":{"reasoning_tokens":1},"total_tokens":5}}}"#;
    let expected = last
        .strip_prefix(r#"{"type":"response.completed","response":"#)
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap();
    let added =
        json!({"type": "response.output_item.added", "output_index": 1, "item": message(&[])});
    let summary =
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"});
    let mut sent = events(&[
        created(),
        summary,
        added,
        delta(1, 0, "数"),
        delta(1, 0, " b"),
    ]);
    sent.push(("response.completed".to_owned(), last.to_owned()));
    let mut said = String::new();
    let mut assembly = Assembly::new(Kind::Response, 1, 1 << 20);
    for (name, data) in sent {
        assert!(!assembly.is_done() && !assembly.is_complete());
        let event = Event {
            name: name.into(),
            data: data.into(),
        };
        assembly
            .take(&event, &mut |text| said.push_str(text))
            .unwrap();
    }
    assert!(assembly.is_done() && assembly.is_complete());
    let body = String::from_utf8(assembly.finish().unwrap()).unwrap();
    assert_eq!((body.as_str(), said.as_str()), (expected, "数 b"));
    let outcome = reply::read(Kind::Response, body, "m").unwrap();
    assert_eq!(outcome.text, said);
    assert_eq!(outcome.usage.cached_input_tokens, 1);
    assert_eq!(outcome.usage.reasoning_tokens, 1);
}

#[test]
fn what_the_last_event_leaves_out_is_taken_from_those_before() {
    let bare = json!({"type": "response.completed", "response": {"id": "resp_1", "usage": null}});
    let none = json!({"type": "response.completed"});
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let thought = json!({"type": "reasoning", "summary": []});
    for last in [bare.clone(), none, completed(&[])] {
        let items = [
            created(),
            delta(1, 0, "a"),
            item(1, &message(&["a"])),
            item(0, &thought),
            last.clone(),
        ];
        let (body, _) = responded(&items);
        let body = body.unwrap();
        assert_eq!(body["output"], json!([thought, message(&["a"])]));
        assert_eq!(body["status"], "completed");
        assert_eq!(outcome(&items).text, "a");
        assert_eq!(outcome(&[delta(0, 0, "a"), last.clone()]).text, "a");
        let thoughtful = [delta(1, 0, "a"), item(0, &thought), last.clone()];
        assert_eq!(outcome(&thoughtful).text, "a");
        assert!(outcome(&[refusal("no"), last.clone()]).refused);
        assert_eq!(outcome(&[item(0, &call), last]).text, "");
    }
    let cut = json!({"type": "response.incomplete",
                     "response": {"incomplete_details": {"reason": "max_output_tokens"}}});
    let outcome = outcome(&[delta(0, 0, "a"), cut]);
    assert!(outcome.truncated);
    assert_eq!(outcome.finish_reason, "max_output_tokens");
    let nothing = responded(&[created(), bare]).0.unwrap().to_string();
    assert!(reply::read(Kind::Response, nothing, "m").is_err());
}

#[test]
fn what_is_told_is_the_text_whatever_the_deltas_say() {
    let two = [message(&["ab", "c"]), message(&["d"])];
    let done = |content: u64| json!({"type": "response.output_text.done", "content_index": content, "text": "ab"});
    for deltas in [
        vec![],
        vec![delta(0, 0, "a"), delta(0, 0, ""), delta(0, 0, "b")],
        vec![delta(0, 0, "ab"), delta(0, 1, "c"), delta(1, 0, "d")],
        vec![
            delta(0, 0, "ab"),
            done(0),
            delta(0, 1, "c"),
            item(0, &two[0]),
            delta(1, 0, "d"),
        ],
        // Side by side: the last event tells what could not be told in order.
        vec![delta(0, 0, "a"), delta(1, 0, "d"), delta(0, 0, "b")],
        vec![
            delta(0, 0, "ab"),
            done(0),
            delta(0, 1, "c"),
            delta(1, 0, "d"),
            done(1),
        ],
    ] {
        let mut sent = vec![created()];
        sent.extend(deltas);
        sent.push(completed(&two));
        assert_eq!(outcome(&sent).text, "abcd");
    }
    // What follows at once is told at once.
    let sent = [delta(0, 0, "ab"), done(0), delta(0, 1, "c")];
    assert_eq!(responded(&sent).1, "abc");
    let sent = [delta(0, 0, "ab"), delta(0, 1, "c")];
    assert_eq!(responded(&sent).1, "ab");
    let part = json!({"type": "refusal", "refusal": "I won't"});
    let refused = json!({"type": "message", "content": [part]});
    let outcome = outcome(&[refusal("I "), refusal("won't"), completed(&[refused])]);
    assert!(outcome.refused);
    assert_eq!(outcome.text, "I won't");
}

#[test]
fn a_response_without_its_last_event_is_truncated() {
    let done = ("".to_owned(), "[DONE]".to_owned());
    for sent in [
        vec![],
        vec![created()],
        vec![created(), delta(0, 0, "a")],
        vec![created(), delta(0, 0, "a"), item(0, &message(&["a"]))],
    ] {
        assert_eq!(responded(&sent).0, Err(Broken::Truncated), "{sent:?}");
        let mut sent = events(&sent);
        sent.push(done.clone());
        let sent = sent
            .iter()
            .map(|(name, data)| (name.as_str(), data.as_str()));
        assert_eq!(assemble(Kind::Response, 1, sent).0, Err(Broken::Truncated));
    }
}

#[test]
fn a_response_that_fails_on_the_way_is_an_error_with_its_code() {
    let failed = |code: &str| {
        json!({"type": "response.failed",
               "response": {"status": "failed", "error": {"code": code, "message": "x"}}})
    };
    let by_status =
        json!({"type": "response.done", "response": {"status": "failed", "error": null}});
    for (last, expected) in [
        (failed("rate_limit_exceeded"), Some("rate_limit_exceeded")),
        (failed("server_error"), Some("server_error")),
        (by_status, None),
        (json!({"type": "response.failed"}), None),
        (
            json!({"type": "error", "code": "slow_down", "message": "x", "param": null}),
            Some("slow_down"),
        ),
        (
            json!({"type": "error", "error": {"code": "insufficient_quota", "message": "x"}}),
            Some("insufficient_quota"),
        ),
    ] {
        for (before, has_output) in [(created(), false), (delta(0, 0, "a"), true)] {
            let Err(Broken::Error {
                error,
                after_output,
            }) = responded(&[before, last.clone()]).0
            else {
                panic!("{last}");
            };
            assert_eq!(
                (error.code.as_deref(), after_output),
                (expected, has_output),
                "{last}"
            );
        }
    }
}

#[test]
fn events_without_a_type_go_by_their_names_and_unknown_ones_say_nothing() {
    let last = completed(&[message(&["ab"])]);
    let last = json!({"response": last["response"]}).to_string();
    let sent = [
        ("ping", "soon"),
        ("response.output_text.delta", r#"{"delta":"a"}"#),
        ("response.new_thing.delta", r#"{"delta":"z"}"#),
        ("", r#"{"x":1}"#),
        ("response.output_text.delta", r#"{"delta":"b"}"#),
        ("response.completed", last.as_str()),
        ("", "soon"),
    ];
    let (body, said) = assemble(Kind::Response, 1, sent);
    assert_eq!(said, "ab");
    assert_eq!(body.unwrap()["output"][0], message(&["ab"]));
    let odd = assemble(Kind::Response, 1, [("response.created", "soon")]);
    assert_eq!(odd.0, Err(Broken::Unreadable));
}

#[test]
fn a_response_without_end_is_given_up() {
    let mut assembly = Assembly::new(Kind::Response, 1, 1_000);
    let text = delta(0, 0, &"x".repeat(100));
    let event = Event {
        name: Vec::new(),
        data: text.to_string().into(),
    };
    let taken = (0..100).find_map(|_| assembly.take(&event, &mut |_| {}).err());
    assert_eq!(taken, Some(Broken::Unreadable));
}

#[test]
fn a_plain_completion_comes_to_the_body_of_one_piece() {
    let chunk = |text: &str, reason: Value, usage: Value| {
        json!({"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "usage": usage,
               "choices": [{"index": 0, "text": text, "finish_reason": reason,
                            "logprobs": {"tokens": [text], "token_logprobs": [-0.5]}}]})
    };
    let null = Value::Null;
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let chunks = [
        chunk("数", null.clone(), null.clone()),
        chunk(" b", null.clone(), null.clone()),
        chunk("", json!("length"), null),
        json!({"id": "cmpl-1", "object": "text_completion", "choices": [], "usage": usage}),
    ];
    let mut sent: Vec<String> = chunks.iter().map(Value::to_string).collect();
    sent.push("[DONE]".to_owned());
    let (body, said) = assemble(
        Kind::Completion,
        1,
        sent.iter().map(|data| ("", data.as_str())),
    );
    let body = body.unwrap();
    assert_eq!(said, "数 b");
    let expected = json!({
        "id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "usage": usage,
        "choices": [{"index": 0, "text": "数 b", "finish_reason": "length",
                     "logprobs": {"tokens": ["数", " b", ""], "token_logprobs": [-0.5, -0.5, -0.5]}}],
    });
    assert_eq!(body, expected);
    let outcome = reply::read(Kind::Completion, body.to_string(), "m").unwrap();
    assert_eq!((outcome.text, outcome.truncated), (said, true));
    assert_eq!(outcome.usage.output_tokens, 2);
}

#[test]
fn an_answer_of_several_choices_is_whole_when_all_have_come() {
    let piece = |index: u64, text: &str, reason: Value| {
        json!({"choices": [{"index": index, "text": text, "finish_reason": reason}]}).to_string()
    };
    // One after the other, as for several prompts.
    let first = [piece(0, "a", Value::Null), piece(0, "", json!("stop"))];
    let second = [piece(1, "b", Value::Null), piece(1, "", json!("stop"))];
    let named = |pieces: Vec<String>| {
        let sent: Vec<String> = pieces;
        assemble(
            Kind::Completion,
            2,
            sent.iter().map(|data| ("", data.as_str())),
        )
    };
    let cut = named(first.to_vec());
    assert_eq!(cut.0, Err(Broken::Truncated));
    let whole = named([first.clone(), second].concat());
    assert_eq!(whole.0.unwrap()["choices"][1]["text"], "b");
    // A server that gives only one all the same, and says that this was all.
    let ended = named([&first[..], &["[DONE]".to_owned()]].concat());
    assert_eq!(ended.0.unwrap()["choices"].as_array().unwrap().len(), 1);
}
