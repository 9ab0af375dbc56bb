//! Recorded shapes of chat completions, and what is read from them.

use super::*;

fn ok(body: &str) -> Outcome {
    let read = read(Kind::Chat, body.to_owned(), "asked");
    let outcome = read.unwrap_or_else(|no| panic!("{no:?}: {body}"));
    assert_eq!(outcome.body, body, "the body is kept byte for byte");
    outcome
}

/// A reply with this message and finish reason, both as JSON.
fn reply(message: &str, finish_reason: &str) -> String {
    format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish_reason}}}]}}"#)
}

#[test]
fn openai_with_all_its_details() {
    let outcome = ok(
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini-2024-07-18","choices":[
        {"index":0,"message":{"role":"assistant","content":" four\n","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],
        "usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
        "prompt_tokens_details":{"cached_tokens":16,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp"}"#,
    );
    assert_eq!(outcome.text, " four\n");
    assert_eq!(outcome.model, "gpt-4o-mini-2024-07-18");
    assert_eq!(outcome.finish_reason, "stop");
    assert_eq!(
        outcome.usage,
        Usage {
            input_tokens: 19,
            output_tokens: 10,
            cached_input_tokens: 16,
            reasoning_tokens: 7,
            cost_nanos: 0,
        }
    );
    assert!(!outcome.truncated && !outcome.filtered && !outcome.refused);
}

#[test]
fn text_is_found_wherever_it_stands() {
    for (body, text) in [
        (reply(r#"{"content":""}"#, r#""stop""#), ""),
        (
            reply(
                r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                "null",
            ),
            "ab",
        ),
        (
            reply(
                r#"{"content":null,"tool_calls":[{"id":"c1"}]}"#,
                r#""tool_calls""#,
            ),
            "",
        ),
        (
            reply(
                r#"{"content":null,"function_call":{"name":"f"}}"#,
                r#""function_call""#,
            ),
            "",
        ),
        (
            reply(r#"{"content":"x","reasoning_content":"y"}"#, r#""eos""#),
            "x",
        ),
        (
            r#"{"choices":[{"text":"plain","finish_reason":"stop"}],"error":null}"#.to_owned(),
            "plain",
        ),
    ] {
        assert_eq!(ok(&body).text, text, "{body}");
    }
}

#[test]
fn what_the_upstream_leaves_out_is_unknown_or_zero() {
    let outcome = ok(r#"{"choices":[{"message":{"content":"x"}}],"usage":null}"#);
    assert_eq!(outcome.finish_reason, "unknown");
    assert_eq!(outcome.model, "asked");
    assert_eq!(outcome.usage, Usage::default());
    let outcome = ok(
        r#"{"choices":[{"message":{"content":"x"},"finish_reason":7}],"model":1,
        "usage":{"prompt_tokens":3.0,"completion_tokens":-1,"prompt_tokens_details":null}}"#,
    );
    assert_eq!(outcome.usage.input_tokens, 3);
    assert_eq!(outcome.usage.output_tokens, 0);
}

#[test]
fn limits_filters_and_refusals_are_answers_with_a_flag() {
    assert!(ok(&reply(r#"{"content":"half"}"#, r#""length""#)).truncated);
    assert!(ok(&reply(r#"{"content":null}"#, r#""length""#)).truncated);
    assert!(ok(&reply(r#"{"content":null}"#, r#""content_filter""#)).filtered);
    assert!(ok(r#"{"choices":[{"finish_reason":"content_filter"}]}"#).filtered);
    let refusal = ok(&reply(
        r#"{"content":null,"refusal":"I can't"}"#,
        r#""stop""#,
    ));
    assert!(refusal.refused);
    assert_eq!(refusal.text, "I can't");
    let part = ok(&reply(
        r#"{"content":[{"type":"refusal","refusal":"no"}]}"#,
        r#""stop""#,
    ));
    assert!(part.refused);
    assert!(!ok(&reply(r#"{"content":"x","refusal":""}"#, r#""stop""#)).refused);
}

#[test]
fn a_reply_without_an_answer_is_never_a_success() {
    for body in [
        "",
        "<html>",
        "null",
        "[]",
        "{}",
        r#"{"choices":null}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":[{}]}"#,
        r#"{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"message":{"content":[],"tool_calls":[]},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"message":{"content":"cut of"#,
        r#"{"id":"resp_1","object":"response","output":[]}"#,
    ] {
        assert_eq!(
            read(Kind::Chat, body.to_owned(), "m"),
            Err(NoAnswer::Unreadable),
            "{body}"
        );
    }
}

#[test]
fn an_error_under_status_200_is_an_error() {
    for (body, code) in [
        (r#"{"error":{"message":"x","code":429}}"#, Some("429")),
        (r#"{"error":"text","choices":[]}"#, None),
        (
            r#"{"choices":[{"message":{"content":""},"finish_reason":"error","error":{"code":502}}]}"#,
            Some("502"),
        ),
    ] {
        let Err(NoAnswer::Error(error)) = read(Kind::Chat, body.to_owned(), "m") else {
            panic!("{body}");
        };
        assert_eq!(error.code.as_deref(), code);
    }
}
