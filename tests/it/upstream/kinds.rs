//! Calls of every kind against the simulation, over real sockets.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidings::{
    model::{Budget, ErrorCode, Kind, Outcome, Recourse},
    simulator::{Config, Ended, Fault, Limits, answer_to, hash16},
    upstream::{Call, Listener},
};

use crate::support::upstream::{call, client_of, simulate, simulate_faults};

/// Keeps what it hears of the last send.
#[derive(Default)]
struct Ear(Mutex<String>);

impl Listener for Ear {
    fn begin(&self) {
        self.0.lock().unwrap().clear();
    }

    fn hear(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

/// What asks for an answer to `hello`.
fn asks(kind: Kind) -> Value {
    match kind {
        Kind::Chat => json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]}),
        Kind::Response => json!({"model": "m", "input": "hello"}),
        Kind::Completion => json!({"model": "m", "prompt": "hello"}),
        Kind::Embedding => json!({"model": "m", "input": "hello"}),
    }
}

fn call_of(kind: Kind, body: &Value) -> Call {
    Call {
        kind,
        body: body.to_string().into(),
        model: "m".to_owned(),
        ..call("hello")
    }
}

/// A call that is heard, whose body asks for a stream itself.
fn heard(kind: Kind) -> (Call, Arc<Ear>) {
    let mut body = asks(kind);
    body["stream"] = json!(true);
    if kind.has_stream_options() {
        body["stream_options"] = json!({"include_usage": true});
    }
    let ear = Arc::new(Ear::default());
    let listener: Option<Arc<dyn Listener>> = Some(ear.clone());
    let call = Call {
        listener,
        ..call_of(kind, &body)
    };
    (call, ear)
}

/// The body without what differs from call to call.
fn same(outcome: &Outcome) -> Value {
    let mut body: Value = serde_json::from_str(&outcome.body).unwrap();
    for member in ["id", "created", "created_at"] {
        if body.get(member).is_some() {
            body[member] = json!(0);
        }
    }
    if body["output"][0].is_object() {
        body["output"][0]["id"] = json!(0);
    }
    if body["choices"][0]["message"].is_object() {
        body["choices"][0]["message"]["refusal"] = json!(null);
    }
    body
}

const TEXTS: [Kind; 3] = [Kind::Chat, Kind::Response, Kind::Completion];

#[tokio::test]
async fn a_streamed_answer_of_every_kind_is_that_of_one_piece() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    for kind in TEXTS {
        let whole = call_of(kind, &asks(kind));
        let whole = client.complete(&whole, async {}).await.unwrap();
        assert_eq!(whole.text, answer_to("hello"), "{kind:?}");
        let (call, ear) = heard(kind);
        let streamed = client.complete(&call, async {}).await.unwrap();
        assert_eq!(*ear.0.lock().unwrap(), whole.text, "{kind:?}");
        assert_eq!(same(&streamed), same(&whole), "{kind:?}");
        assert!(streamed.usage.output_tokens > 0);
        let streamed = Outcome {
            body: whole.body.clone(),
            ..streamed
        };
        assert_eq!(streamed, whole);
    }
    let calls = upstream.calls();
    assert_eq!(calls.len(), 6);
    for (index, call) in calls.iter().enumerate() {
        assert_eq!(call.path, TEXTS[index / 2].path());
        assert_eq!(call.streamed, index % 2 == 1);
        assert_eq!(call.prompt, hash16("hello"));
        assert_eq!(call.ended, Ended::Answered);
        assert_eq!(call.billed_tokens, call.input_tokens + call.output_tokens);
    }
}

#[tokio::test]
async fn only_kinds_that_know_stream_options_are_asked_with_them() {
    let refusal = r#"{"error":{"message":"x","param":"stream_options"}}"#;
    for kind in TEXTS {
        let upstream = simulate_faults([Fault::reply(400, &[], refusal)]).await;
        let ear: Arc<dyn Listener> = Arc::new(Ear::default());
        let call = Call {
            listener: Some(ear),
            ..call_of(kind, &asks(kind))
        };
        let client = client_of(upstream.base_url());
        let ended = client.complete(&call, async {}).await;
        // Asked without them from the beginning, there is nothing to be left out.
        assert_eq!(ended.is_ok(), kind != Kind::Response, "{kind:?}");
        assert_eq!(
            upstream.finished_calls(),
            if ended.is_ok() { 2 } else { 1 },
            "{kind:?}"
        );
        assert!(upstream.calls().last().unwrap().streamed || ended.is_err());
    }
}

#[tokio::test]
async fn embeddings_are_the_same_each_time_and_say_that_they_are_simulated() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    let call = call_of(Kind::Embedding, &asks(Kind::Embedding));
    let one = client.complete(&call, async {}).await.unwrap();
    let two = client.complete(&call, async {}).await.unwrap();
    assert_eq!(one, two);
    assert_eq!(one.text, "");
    assert_eq!((one.usage.input_tokens, one.usage.output_tokens), (2, 0));
    let body: Value = serde_json::from_str(&one.body).unwrap();
    assert_eq!(body["system_fingerprint"], "simulated");
    let other = json!({"model": "m", "input": ["hello", "world"]});
    let other = call_of(Kind::Embedding, &other);
    let other = client.complete(&other, async {}).await.unwrap();
    let other: Value = serde_json::from_str(&other.body).unwrap();
    assert_eq!(other["data"][0], body["data"][0]);
    assert_ne!(other["data"][1]["embedding"], body["data"][0]["embedding"]);
    assert!(upstream.calls().iter().all(|call| call.output_tokens == 0));
}

/// How each kind fails under these faults: as code and budget.
async fn fails(kind: Kind, fault: Fault, is_streamed: bool) -> (ErrorCode, Option<Budget>) {
    let upstream = simulate_faults([fault]).await;
    let call = match is_streamed {
        true => heard(kind).0,
        false => call_of(kind, &asks(kind)),
    };
    let client = client_of(upstream.base_url());
    let failed = client.complete(&call, async {}).await.unwrap_err();
    let budget = match failed.recourse {
        Recourse::Retry { budget, .. } => Some(budget),
        _ => None,
    };
    (failed.failure.code, budget)
}

#[tokio::test]
async fn every_kind_fails_by_the_same_table() {
    for kind in Kind::ALL {
        for (fault, code, budget) in [
            (
                Fault::Status(500),
                ErrorCode::UpstreamError,
                Some(Budget::Attempts),
            ),
            (Fault::InsufficientQuota, ErrorCode::QuotaExhausted, None),
            (
                Fault::EmptyChoices,
                ErrorCode::UpstreamBadResponse,
                Some(Budget::Ambiguous),
            ),
            (
                Fault::Reset,
                ErrorCode::UpstreamConnectionLost,
                Some(Budget::Ambiguous),
            ),
        ] {
            assert_eq!(fails(kind, fault, false).await, (code, budget), "{kind:?}");
        }
    }
    for kind in TEXTS {
        assert_eq!(
            fails(kind, Fault::Truncated, true).await,
            (ErrorCode::StreamTruncated, Some(Budget::Ambiguous)),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn limits_hold_for_every_kind_and_charge_what_may_be_written() {
    for kind in Kind::ALL {
        let upstream = simulate(Config {
            limits: Limits {
                // A thousand a second, which is as much as is let through at once.
                tokens_per_minute: Some(60_000),
                ..Limits::default()
            },
            ..Config::default()
        })
        .await;
        let mut body = asks(kind);
        let member = match kind {
            Kind::Response => "max_output_tokens",
            _ => "max_tokens",
        };
        body[member] = json!(400);
        let call = call_of(kind, &body);
        let client = client_of(upstream.base_url());
        client.complete(&call, async {}).await.unwrap();
        let charged = upstream.calls()[0].charged_tokens;
        let written = if kind.is_sampled() { 400 } else { 0 };
        assert_eq!(charged, 2 + written, "{kind:?}");
    }
}
