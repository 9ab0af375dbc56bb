//! Streams as servers send them, and what they come to.

use serde_json::json;

use super::*;
use crate::{model::Outcome, upstream::reply};

/// What a stream of these chunks comes to, and what was told on the way.
pub(super) fn assembled(chunks: &[Value], done: bool) -> (Result<Value, Broken>, String) {
    let mut events: Vec<String> = chunks.iter().map(Value::to_string).collect();
    events.extend(done.then(|| "[DONE]".to_owned()));
    put_together(events.iter().map(|data| ("", data.as_str())))
}

fn put_together<'a>(
    events: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (Result<Value, Broken>, String) {
    assemble(Kind::Chat, 1, events)
}

/// What these events come to, each with its name and its data, and what was told on the way.
pub(super) fn assemble<'a>(
    kind: Kind,
    choices: usize,
    events: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (Result<Value, Broken>, String) {
    let mut said = String::new();
    let mut assembly = Assembly::new(kind, choices, 1 << 20);
    for (name, data) in events {
        let event = Event {
            name: name.into(),
            data: data.into(),
        };
        if let Err(broken) = assembly.take(&event, &mut |text| said.push_str(text)) {
            return (Err(broken), said);
        }
    }
    let body = assembly.finish();
    (
        body.map(|body| serde_json::from_slice(&body).unwrap()),
        said,
    )
}

/// The outcome of a stream, which must be what was told.
fn outcome(chunks: &[Value], done: bool) -> Outcome {
    let (body, said) = assembled(chunks, done);
    let outcome = reply::read(Kind::Chat, body.unwrap().to_string(), "asked").unwrap();
    assert_eq!(outcome.text, said);
    outcome
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

#[test]
fn a_stream_of_openai_comes_to_the_body_of_one_piece() {
    let chunk = |choices: Value, usage: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "gpt-4o-mini",
               "service_tier": "default", "system_fingerprint": "fp", "obfuscation": "xyz",
               "choices": choices, "usage": usage})
    };
    let piece = |delta: Value, logprobs: Value, reason: Value| {
        let choice =
            json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]);
        chunk(choice, Value::Null)
    };
    let token =
        |text: &str| json!({"content": [{"token": text, "logprob": -0.5}], "refusal": null});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let (body, said) = assembled(
        &[
            piece(
                json!({"role": "assistant", "content": "", "refusal": null}),
                Value::Null,
                Value::Null,
            ),
            piece(json!({"content": "数"}), token("数"), Value::Null),
            piece(json!({"content": " b"}), token(" b"), Value::Null),
            piece(json!({}), Value::Null, json!("stop")),
            chunk(json!([]), usage.clone()),
        ],
        true,
    );
    assert_eq!(said, "数 b");
    let expected = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "gpt-4o-mini",
        "service_tier": "default", "system_fingerprint": "fp",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "数 b", "refusal": null},
            "logprobs": {
                "content": [{"token": "数", "logprob": -0.5}, {"token": " b", "logprob": -0.5}],
                "refusal": null,
            },
            "finish_reason": "stop",
        }],
        "usage": usage,
    });
    assert_eq!(body.unwrap(), expected);
}

#[test]
fn the_first_chunk_of_azure_says_nothing_and_hides_nothing() {
    let filters = json!({"id": "", "model": "", "created": 0, "object": "", "choices": [],
                         "prompt_filter_results": [{"prompt_index": 0}]});
    let mut named = delta(json!({"content": "hi"}));
    named["model"] = json!("gpt-4o");
    named["object"] = json!("chat.completion.chunk");
    // Asynchronous filters send chunks without a delta.
    let filtered = json!({"choices": [{"index": 0, "content_filter_results": {"hate": {"filtered": false}},
                                       "finish_reason": null}]});
    let (body, said) = assembled(&[filters, named, filtered, finish(json!("stop"))], true);
    let body = body.unwrap();
    assert_eq!((said.as_str(), &body["model"]), ("hi", &json!("gpt-4o")));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["prompt_filter_results"][0]["prompt_index"], 0);
    assert_eq!(
        body["choices"][0]["content_filter_results"]["hate"]["filtered"],
        false
    );
}

#[test]
fn reasoning_is_kept_beside_the_text_and_not_told_as_text() {
    for member in ["reasoning_content", "reasoning"] {
        let (body, said) = assembled(
            &[
                delta(json!({"role": "assistant", "content": null, member: "let "})),
                delta(json!({member: "me think"})),
                delta(json!({"content": "yes"})),
                finish(json!("stop")),
            ],
            true,
        );
        let message = &body.unwrap()["choices"][0]["message"];
        assert_eq!(said, "yes");
        assert_eq!(message[member], "let me think");
        assert_eq!(message["content"], "yes");
    }
}

#[test]
fn tool_calls_grow_by_their_place_however_they_come() {
    let call = |index: Value, id: Value, name: Value, arguments: &str| {
        let mut call = json!({"type": "function", "function": {"arguments": arguments}});
        for (member, value) in [("index", index), ("id", id)] {
            if !value.is_null() {
                call[member] = value;
            }
        }
        if !name.is_null() {
            call["function"]["name"] = name;
        }
        call
    };
    let whole = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let null = Value::Null;
    let expected = [whole("a", "f", r#"{"x":1}"#), whole("b", "g", "{}")];
    // OpenAI: name and id once. vLLM: again with every piece. Ollama: whole, without places. Gemini: all the first.
    let (zero, one) = (json!(0), json!(1));
    let (a, b, f, g) = (json!("a"), json!("b"), json!("f"), json!("g"));
    let streams = [
        vec![
            call(zero.clone(), a.clone(), f.clone(), ""),
            call(zero.clone(), null.clone(), null.clone(), r#"{"x""#),
            call(one.clone(), b.clone(), g.clone(), "{"),
            call(zero.clone(), null.clone(), null.clone(), ":1}"),
            call(one.clone(), json!(""), null.clone(), "}"),
        ],
        vec![
            call(zero.clone(), a.clone(), f.clone(), r#"{"x""#),
            call(zero.clone(), a.clone(), f.clone(), ":1}"),
            call(one, b.clone(), g.clone(), "{}"),
        ],
        vec![
            call(null.clone(), a.clone(), f.clone(), r#"{"x":1"#),
            call(null.clone(), null.clone(), null, "}"),
            call(Value::Null, b.clone(), g.clone(), "{}"),
        ],
        vec![
            call(zero.clone(), a, f, r#"{"x":1}"#),
            call(zero, b, g, "{}"),
        ],
    ];
    for stream in streams {
        let mut chunks: Vec<Value> = stream
            .into_iter()
            .map(|call| delta(json!({"tool_calls": [call]})))
            .collect();
        chunks.push(finish(json!("tool_calls")));
        let (body, said) = assembled(&chunks, true);
        let body = body.unwrap();
        assert_eq!(body["choices"][0]["message"]["tool_calls"], json!(expected));
        assert_eq!(body["choices"][0]["message"]["content"], Value::Null);
        assert_eq!(said, "");
        assert!(reply::read(Kind::Chat, body.to_string(), "m").is_ok());
    }
}

#[test]
fn content_in_parts_and_refusals_are_text_too() {
    let part = |text: &str| json!([{"type": "text", "text": text}]);
    let parts = [
        delta(json!({"content": part("a")})),
        delta(json!({"content": "b"})),
        delta(json!({"content": part("c")})),
        finish(json!("stop")),
    ];
    assert_eq!(outcome(&parts, true).text, "abc");
    let late = [
        delta(json!({"content": "a"})),
        delta(json!({"content": part("b")})),
        finish(json!("stop")),
    ];
    assert_eq!(outcome(&late, true).text, "ab");
    let refused = [
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"refusal": "I "})),
        delta(json!({"refusal": "won't"})),
        finish(json!("stop")),
    ];
    let outcome = outcome(&refused, true);
    assert_eq!(outcome.text, "I won't");
    assert!(outcome.refused);
}

#[test]
fn a_plain_completion_grows_too() {
    let piece = |text: &str, reason: Value| json!({"object": "text_completion", "choices": [{"text": text, "finish_reason": reason}]});
    let chunks = [
        piece("a", json!("")),
        piece("b", Value::Null),
        piece("", json!("eos")),
    ];
    let outcome = outcome(&chunks, false);
    assert_eq!(
        (outcome.text.as_str(), outcome.finish_reason.as_str()),
        ("ab", "eos")
    );
}

#[test]
fn usage_is_taken_from_wherever_it_stands_and_its_last_word_counts() {
    let with = |mut chunk: Value, usage: Value| {
        chunk["usage"] = usage;
        chunk
    };
    let count = |tokens: u64| json!({"prompt_tokens": 1, "completion_tokens": tokens});
    let continuous = [
        with(delta(json!({"content": "a"})), count(1)),
        with(finish(json!("stop")), count(2)),
        with(json!({"choices": []}), Value::Null),
    ];
    assert_eq!(outcome(&continuous, true).usage.output_tokens, 2);
    let mut groq = finish(json!("stop"));
    groq["x_groq"] = json!({"id": "req", "usage": count(9)});
    let groq = [delta(json!({"content": "a"})), groq];
    assert_eq!(outcome(&groq, true).usage.output_tokens, 9);
    let none = [delta(json!({"content": "a"})), finish(json!("stop"))];
    assert_eq!(outcome(&none, true).usage.output_tokens, 0);
}

#[test]
fn an_answer_is_whole_by_its_reason_or_by_the_end_and_else_truncated() {
    let text = delta(json!({"content": "a"}));
    let stopped = finish(json!("stop"));
    assert_eq!(
        outcome(&[text.clone(), stopped], false).finish_reason,
        "stop"
    );
    assert_eq!(
        outcome(std::slice::from_ref(&text), true).finish_reason,
        "unknown"
    );
    for cut in [vec![], vec![text.clone()], vec![text, finish(json!(""))]] {
        assert_eq!(assembled(&cut, false).0, Err(Broken::Truncated), "{cut:?}");
    }
}

#[test]
fn every_choice_must_have_stopped() {
    let piece = |index: u64, text: &str, reason: Value| json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]});
    let mut chunks = vec![
        piece(1, "one", Value::Null),
        piece(0, "ze", Value::Null),
        piece(1, "", json!("stop")),
    ];
    assert_eq!(assembled(&chunks, false).0, Err(Broken::Truncated));
    chunks.push(piece(0, "ro", json!("length")));
    let (body, _) = assembled(&chunks, false);
    let body = body.unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "zero");
    assert_eq!(body["choices"][1]["message"]["content"], "one");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
}

#[test]
fn an_error_in_any_shape_ends_the_stream_and_says_whether_output_had_come() {
    let text = delta(json!({"content": "a"})).to_string();
    let role = delta(json!({"role": "assistant", "content": ""})).to_string();
    let in_choice = r#"{"choices":[{"index":0,"delta":{},"error":{"code":502,"message":"x"},"finish_reason":"error"}]}"#;
    for (name, error, code) in [
        (
            "",
            r#"{"error":{"message":"x","type":"server_error","code":"boom"}}"#,
            Some("boom"),
        ),
        ("error", r#"{"message":"x","code":503}"#, Some("503")),
        (
            "",
            r#"{"object":"error","message":"x","code":400}"#,
            Some("400"),
        ),
        (
            "",
            r#"{"type":"error","code":"slow_down"}"#,
            Some("slow_down"),
        ),
        ("", r#"{"error":"free text"}"#, None),
        ("", in_choice, Some("502")),
    ] {
        for (before, after_output) in [(&role, false), (&text, true)] {
            let (broken, _) = put_together([("", before.as_str()), (name, error)]);
            let Err(Broken::Error {
                error: read,
                after_output: told,
            }) = broken
            else {
                panic!("{error}: {broken:?}");
            };
            assert_eq!(
                (read.code.as_deref(), told),
                (code, after_output),
                "{error}"
            );
        }
    }
}

#[test]
fn what_is_no_piece_of_an_answer_is_refused_and_signs_of_life_are_not() {
    let last = finish(json!("stop")).to_string();
    let text = delta(json!({"content": "a"})).to_string();
    let alive = [
        ("ping", "soon"),
        ("", ""),
        ("", " "),
        ("", &text),
        ("", &last),
        ("", "[DONE]"),
    ];
    assert!(put_together(alive).0.is_ok());
    for odd in ["soon", "7", "[1]", "{\"choices\":", r#"{"choices":[7]}"#] {
        assert_eq!(
            put_together([("", odd), ("", &last)]).0,
            Err(Broken::Unreadable),
            "{odd}"
        );
    }
    // After the end nothing counts.
    assert!(
        put_together([("", text.as_str()), ("", "[DONE]"), ("", "soon")])
            .0
            .is_ok()
    );
}

#[test]
fn events_without_an_empty_line_between_them_are_told_apart() {
    let text = delta(json!({"content": "a"})).to_string();
    let last = finish(json!("stop")).to_string();
    let joined = format!("{text}\n{text}\n{last}\n[DONE]");
    let (body, said) = put_together([("", joined.as_str())]);
    assert_eq!(said, "aa");
    assert_eq!(body.unwrap()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn an_answer_without_end_is_given_up() {
    let mut assembly = Assembly::new(Kind::Chat, 1, 1_000);
    let event = Event {
        name: Vec::new(),
        data: delta(json!({"content": "x".repeat(100)}))
            .to_string()
            .into(),
    };
    let taken = (0..100).find_map(|_| assembly.take(&event, &mut |_| {}).err());
    assert_eq!(taken, Some(Broken::Unreadable));
}
