//! Answers that come as streams, over real sockets.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use tidings::{
    model::{Budget, ErrorCode, Failed, Outcome, Recourse},
    simulator::{Config, Fault, Running, answer_to},
    upstream::{self, Call, Client, Listener},
};
use tokio::task::JoinSet;

use crate::support::{
    teller::Teller,
    upstream::{call, client_of, eventually, simulate, simulate_faults},
};

/// Keeps what it hears of each send.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Listener for Ear {
    fn begin(&self) {
        self.0.lock().unwrap().push(String::new());
    }

    fn hear(&self, text: &str) {
        self.0.lock().unwrap().last_mut().unwrap().push_str(text);
    }
}

impl Ear {
    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A call that is heard.
fn heard(prompt: &str) -> (Call, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let mut call = call(prompt);
    call.listener = Some(ear.clone());
    (call, ear)
}

/// What a call comes to, and what was heard of it.
async fn complete(upstream: &Running) -> (Result<Outcome, Failed>, Vec<String>) {
    let (call, ear) = heard("hello");
    let client = client_of(upstream.base_url());
    let result = client.complete(&call, async {}).await;
    (result, ear.heard())
}

fn sse(body: &str) -> Fault {
    Fault::reply(200, &[("content-type", "text/event-stream")], body)
}

const TEXT: &str = r#"data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[tokio::test]
async fn a_streamed_answer_is_that_of_one_piece() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    let (call_heard, ear) = heard("hello");
    let streamed = client.complete(&call_heard, async {}).await.unwrap();
    let heard = ear.heard();
    let whole = client.complete(&call("hello"), async {}).await.unwrap();

    let asked: Vec<bool> = upstream.calls().iter().map(|call| call.streamed).collect();
    assert_eq!(asked, [true, false]);
    assert_eq!(heard, [answer_to("hello")]);
    let body = |outcome: &Outcome| -> serde_json::Value {
        let mut body: serde_json::Value = serde_json::from_str(&outcome.body).unwrap();
        // What differs from call to call.
        body["id"] = json!("");
        body["created"] = json!(0);
        body["choices"][0]["message"]["refusal"] = json!(null);
        body
    };
    assert_eq!(body(&streamed), body(&whole));
    assert!(streamed.usage.output_tokens > 0);
    let same = Outcome {
        body: whole.body.clone(),
        ..streamed
    };
    assert_eq!(same, whole);
    assert_eq!(upstream.accepted_connections(), 1, "its end was read");
}

#[tokio::test]
async fn an_answer_in_one_piece_is_as_good_and_a_stream_nobody_asked_for_too() {
    let whole = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let stream = format!("{TEXT}\n\n{STOP}\n\n");
    let silent = Fault::reply(200, &[("content-type", "text/plain")], stream.as_str());
    let upstream = simulate_faults([
        Fault::reply(200, &[], whole),
        sse(whole),
        silent,
        sse(&stream),
    ])
    .await;
    for said in ["", "", "a"] {
        let (outcome, heard) = complete(&upstream).await;
        assert_eq!(
            (outcome.unwrap().text.as_str(), heard[0].as_str()),
            ("a", said)
        );
    }
    let client = client_of(upstream.base_url());
    let outcome = client.complete(&call("hello"), async {}).await.unwrap();
    assert_eq!(outcome.text, "a");
}

#[tokio::test]
async fn a_server_that_does_not_know_stream_options_is_asked_once_without() {
    let refusal =
        r#"{"error":{"message":"x","type":"invalid_request_error","param":"stream_options"}}"#;
    let refusal = || Fault::reply(400, &[], refusal);
    let upstream = simulate_faults([refusal()]).await;
    let client = client_of(upstream.base_url());
    for (sends, calls) in [(2, 2), (1, 3)] {
        let (call, ear) = heard("hello");
        let outcome = client.complete(&call, async {}).await.unwrap();
        assert_eq!(outcome.text, answer_to("hello"));
        assert_eq!(outcome.usage.output_tokens, 0, "it was not asked for again");
        assert_eq!(ear.heard().len(), sends);
        assert_eq!(ear.heard().last(), Some(&answer_to("hello")));
        assert_eq!(upstream.finished_calls(), calls);
    }
    let (mut other, _) = heard("hello");
    other.model = "other".to_owned();
    let outcome = client.complete(&other, async {}).await.unwrap();
    assert!(
        outcome.usage.output_tokens > 0,
        "another model is asked for it"
    );

    let upstream = simulate_faults([refusal(), refusal()]).await;
    let client = client_of(upstream.base_url());
    let failed = client
        .complete(&heard("hello").0, async {})
        .await
        .unwrap_err();
    assert_eq!(failed.failure.code, ErrorCode::InvalidRequest);
    assert!(!failed.failure.maybe_billed);
    assert_eq!(upstream.finished_calls(), 2);
    let outcome = client.complete(&heard("hello").0, async {}).await.unwrap();
    assert!(outcome.usage.output_tokens > 0, "it was not the options");
}

#[tokio::test]
async fn what_is_asked_again_without_options_has_a_turn_of_its_own() {
    let refusal = Fault::reply(400, &[], r#"{"error":{"param":"stream_options"}}"#);
    let upstream = simulate_faults([refusal]).await;
    let client = Client::new(upstream::Config {
        requests_per_minute: NonZeroU64::new(60),
        ..upstream::Config::new(upstream.base_url())
    })
    .unwrap();
    let start = Instant::now();
    let (call, _) = heard("hello");
    client.complete(&call, async {}).await.unwrap();
    assert_eq!(upstream.finished_calls(), 2);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_body_that_says_itself_how_to_be_answered_is_passed_on_unchanged() {
    let refusal = Fault::reply(400, &[], r#"{"error":{"param":"stream_options"}}"#);
    let upstream = simulate_faults([refusal]).await;
    let (mut call, ear) = heard("hello");
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": "m", "messages": messages, "stream": true,
                      "stream_options": {"include_usage": true}});
    call.body = body.to_string().into();
    let client = client_of(upstream.base_url());
    let failed = client.complete(&call, async {}).await.unwrap_err();
    assert_eq!(failed.failure.code, ErrorCode::InvalidRequest);
    assert_eq!(upstream.finished_calls(), 1, "nothing is left out of it");
    let outcome = client.complete(&call, async {}).await.unwrap();
    assert_eq!(ear.heard().last(), Some(&outcome.text));
    assert!(outcome.usage.output_tokens > 0);
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_passes_as_an_answer() {
    let cut = format!("{TEXT}\n\n");
    let upstream = simulate_faults([Fault::Truncated, sse(&cut), sse("")]).await;
    for said in ["simul", "a", ""] {
        let (failed, heard) = complete(&upstream).await;
        let failed = failed.unwrap_err();
        let Recourse::Retry { budget, .. } = failed.recourse else {
            panic!("{failed:?}");
        };
        assert_eq!(budget, Budget::Ambiguous);
        assert!(failed.failure.maybe_billed);
        assert!(heard[0].starts_with(said), "{heard:?}");
        if !said.is_empty() {
            assert_eq!(failed.failure.code, ErrorCode::StreamTruncated);
        }
    }
}

#[tokio::test]
async fn an_answer_without_the_last_words_of_a_stream_is_whole() {
    let no_end = format!("{TEXT}\n\n{STOP}\n\n");
    let no_reason = format!("{TEXT}\n\ndata: [DONE]\n\n");
    let strange = format!(": hi\r\nretry: 1\r\n\r\n{TEXT}\r\n\r\n{STOP}\r\rdata:[DONE]");
    let upstream = simulate_faults([sse(&no_end), sse(&no_reason), sse(&strange)]).await;
    for reason in ["stop", "unknown", "stop"] {
        let outcome = complete(&upstream).await.0.unwrap();
        assert_eq!(
            (outcome.text.as_str(), outcome.finish_reason.as_str()),
            ("a", reason)
        );
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_judged_by_its_own_code() {
    let error = |code: &str| format!(r#"data: {{"error":{{"message":"hello","code":"{code}"}}}}"#);
    let late = sse(&format!("{TEXT}\n\n{}\n\n", error("503")));
    let first = sse(&format!("{}\n\n", error("503")));
    let money = sse(&format!("{TEXT}\n\n{}\n\n", error("insufficient_quota")));
    let upstream = simulate_faults([late, first, money]).await;
    for (code, billed) in [
        (ErrorCode::UpstreamStreamError, true),
        (ErrorCode::UpstreamOverloaded, false),
        (ErrorCode::QuotaExhausted, true),
    ] {
        let failed = complete(&upstream).await.0.unwrap_err();
        assert_eq!(
            (failed.failure.code, failed.failure.maybe_billed),
            (code, billed)
        );
        assert!(
            !failed.failure.message.contains("hello"),
            "free text is not kept"
        );
    }
    assert_eq!(upstream.finished_calls(), 3);
}

#[tokio::test]
async fn dropping_a_call_closes_its_socket_in_the_midst_of_the_answer() {
    let upstream = Teller::start().await;
    let client = client_of(upstream.base_url.clone());
    let mut calls = JoinSet::new();
    let mut ears = Vec::new();
    for _ in 0..8 {
        let (call, ear) = heard("cancel me");
        ears.push(ear);
        let client = client.clone();
        calls.spawn(async move { client.complete(&call, async {}).await });
    }
    eventually("all calls have come", || upstream.calls() == 8).await;
    (0..8).for_each(|call| upstream.say(call, "a"));
    eventually("every answer is heard", || {
        ears.iter().all(|ear| ear.heard() == ["a"])
    })
    .await;
    assert_eq!(upstream.hung_up(), 0);
    calls.shutdown().await;
    eventually("all callers have hung up", || upstream.hung_up() == 8).await;
}
