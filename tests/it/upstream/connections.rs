//! Connections are reused, and closed when nobody waits for the answer.

use std::time::Duration;

use futures::{StreamExt, stream};
use tidings::simulator::{Config, Ended, Fault, Latency};
use tokio::task::JoinSet;

use crate::support::upstream::{call, client_of, eventually, simulate, simulate_faults};

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    for n in 0..1_000 {
        client
            .complete(&call(&n.to_string()), async {})
            .await
            .unwrap();
    }
    assert_eq!(upstream.accepted_connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_use_no_more_connections_than_calls() {
    const IN_FLIGHT: usize = 256;
    let upstream = simulate(Config {
        latency: Latency::Fixed(Duration::from_millis(20)),
        ..Config::default()
    })
    .await;
    let client = client_of(upstream.base_url());
    stream::iter(0..2_000)
        .for_each_concurrent(IN_FLIGHT, async |n| {
            client
                .complete(&call(&n.to_string()), async {})
                .await
                .unwrap();
        })
        .await;
    assert_eq!(upstream.finished_calls(), 2_000);
    let accepted = upstream.accepted_connections();
    // A connection may be opened for a call that then gets one which just became free.
    assert!(accepted <= 2 * IN_FLIGHT as u64, "{accepted} connections");
}

#[tokio::test]
async fn dropping_a_call_closes_its_socket() {
    let upstream = simulate_faults(std::iter::repeat_n(Fault::Stall, 8)).await;
    let client = client_of(upstream.base_url());
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        calls.spawn(async move { client.complete(&call("cancel me"), async {}).await });
    }
    eventually("all calls have come", || upstream.open_calls() == 8).await;
    calls.shutdown().await;
    eventually("all callers have hung up", || upstream.open_calls() == 0).await;
    assert!(upstream.calls().iter().all(|call| call.hung_up()));
    client
        .complete(&call("and then all is well"), async {})
        .await
        .unwrap();
}

#[tokio::test]
async fn a_timeout_closes_the_socket_too() {
    let upstream = simulate_faults([Fault::Stall]).await;
    let mut call = call("x");
    call.timeout = Duration::from_millis(100);
    client_of(upstream.base_url())
        .complete(&call, async {})
        .await
        .unwrap_err();
    eventually("the caller has hung up", || upstream.open_calls() == 0).await;
    assert_eq!(upstream.calls()[0].ended, Ended::HungUp);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let upstream = simulate_faults([Fault::Status(307)]).await;
    client_of(upstream.base_url())
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    assert_eq!(upstream.finished_calls(), 1);
}
