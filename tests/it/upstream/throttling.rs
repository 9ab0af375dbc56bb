//! Rate limits: short ones are waited out, long ones handed back, and one model's do not touch another's.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tidings::{
    model::{Budget, ErrorCode, Recourse, Wait},
    simulator::{Config, Ended, Fault, Limits, Running},
    upstream::{self, Client},
};

use crate::support::upstream::{call, client_of, simulate, simulate_faults};

fn count(upstream: &Running, ended: Ended) -> usize {
    upstream
        .calls()
        .iter()
        .filter(|call| call.ended == ended)
        .count()
}

#[tokio::test]
async fn a_short_rate_limit_is_waited_out_in_the_call() {
    let fault = Fault::reply(429, &[("retry-after-ms", "300")], "");
    let upstream = simulate_faults([fault]).await;
    let start = Instant::now();
    client_of(upstream.base_url())
        .complete(&call("x"), async {})
        .await
        .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(upstream.finished_calls(), 2);
    let calls = upstream.calls();
    assert_eq!(
        calls[0].idempotency_key, calls[1].idempotency_key,
        "it is the same attempt"
    );
}

#[tokio::test]
async fn a_429_without_a_wait_is_waited_out_too() {
    let upstream = simulate_faults([Fault::Status(429), Fault::Status(429)]).await;
    let start = Instant::now();
    client_of(upstream.base_url())
        .complete(&call("x"), async {})
        .await
        .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(upstream.finished_calls(), 3);
}

#[tokio::test]
async fn a_long_rate_limit_is_handed_back_and_holds_its_model_only() {
    let fault = Fault::reply(429, &[("retry-after", "90")], "");
    let upstream = simulate_faults([fault]).await;
    let client = client_of(upstream.base_url());
    let failed = client.complete(&call("x"), async {}).await.unwrap_err();
    assert_eq!(failed.failure.code, ErrorCode::RateLimited);
    assert_eq!(failed.failure.http_status, 429);
    let wait = Wait::Told(Duration::from_secs(90));
    let budget = Budget::Time;
    assert_eq!(failed.recourse, Recourse::Retry { budget, wait });

    let held = client.complete(&call("y"), async {}).await.unwrap_err();
    assert_eq!(held.failure.code, ErrorCode::RateLimited);
    assert_eq!(held.failure.http_status, 0, "it was not sent");
    assert_eq!(upstream.finished_calls(), 1);

    let mut other = call("z");
    other.model = "another-model".to_owned();
    client.complete(&other, async {}).await.unwrap();
}

#[tokio::test]
async fn a_rate_limit_that_ends_its_task_holds_the_others_back_all_the_same() {
    let headers = [("retry-after", "90"), ("x-should-retry", "false")];
    let upstream = simulate_faults([Fault::reply(429, &headers, "")]).await;
    let client = client_of(upstream.base_url());
    let failed = client.complete(&call("x"), async {}).await.unwrap_err();
    assert_eq!(failed.recourse, Recourse::Never);
    let held = client.complete(&call("y"), async {}).await.unwrap_err();
    assert_eq!(held.failure.code, ErrorCode::RateLimited);
    assert_eq!(upstream.finished_calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_calls_gets_through_a_limit_without_losing_one() {
    let upstream = simulate(Config {
        limits: Limits {
            requests_per_minute: Some(6_000),
            burst: Duration::from_millis(200),
            ..Limits::default()
        },
        ..Config::default()
    })
    .await;
    let client = client_of(upstream.base_url());
    let start = Instant::now();
    stream::iter(0..200)
        .for_each_concurrent(32, async |n| {
            client
                .complete(&call(&n.to_string()), async {})
                .await
                .unwrap();
        })
        .await;
    assert_eq!(count(&upstream, Ended::Answered), 200);
    // Until the first replies tell the limit, it can be passed.
    assert!(count(&upstream, Ended::Throttled) <= 32);
    // 20 at once and 100 a second after that.
    assert!(
        start.elapsed() >= Duration::from_millis(1_750),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_replies_tell_is_kept_to_from_then_on() {
    let upstream = simulate(Config {
        limits: Limits {
            requests_per_minute: Some(3_000),
            charge_refused: true,
            ..Limits::default()
        },
        ..Config::default()
    })
    .await;
    let client = client_of(upstream.base_url());
    stream::iter(0..250)
        .for_each_concurrent(24, async |n| {
            client
                .complete(&call(&n.to_string()), async {})
                .await
                .unwrap();
        })
        .await;
    assert_eq!(count(&upstream, Ended::Answered), 250);
    assert_eq!(count(&upstream, Ended::Throttled), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_configured_is_kept_to_though_nobody_else_does() {
    let upstream = simulate(Config::default()).await;
    let client = Client::new(upstream::Config {
        requests_per_minute: NonZeroU64::new(1_200),
        ..upstream::Config::new(upstream.base_url())
    })
    .unwrap();
    let start = Instant::now();
    stream::iter(0..40)
        .for_each_concurrent(8, async |n| {
            client
                .complete(&call(&n.to_string()), async {})
                .await
                .unwrap();
        })
        .await;
    // A quarter of a second's worth comes at once, the rest at 20 a second.
    assert!(
        start.elapsed() >= Duration::from_millis(1_650),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_request_above_the_whole_limit_is_never_retried() {
    let upstream = simulate(Config {
        limits: Limits {
            tokens_per_minute: Some(600),
            ..Limits::default()
        },
        ..Config::default()
    })
    .await;
    let prompt = "long ".repeat(1_000);
    let failed = client_of(upstream.base_url())
        .complete(&call(&prompt), async {})
        .await
        .unwrap_err();
    assert_eq!(failed.failure.code, ErrorCode::RequestExceedsQuota);
    assert_eq!(failed.recourse, Recourse::Never);
}
