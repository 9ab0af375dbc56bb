//! The simulation as any HTTP client sees it.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidings::simulator::{
    Config, Ended, Fault, Faults, Latency, Limits, LogWriter, Running, Simulator, answer_to,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::upstream::{Lines, call, client_of, eventually, simulate, simulate_faults};

pub(super) async fn post(upstream: &Running, body: &Value) -> reqwest::Response {
    post_to(&upstream.base_url(), None, body).await
}

pub(super) async fn post_as(upstream: &Running, key: &str, body: &Value) -> reqwest::Response {
    post_to(&upstream.base_url(), Some(key), body).await
}

pub(super) async fn post_to(base_url: &str, key: Option<&str>, body: &Value) -> reqwest::Response {
    // Installs the TLS provider that every client of this kind needs.
    let _ = client_of(base_url.to_owned());
    let mut request = reqwest::Client::new()
        .post(format!("{base_url}/chat/completions"))
        .body(body.to_string());
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap()
}

pub(super) fn asks(prompt: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": prompt}]})
}

#[tokio::test]
async fn a_stream_has_deltas_usage_and_an_end() {
    let upstream = simulate(Config::default()).await;
    let mut body = asks("hello");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let response = post(&upstream, &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-tidings-simulated"], "true");
    let text = response.text().await.unwrap();
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let said: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, answer_to("hello"));
    let usage = chunks.last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        chunks[chunks.len() - 2]["choices"][0]["finish_reason"],
        "stop"
    );
    let call = &upstream.calls()[0];
    assert!(call.streamed);
    assert_eq!(call.ended, Ended::Answered);
}

#[tokio::test]
async fn a_stream_can_break_off() {
    let upstream = simulate_faults([Fault::Truncated]).await;
    let mut body = asks("hello");
    body["stream"] = json!(true);
    let mut response = post(&upstream, &body).await;
    let mut seen = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert!(end.is_err());
    assert!(String::from_utf8(seen).unwrap().starts_with("data: "));
}

#[tokio::test]
async fn bad_requests_are_refused_in_openai_shape() {
    let upstream = simulate(Config {
        models: vec!["m".to_owned()],
        ..Config::default()
    })
    .await;
    for (body, status, code) in [
        (json!("no object"), 400, Value::Null),
        (json!({}), 400, Value::Null),
        (json!({"model": "m"}), 400, Value::Null),
        (json!({"model": "m", "messages": []}), 400, Value::Null),
        (
            json!({"model": "x", "messages": [{"role": "user", "content": "a"}]}),
            404,
            json!("model_not_found"),
        ),
    ] {
        let response = post(&upstream, &body).await;
        assert_eq!(response.status(), status, "{body}");
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert_eq!(error["error"]["code"], code);
        assert!(error["error"]["message"].is_string());
    }
    assert!(
        upstream
            .calls()
            .iter()
            .all(|call| call.ended == Ended::Refused)
    );
}

#[tokio::test]
async fn models_are_listed_as_simulated() {
    let upstream = simulate(Config::default()).await;
    let _ = client_of(upstream.base_url());
    let list = reqwest::get(upstream.base_url() + "/models").await.unwrap();
    let list: Value = serde_json::from_str(&list.text().await.unwrap()).unwrap();
    assert_eq!(list["data"][0]["owned_by"], "tidings-simulation");
    let nothing = reqwest::get(upstream.base_url() + "/nothing")
        .await
        .unwrap();
    assert_eq!(nothing.status(), 404);
}

#[tokio::test]
async fn limits_are_told_in_headers() {
    let upstream = simulate(Config {
        limits: Limits {
            requests_per_minute: Some(60),
            ..Limits::default()
        },
        ..Config::default()
    })
    .await;
    let first = post(&upstream, &asks("a")).await;
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()["x-ratelimit-limit-requests"], "60");
    assert_eq!(first.headers()["x-ratelimit-remaining-requests"], "0");
    let second = post(&upstream, &asks("b")).await;
    assert_eq!(second.status(), 429);
    assert_eq!(second.headers()["retry-after"], "1");
    assert!(second.headers().contains_key("retry-after-ms"));
    assert!(
        second.headers()["x-ratelimit-reset-requests"]
            .to_str()
            .unwrap()
            .ends_with('s')
    );
}

#[tokio::test]
async fn only_first_attempts_fail_where_told_so() {
    let upstream = simulate(Config {
        faults: Faults {
            first_attempts: Some(1),
            ..Faults::always(Fault::Status(500))
        },
        ..Config::default()
    })
    .await;
    for prompt in ["a", "b"] {
        assert_eq!(post(&upstream, &asks(prompt)).await.status(), 500);
        assert_eq!(post(&upstream, &asks(prompt)).await.status(), 200);
    }
    let attempts: Vec<u32> = upstream.calls().iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [1, 2, 1, 2]);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let upstream = simulate(Config {
            seed: 42,
            faults: Faults {
                rates: vec![(Fault::Status(500), 0.5)],
                ..Faults::default()
            },
            ..Config::default()
        })
        .await;
        let client = client_of(upstream.base_url());
        for n in 0..50 {
            let _ = client.complete(&call(&n.to_string()), async {}).await;
        }
        outcomes.push(
            upstream
                .calls()
                .iter()
                .map(|call| call.status)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert!(outcomes[0].contains(&Some(500)) && outcomes[0].contains(&Some(200)));
}

#[tokio::test]
async fn latency_is_waited_for() {
    let upstream = simulate(Config {
        latency: Latency::Fixed(Duration::from_millis(100)),
        ..Config::default()
    })
    .await;
    let start = Instant::now();
    post(&upstream, &asks("a")).await;
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn every_call_is_one_line_of_the_log() {
    let lines = Lines::default();
    let upstream = simulate(Config {
        log: Some(LogWriter::new(lines.clone())),
        faults: Faults::in_order([Fault::Reset]),
        ..Config::default()
    })
    .await;
    let client = client_of(upstream.base_url());
    client
        .complete(&call("secret prompt"), async {})
        .await
        .unwrap_err();
    client
        .complete(&call("secret prompt"), async {})
        .await
        .unwrap();
    let text = lines.text();
    let read: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0]["ended"], "faulted");
    assert_eq!(read[0]["fault"], "reset");
    assert_eq!(read[1]["ended"], "answered");
    assert!(read[1]["time_in"].as_str().unwrap().ends_with('Z'));
    assert!(!text.contains("secret prompt"));
}

#[tokio::test]
async fn shutting_down_frees_the_port_and_ends_open_calls() {
    let upstream = simulate_faults([Fault::Stall]).await;
    let client = client_of(upstream.base_url());
    let pending = tokio::spawn(async move { client.complete(&call("x"), async {}).await });
    eventually("the call has come", || upstream.open_calls() == 1).await;
    upstream.shutdown().await;
    assert!(pending.await.unwrap().is_err());
    assert_eq!(upstream.calls()[0].ended, Ended::Stopped);
    let again = Simulator::start(Config::default(), upstream.addr())
        .await
        .unwrap();
    let taken = Simulator::start(Config::default(), again.addr())
        .await
        .unwrap_err();
    assert!(taken.to_string().starts_with("listen on 127.0.0.1:"));
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_a_close() {
    let upstream = simulate_faults([Fault::Reset, Fault::Close]).await;
    let body = asks("hello").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for expected in [Err(ErrorKind::ConnectionReset), Ok(0)] {
        let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let read = stream.read(&mut [0; 64]).await;
        assert_eq!(read.map_err(|error| error.kind()), expected);
    }
}
