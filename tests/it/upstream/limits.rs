//! The simulation's limits, lengths and faults by rule, as any HTTP client sees them.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::simulator::{
    AnswerTokens, Config, Ended, Fault, Faults, Headers, Latency, Limits, RetryAfter, Rule,
    Running, TokenCharge,
};

use super::simulation::{asks, post, post_as};
use crate::support::upstream::{eventually, simulate};

async fn limited(limits: Limits) -> Running {
    simulate(Config {
        limits,
        ..Config::default()
    })
    .await
}

fn header<'a>(response: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

async fn usage(response: reqwest::Response) -> (Value, String) {
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let choice = &body["choices"][0];
    (
        body["usage"].clone(),
        choice["finish_reason"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn replies_say_about_the_limits_what_they_are_told_to() {
    for (headers, limit, reset) in [
        (Headers::OpenAi, Some("1"), Some("1m0s")),
        (Headers::Seconds, Some("1"), Some("60")),
        (Headers::MinusOne, Some("-1"), Some("0")),
        (Headers::Zero, Some("0"), Some("0")),
        (Headers::TooHigh, Some("1"), Some("0s")),
        (Headers::Absent, None, None),
    ] {
        let upstream = limited(Limits {
            requests_per_minute: Some(1),
            headers,
            ..Limits::default()
        })
        .await;
        let response = post(&upstream, &asks("a")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "x-ratelimit-limit-requests"), limit);
        assert_eq!(header(&response, "x-ratelimit-reset-requests"), reset);
        let remaining = match headers {
            Headers::TooHigh => Some("1"),
            Headers::Absent => None,
            Headers::MinusOne => Some("-1"),
            _ => Some("0"),
        };
        assert_eq!(
            header(&response, "x-ratelimit-remaining-requests"),
            remaining
        );
    }
}

#[tokio::test]
async fn a_429_asks_for_a_wait_in_every_form() {
    for retry_after in ["both", "ms", "seconds", "date", "none"] {
        let retry_after: RetryAfter = retry_after.parse().unwrap();
        let upstream = limited(Limits {
            requests_per_minute: Some(1),
            headers: Headers::Absent,
            retry_after,
            ..Limits::default()
        })
        .await;
        post(&upstream, &asks("a")).await;
        let response = post(&upstream, &asks("b")).await;
        assert_eq!(response.status(), 429);
        let millis = header(&response, "retry-after-ms").map(|text| text.parse::<u64>().unwrap());
        let seconds = header(&response, "retry-after").and_then(|text| text.parse::<u64>().ok());
        let date =
            header(&response, "retry-after").and_then(|text| httpdate::parse_http_date(text).ok());
        let shape = (millis.is_some(), seconds.is_some(), date.is_some());
        let expected = match retry_after {
            RetryAfter::Both => (true, true, false),
            RetryAfter::Millis => (true, false, false),
            RetryAfter::Seconds => (false, true, false),
            RetryAfter::Date => (false, false, true),
            RetryAfter::Absent => (false, false, false),
        };
        assert_eq!(shape, expected, "{retry_after}");
        assert!(millis.is_none_or(|wait| (1..=60_000).contains(&wait)));
        assert!(seconds.is_none_or(|wait| (1..=60).contains(&wait)));
    }
}

#[tokio::test]
async fn keys_have_quotas_of_their_own() {
    let upstream = limited(Limits {
        requests_per_minute: Some(1),
        ..Limits::default()
    })
    .await;
    for (key, status) in [("one", 200), ("one", 429), ("two", 200), ("two", 429)] {
        assert_eq!(
            post_as(&upstream, key, &asks("a")).await.status(),
            status,
            "{key}"
        );
    }
    let keys: Vec<_> = upstream.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

#[tokio::test]
async fn answers_are_as_long_as_the_seed_says_and_max_tokens_allows() {
    let config = || Config {
        answer_tokens: Some(AnswerTokens { min: 100, max: 300 }),
        seed: 9,
        ..Config::default()
    };
    let (one, two) = (simulate(config()).await, simulate(config()).await);
    let mut lengths = Vec::new();
    for prompt in ["a", "b", "c", "d"] {
        let (said, reason) = usage(post(&one, &asks(prompt)).await).await;
        assert_eq!(said, usage(post(&two, &asks(prompt)).await).await.0);
        assert_eq!(reason, "stop");
        lengths.push(said["completion_tokens"].as_u64().unwrap());
    }
    assert!(lengths.iter().all(|tokens| (100..=300).contains(tokens)));
    assert!(
        lengths.iter().any(|tokens| *tokens != lengths[0]),
        "{lengths:?}"
    );
    let mut short = asks("a");
    short["max_tokens"] = json!(20);
    let (said, reason) = usage(post(&one, &short).await).await;
    assert_eq!(
        (&said["completion_tokens"], reason.as_str()),
        (&json!(20), "length")
    );
}

#[tokio::test]
async fn rules_strike_the_calls_that_they_name() {
    let upstream = simulate(Config {
        faults: Faults {
            rules: vec![
                "429:89s,every=3".parse().unwrap(),
                "insufficient-quota,from=5".parse().unwrap(),
            ],
            ..Faults::default()
        },
        ..Config::default()
    })
    .await;
    let mut seen = Vec::new();
    for n in 0..6 {
        let response = post(&upstream, &asks(&n.to_string())).await;
        let wait = header(&response, "retry-after").map(str::to_owned);
        seen.push((response.status().as_u16(), wait));
    }
    let told = |status: u16, wait: Option<&str>| (status, wait.map(str::to_owned));
    let expected = [
        told(200, None),
        told(200, None),
        told(429, Some("89")),
        told(200, None),
        told(429, None),
        told(429, Some("89")),
    ];
    assert_eq!(seen, expected);
    let never = Faults {
        rules: vec![Rule {
            every: 0,
            ..Rule::new(Fault::Stall)
        }],
        ..Faults::default()
    };
    assert!(upstream.set_faults(never).is_err());
}

#[tokio::test]
async fn the_log_tells_what_was_charged_and_what_is_to_be_paid() {
    let upstream = simulate(Config {
        limits: Limits {
            tokens_per_minute: Some(600_000),
            token_charge: TokenCharge::Larger,
            ..Limits::default()
        },
        faults: Faults::in_order([Fault::Status(500), Fault::Truncated]),
        ..Config::default()
    })
    .await;
    let mut body = asks(&"x".repeat(400));
    body["max_tokens"] = json!(500);
    for _ in 0..3 {
        post(&upstream, &body).await;
    }
    eventually("the calls have ended", || upstream.finished_calls() == 3).await;
    let calls = upstream.calls();
    let charged: Vec<u64> = calls.iter().map(|call| call.charged_tokens).collect();
    assert_eq!(charged, [500; 3]);
    let billed: Vec<u64> = calls.iter().map(|call| call.billed_tokens).collect();
    let whole = calls[2].input_tokens + calls[2].output_tokens;
    assert_eq!(calls[2].input_tokens, 100);
    assert_eq!(
        billed,
        [0, whole, whole],
        "an error costs nothing, a lost answer all"
    );
}

#[tokio::test]
async fn what_was_used_is_charged_when_that_is_the_rule() {
    let upstream = limited(Limits {
        tokens_per_minute: Some(600_000),
        token_charge: TokenCharge::Actual,
        ..Limits::default()
    })
    .await;
    let mut body = asks("x");
    body["max_tokens"] = json!(500);
    post(&upstream, &body).await;
    let call = &upstream.calls()[0];
    assert_eq!(call.charged_tokens, call.input_tokens + call.output_tokens);
    assert!(call.charged_tokens < 20);
}

#[tokio::test]
async fn the_log_tells_when_a_caller_hung_up_and_bills_the_answer() {
    let upstream = simulate(Config {
        latency: Latency::Fixed(Duration::from_secs(600)),
        ..Config::default()
    })
    .await;
    let body = asks("x");
    let waiting = tokio::spawn({
        let url = upstream.base_url();
        async move { super::simulation::post_to(&url, None, &body).await }
    });
    eventually("the call has come", || upstream.open_calls() == 1).await;
    waiting.abort();
    eventually("it hung up", || upstream.finished_calls() == 1).await;
    let call = &upstream.calls()[0];
    assert_eq!((call.ended, call.status), (Ended::HungUp, None));
    assert!(call.time_out.since(call.time_in) < Duration::from_secs(600));
    assert!(call.billed_tokens > 0);
}
