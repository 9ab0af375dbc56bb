//! What arrives when all goes well.

use tidings::simulator::{Config, answer_to, hash16};

use crate::support::upstream::{call, client_of, simulate};

#[tokio::test]
async fn a_prompt_is_answered_and_everything_about_it_is_kept() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    let prompt = " Was kostet\tdas?\r\n\u{feff}🦀 ";
    let outcome = client.complete(&call(prompt), async {}).await.unwrap();
    assert_eq!(outcome.text, answer_to(prompt));
    assert_eq!(outcome.model, "test-model");
    assert_eq!(outcome.finish_reason, "stop");
    assert_eq!(
        outcome.usage.input_tokens,
        (prompt.len() as u64).div_ceil(4)
    );
    assert!(outcome.usage.output_tokens > 0);
    assert!(!outcome.truncated && !outcome.filtered && !outcome.refused);
    let body: serde_json::Value = serde_json::from_str(&outcome.body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], outcome.text);

    let calls = upstream.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].prompt,
        hash16(prompt),
        "the prompt arrived byte for byte"
    );
    assert_eq!(calls[0].idempotency_key, Some(call(prompt).idempotency_key));
    assert_eq!(calls[0].client_request_id.as_deref(), Some("request-1"));
    assert_eq!(calls[0].key, None);
}

#[tokio::test]
async fn a_base_url_may_end_in_a_slash_and_carry_a_query() {
    let upstream = simulate(Config::default()).await;
    for suffix in ["/", "?api-version=2024-10-21", "/?api-version=1&x=y"] {
        let client = client_of(upstream.base_url() + suffix);
        client.complete(&call("hello"), async {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_limit_truncates_and_is_no_failure() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    let mut call = call("hello");
    call.body =
        r#"{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":2}"#.into();
    let outcome = client.complete(&call, async {}).await.unwrap();
    assert!(outcome.truncated);
    assert_eq!(outcome.finish_reason, "length");
    assert_eq!(outcome.usage.output_tokens, 2);
}
