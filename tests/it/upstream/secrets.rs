//! The key goes to the upstream and nowhere else.

use secrecy::SecretString;
use tidings::{
    simulator::{Config, Fault, Faults, hash16},
    upstream::{self, Client},
};

use crate::support::upstream::{Lines, call, simulate};

const KEY: &str = "sk-canary-5d41402abc4b2a76b9719d911017c592";
const PROMPT: &str = "canary prompt 7d793037a0760186574b0282f2f435e7";

fn config(base_url: String) -> upstream::Config {
    upstream::Config {
        api_key: Some(SecretString::from(KEY)),
        ..upstream::Config::new(base_url)
    }
}

#[tokio::test]
async fn the_key_is_sent_and_a_wrong_one_parks() {
    let upstream = simulate(Config {
        api_key: Some(SecretString::from(KEY)),
        ..Config::default()
    })
    .await;
    let client = Client::new(config(upstream.base_url())).unwrap();
    client.complete(&call("x"), async {}).await.unwrap();
    assert_eq!(upstream.calls()[0].key, Some(hash16(KEY)));

    let wrong = upstream::Config {
        api_key: Some(SecretString::from("wrong")),
        ..config(upstream.base_url())
    };
    let failed = Client::new(wrong)
        .unwrap()
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    assert_eq!(failed.failure.http_status, 401);
}

// On one thread, so that the thread's subscriber hears the client's, the simulation's and all libraries' tasks.
#[tokio::test]
async fn neither_key_nor_prompt_is_in_any_failure_or_debug_or_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let echo =
        format!(r#"{{"error":{{"message":"{KEY} {PROMPT}","type":"{KEY}","code":"{KEY}"}}}}"#);
    let headers = [("x-request-id", KEY)];
    let upstream = simulate(Config {
        faults: Faults::in_order(
            [400, 401, 404, 429, 500, 502, 200]
                .map(|status| Fault::reply(status, &headers, echo.clone())),
        ),
        ..Config::default()
    })
    .await;
    let config = config(upstream.base_url());
    let client = Client::new(config.clone()).unwrap();
    let call = call(PROMPT);
    let mut shown = format!("{config:?} {client:?} {call:?}");
    for _ in 0..6 {
        match client.complete(&call, async {}).await {
            Ok(outcome) => assert!(outcome.text.starts_with("simulated:")),
            Err(failed) => shown += &format!("{failed:?} {}", failed.failure.message),
        }
    }
    for call in upstream.calls() {
        shown += &serde_json::to_string(&call).unwrap();
    }
    let logged = lines.text();
    assert!(logged.contains("TRACE"), "the libraries were heard");
    shown += &logged;
    assert!(shown.contains("HTTP 502"), "{shown}");
    assert!(!shown.contains(KEY) && !shown.contains(PROMPT), "{shown}");
}

#[test]
fn a_key_that_no_header_can_carry_is_refused_unseen() {
    for key in ["", "line\nbreak-canary"] {
        let error = Client::new(upstream::Config {
            api_key: Some(SecretString::from(key)),
            ..upstream::Config::new("http://127.0.0.1:1/v1")
        })
        .unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
}
