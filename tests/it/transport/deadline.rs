use std::time::{Duration, Instant};

use tidings::{
    proto::v1::{GetServerInfoRequest, ListTasksRequest, SubmitBatchRequest, WatchTaskRequest},
    simulator,
};
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::{
    SOON,
    raw::{INFO, Raw, status},
    server,
};
use crate::support::{
    eventually,
    server::{Kind, TestServer, assert_lawful, prompt, submit, watch_batch},
};

const DEADLINE: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_at_its_deadline_with_a_status() {
    let mut server = server(|_| {}).await;
    let batch = submit(&mut server.client, [prompt("p")]).await;
    let mut watch = Request::new(WatchTaskRequest {
        task_id: batch.task_ids[0].clone(),
        ..WatchTaskRequest::default()
    });
    watch.set_timeout(DEADLINE);
    let start = Instant::now();
    let mut stream = server.client.watch_task(watch).await.unwrap().into_inner();
    assert!(
        stream.message().await.unwrap().is_some(),
        "it is a watch until then"
    );
    let ended = async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    };
    let status = timeout(SOON, ended).await.expect("it ends");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "DEADLINE_PASSED");
    assert!(start.elapsed() >= DEADLINE, "not before its time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_ends_at_its_deadline() {
    let server = server(|_| {}).await;
    let raw = Raw::connect(&server.endpoint).await;
    let start = Instant::now();
    let (response, _body) = raw.open(INFO, &[("grpc-timeout", "700m")]).await.unwrap();
    let (_, code) = timeout(SOON, status(response)).await.unwrap().unwrap();
    assert_eq!(code, "4");
    assert!(start.elapsed() >= DEADLINE, "not before its time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_cannot_be_read_is_refused() {
    let server = server(|_| {}).await;
    let raw = Raw::connect(&server.endpoint).await;
    for odd in ["soon", "5", "-5S", "999999999S", ""] {
        let info = GetServerInfoRequest {};
        let response = raw.call(INFO, &[("grpc-timeout", odd)], &info).await;
        let (_, code) = status(response).await.unwrap();
        assert_eq!(code, "3", "INVALID_ARGUMENT for {odd:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_past_its_deadline_is_stored_whole_or_not_at_all_and_can_be_repeated() {
    let mut server =
        TestServer::start_with(Kind::Redis, simulator::Config::default(), |_| {}).await;
    let redis = server.home.redis.as_ref().unwrap();
    let mut connection = redis.connect().await.unwrap();
    let request = |n: u32| SubmitBatchRequest {
        tasks: (0..50).map(|task| prompt(format!("{n}/{task}"))).collect(),
        idempotency_key: format!("key {n}"),
        ..SubmitBatchRequest::default()
    };
    let mut late = 0;
    for n in 0..6 {
        let mut pause = ::redis::cmd("CLIENT");
        pause.arg("PAUSE").arg(300).arg("ALL");
        pause.query_async::<()>(&mut connection).await.unwrap();
        let mut call = Request::new(request(n));
        call.set_timeout(Duration::from_millis(60));
        if let Err(status) = server.client.submit_batch(call).await {
            // The client has its own clock for the same deadline, and calls what that says CANCELLED.
            assert!(
                matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
                "{status:?}"
            );
            late += 1;
        }
    }
    assert!(late > 0, "a frozen store answers nobody");
    for n in 0..6 {
        let accepted = eventually("the store is back", SOON, async || {
            let again = server.client.clone().submit_batch(request(n)).await;
            again.ok().map(tonic::Response::into_inner)
        })
        .await;
        assert_eq!(accepted.task_ids.len(), 50);
        let told = watch_batch(&mut server.client, &accepted.batch_id).await;
        assert_lawful(&told);
    }
    let listed = ListTasksRequest {
        page_size: 1_000,
        ..ListTasksRequest::default()
    };
    let listed = server.client.list_tasks(listed).await.unwrap().into_inner();
    assert_eq!(listed.tasks.len(), 300, "each was stored once");
    server.stop().await;
}
