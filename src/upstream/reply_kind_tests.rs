//! Shapes of replies to plain completions, responses and embeddings, as servers are known to send them, and what is
//! read from them.

use super::*;

fn ok(kind: Kind, body: &str) -> Outcome {
    let read = read(kind, body.to_owned(), "asked");
    let outcome = read.unwrap_or_else(|no| panic!("{no:?}: {body}"));
    assert_eq!(outcome.body, body, "the body is kept byte for byte");
    outcome
}

fn used(input: u64, output: u64, cached: u64, reasoning: u64) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cached_input_tokens: cached,
        reasoning_tokens: reasoning,
        cost_nanos: 0,
    }
}

/// A response with these items and whatever else.
fn response(output: &str, more: &str) -> String {
    format!(r#"{{"id":"resp_1","object":"response","output":{output}{more}}}"#)
}

const SAYS_X: &str = r#"[{"type":"message","content":[{"type":"output_text","text":"x"}]}]"#;

#[test]
fn plain_completions_of_openai_vllm_llama_cpp_and_ollama() {
    for (body, model, reason, usage) in [
        // OpenAI, and Azure, which adds what its filters found.
        (
            r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"gpt-3.5-turbo-instruct","choices":[{"text":" four\n","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#,
            "gpt-3.5-turbo-instruct",
            "stop",
            used(5, 7, 0, 0),
        ),
        (
            r#"{"id":"cmpl-1","object":"text_completion","model":"gpt-35-turbo","prompt_filter_results":[{"prompt_index":0}],"choices":[{"text":" four\n","index":0,"finish_reason":"stop","content_filter_results":{}}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#,
            "gpt-35-turbo",
            "stop",
            used(5, 7, 0, 0),
        ),
        // vLLM: what it stopped at, and details that may be null.
        (
            r#"{"id":"cmpl-a","object":"text_completion","model":"Qwen/Qwen3-4B","choices":[{"index":0,"text":" four\n","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_logprobs":null}],"usage":{"prompt_tokens":5,"total_tokens":21,"completion_tokens":16,"prompt_tokens_details":null}}"#,
            "Qwen/Qwen3-4B",
            "length",
            used(5, 16, 0, 0),
        ),
        // llama.cpp: timings beside the usage.
        (
            r#"{"choices":[{"text":" four\n","index":0,"logprobs":null,"finish_reason":"stop"}],"created":1,"model":"","system_fingerprint":"b6351","object":"text_completion","usage":{"completion_tokens":2,"prompt_tokens":4,"total_tokens":6},"timings":{"prompt_n":4}}"#,
            "asked",
            "stop",
            used(4, 2, 0, 0),
        ),
        // Ollama.
        (
            r#"{"id":"cmpl-9","object":"text_completion","model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"text":" four\n","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":8,"total_tokens":34}}"#,
            "llama3.2",
            "stop",
            used(26, 8, 0, 0),
        ),
    ] {
        let outcome = ok(Kind::Completion, body);
        assert_eq!(outcome.text, " four\n");
        assert_eq!(
            (outcome.model.as_str(), outcome.finish_reason.as_str()),
            (model, reason)
        );
        assert_eq!(outcome.usage, usage);
        assert_eq!(outcome.truncated, reason == "length");
    }
}

#[test]
fn a_response_of_openai_with_all_its_details() {
    let outcome = ok(
        Kind::Response,
        r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","background":false,"error":null,
        "incomplete_details":null,"model":"o4-mini-2025-04-16","output":[
        {"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"thinking"}]},
        {"id":"ws_1","type":"web_search_call","status":"completed"},
        {"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[
        {"type":"output_text","annotations":[],"logprobs":[],"text":" four"},{"type":"output_text","text":"\n"}]},
        {"id":"msg_2","type":"message","role":"assistant","content":[{"type":"output_text","text":"five"}]}],
        "text":{"format":{"type":"text"}},"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":16},
        "output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123},"metadata":{}}"#,
    );
    assert_eq!(outcome.text, " four\nfive");
    assert_eq!(outcome.model, "o4-mini-2025-04-16");
    assert_eq!(outcome.finish_reason, "completed");
    assert_eq!(outcome.usage, used(36, 87, 16, 64));
    assert!(!outcome.truncated && !outcome.filtered && !outcome.refused);
}

#[test]
fn responses_of_servers_that_leave_things_out() {
    for (body, model, reason) in [
        // vLLM: the thought as text of its own, which is not the answer.
        (
            r#"{"id":"resp_a","object":"response","status":"completed","model":"openai/gpt-oss-20b","output":[{"type":"reasoning","content":[{"type":"reasoning_text","text":"hm"}]},{"type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"x","annotations":[]}]}],"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":0},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":7}}"#,
            "openai/gpt-oss-20b",
            "completed",
        ),
        // Ollama and llama.cpp: neither errors nor details.
        (
            r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-oss:20b","output":[{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"x"}]}],"usage":{"input_tokens":3,"output_tokens":4}}"#,
            "gpt-oss:20b",
            "completed",
        ),
        // A gateway that translates chat completions.
        (
            r#"{"output":[{"role":"assistant","content":"x"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            "asked",
            "unknown",
        ),
    ] {
        let outcome = ok(Kind::Response, body);
        assert_eq!(outcome.text, "x");
        assert_eq!(
            (outcome.model.as_str(), outcome.finish_reason.as_str()),
            (model, reason)
        );
        assert_eq!(
            (outcome.usage.input_tokens, outcome.usage.output_tokens),
            (3, 4)
        );
    }
}

#[test]
fn calls_of_tools_are_answers_without_text() {
    let call = r#"[{"type":"function_call","call_id":"c1","name":"f","arguments":"{\"x\":1}","status":"completed"}]"#;
    let outcome = ok(Kind::Response, &response(call, r#","status":"completed""#));
    assert_eq!((outcome.text.as_str(), outcome.truncated), ("", false));
    let chat = r#"{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
    let outcome = ok(Kind::Chat, chat);
    assert_eq!(
        (outcome.text.as_str(), outcome.finish_reason.as_str()),
        ("", "tool_calls")
    );
}

#[test]
fn a_response_that_was_cut_says_why() {
    let cut = |reason: &str| {
        format!(r#","status":"incomplete","incomplete_details":{{"reason":"{reason}"}}"#)
    };
    for (output, more, reason, truncated, filtered) in [
        (
            SAYS_X,
            cut("max_output_tokens"),
            "max_output_tokens",
            true,
            false,
        ),
        // All of the limit was spent on thinking.
        (
            r#"[{"type":"reasoning"}]"#,
            cut("max_output_tokens"),
            "max_output_tokens",
            true,
            false,
        ),
        (SAYS_X, cut("content_filter"), "content_filter", false, true),
        ("[]", cut("content_filter"), "content_filter", false, true),
        (
            SAYS_X,
            r#","status":"incomplete""#.to_owned(),
            "incomplete",
            true,
            false,
        ),
        (SAYS_X, cut("max_turns"), "max_turns", true, false),
    ] {
        let body = response(output, &more);
        let outcome = ok(Kind::Response, &body);
        assert_eq!(outcome.finish_reason, reason, "{body}");
        assert_eq!(
            (outcome.truncated, outcome.filtered),
            (truncated, filtered),
            "{body}"
        );
        assert!(!outcome.is_shareable(), "{body}");
    }
}

#[test]
fn a_refusal_stands_for_the_text_where_there_is_none() {
    let parts = |parts: &str| {
        let output = format!(r#"[{{"type":"message","content":[{parts}]}}]"#);
        ok(
            Kind::Response,
            &response(&output, r#","status":"completed""#),
        )
    };
    let refused = parts(r#"{"type":"refusal","refusal":"I won't"}"#);
    assert!(refused.refused);
    assert_eq!(refused.text, "I won't");
    let both =
        parts(r#"{"type":"output_text","text":"half"},{"type":"refusal","refusal":"I won't"}"#);
    assert!(both.refused);
    assert_eq!(both.text, "half");
}

#[test]
fn a_response_that_failed_is_an_error_with_its_code() {
    for (more, code) in [
        (
            r#","status":"failed","error":{"code":"rate_limit_exceeded","message":"x"}"#,
            Some("rate_limit_exceeded"),
        ),
        (
            r#","status":"failed","error":{"code":"server_error","message":"x"}"#,
            Some("server_error"),
        ),
        (r#","status":"failed","error":null"#, None),
        (r#","error":{"message":"x","code":500}"#, Some("500")),
    ] {
        let body = response(SAYS_X, more);
        let Err(NoAnswer::Error(error)) = read(Kind::Response, body, "m") else {
            panic!("{more}");
        };
        assert_eq!(error.code.as_deref(), code, "{more}");
    }
}

#[test]
fn embeddings_as_numbers_and_as_bytes() {
    for (body, model, input) in [
        // OpenAI, Azure and LiteLLM.
        (
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0023,-9.3e-03]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            "text-embedding-3-small",
            8,
        ),
        (
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAEA="}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            "text-embedding-3-small",
            8,
        ),
        // vLLM counts what was written too.
        (
            r#"{"id":"embd-1","object":"list","created":1,"model":"BAAI/bge-m3","data":[{"index":0,"object":"embedding","embedding":[1,2]},{"index":1,"object":"embedding","embedding":[3,4]}],"usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0,"prompt_tokens_details":null}}"#,
            "BAAI/bge-m3",
            9,
        ),
        // llama.cpp without pooling has a vector for each token.
        (
            r#"{"model":"","object":"list","usage":{"prompt_tokens":2,"total_tokens":2},"data":[{"embedding":[[1.0],[2.0]],"index":0,"object":"embedding"}]}"#,
            "asked",
            2,
        ),
        // Ollama.
        (
            r#"{"object":"list","data":[{"object":"embedding","embedding":[0.1],"index":0}],"model":"all-minilm","usage":{"total_tokens":5}}"#,
            "all-minilm",
            5,
        ),
        (r#"{"data":[{"embedding":[0.1]}],"usage":null}"#, "asked", 0),
    ] {
        let outcome = ok(Kind::Embedding, body);
        assert_eq!((outcome.text, outcome.finish_reason), Default::default());
        assert_eq!(outcome.model, model);
        assert_eq!(outcome.usage, used(input, 0, 0, 0));
    }
}

#[test]
fn a_reply_without_what_its_kind_must_hold_is_never_a_success() {
    let text = r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#;
    let vectors = r#"{"data":[{"embedding":[1]}]}"#;
    let says_x = response(SAYS_X, "");
    let begun = response(SAYS_X, r#","status":"in_progress""#);
    let cases = [
        (Kind::Completion, vectors),
        (Kind::Completion, says_x.as_str()),
        (
            Kind::Completion,
            r#"{"choices":[{"text":null,"finish_reason":"stop"}]}"#,
        ),
        (Kind::Response, text),
        (Kind::Response, vectors),
        (Kind::Response, r#"{"status":"completed","output":[]}"#),
        (
            Kind::Response,
            r#"{"status":"completed","output":[{"type":"reasoning","content":[{"text":"hm"}]}]}"#,
        ),
        (
            Kind::Response,
            r#"{"status":"completed","output":[{"type":"message","content":[]}]}"#,
        ),
        // To be answered later.
        (Kind::Response, r#"{"status":"queued","output":[]}"#),
        (Kind::Response, begun.as_str()),
        (Kind::Response, r#"{"status":"cancelled","output":[]}"#),
        (Kind::Response, r#"{"status":"completed","output":"x"}"#),
        (Kind::Embedding, text),
        (Kind::Embedding, says_x.as_str()),
        (Kind::Embedding, r#"{"data":[]}"#),
        (Kind::Embedding, r#"{"data":[{"embedding":[1]},{}]}"#),
        (Kind::Embedding, r#"{"data":[{"embedding":[ ]}]}"#),
        (Kind::Embedding, r#"{"data":[{"embedding":""}]}"#),
        (Kind::Embedding, r#"{"data":[{"embedding":null}]}"#),
        (Kind::Embedding, r#"{"data":[{"embedding":{"x":1}}]}"#),
        (Kind::Embedding, r#"{"data":[{"embedding":[1"#),
        (Kind::Embedding, "[]"),
    ];
    for (kind, body) in cases {
        assert_eq!(
            read(kind, body.to_owned(), "m"),
            Err(NoAnswer::Unreadable),
            "{kind:?} {body}"
        );
    }
    for kind in Kind::ALL {
        let error = r#"{"error":{"message":"x","code":"model_not_found"}}"#;
        assert!(matches!(
            read(kind, error.to_owned(), "m"),
            Err(NoAnswer::Error(_))
        ));
    }
}
