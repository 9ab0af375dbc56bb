use std::time::Duration;

use tidings::proto::v1::{
    GetServerInfoRequest, ListTasksRequest, SubmitBatchRequest, WatchTaskRequest,
};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::{
    SOON,
    raw::{INFO, Raw, status},
    server,
};
use crate::support::server::{connect, prompt, soon, submit};

#[track_caller]
fn assert_overloaded(refused: &Status, key: &str) {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains(key), "{refused:?}");
    let details = refused.get_error_details();
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    assert!(retry.is_some_and(|delay| delay > Duration::ZERO));
    assert_eq!(details.error_info().unwrap().domain, "tidings.dev");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_the_cap_are_refused_until_one_ends() {
    let server = server(|transport| transport.unary_calls = 1).await;
    let deaf = Raw::connect_deaf(&server.endpoint).await;
    // Answered, and not taken: the call is not over.
    let response = deaf.call(INFO, &[], &GetServerInfoRequest {}).await;
    let unread = timeout(SOON, response).await.unwrap().unwrap();
    let mut client = connect(&server.endpoint).await;
    let refused = client.get_server_info(GetServerInfoRequest {}).await;
    assert_overloaded(&refused.unwrap_err(), "limits.unary_calls");
    let channel = tonic::transport::Channel::from_shared(server.endpoint.clone()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    health.check(HealthCheckRequest::default()).await.unwrap();

    drop(unread);

    soon("there is room again", async || {
        client
            .get_server_info(GetServerInfoRequest {})
            .await
            .is_ok()
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_over_the_cap_are_refused_until_one_ends() {
    let mut server = server(|transport| transport.watches = 1).await;
    let batch = submit(&mut server.client, [prompt("p")]).await;
    let watch = || WatchTaskRequest {
        task_id: batch.task_ids[0].clone(),
        ..WatchTaskRequest::default()
    };
    let mut client = connect(&server.endpoint).await;
    let first = client.watch_task(watch()).await.unwrap();
    let mut other = connect(&server.endpoint).await;
    let refused = other.watch_task(watch()).await;
    assert_overloaded(&refused.unwrap_err(), "limits.watches");
    other.list_tasks(ListTasksRequest::default()).await.unwrap();

    drop(first);

    soon("there is room again", async || {
        other.watch_task(watch()).await.is_ok()
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_over_the_cap_are_refused_and_nothing_is_stored() {
    let mut server = server(|transport| transport.request_bytes = 10_000).await;
    let request = |length| SubmitBatchRequest {
        tasks: vec![prompt("x".repeat(length))],
        ..SubmitBatchRequest::default()
    };
    for _ in 0..3 {
        let refused = server.client.submit_batch(request(20_000)).await;
        assert_overloaded(&refused.unwrap_err(), "limits.request_bytes");
    }
    let listed = server.client.list_tasks(ListTasksRequest::default()).await;
    assert!(listed.unwrap().into_inner().tasks.is_empty());
    // What the refused ones had taken has come back.
    for _ in 0..3 {
        server.client.submit_batch(request(9_000)).await.unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_never_end_take_no_calls_from_others_and_are_ended() {
    let mut server = server(|transport| {
        transport.unary_calls = 1;
        transport.request_timeout = Duration::from_secs(1);
    })
    .await;
    let raw = Raw::connect(&server.endpoint).await;
    let mut endless = Vec::new();
    for _ in 0..10 {
        endless.push(raw.open(INFO, &[]).await.unwrap());
    }
    let info = server.client.get_server_info(GetServerInfoRequest {}).await;
    info.expect("the others are no calls yet");
    for (response, _body) in endless {
        let (_, code) = timeout(SOON, status(response)).await.unwrap().unwrap();
        assert_eq!(code, "4", "DEADLINE_EXCEEDED");
    }
    server.stop().await;
}
