//! SIGTERM in mid-batch: nothing lost, nothing charged, everybody told.

use std::time::Duration;

use tidings::{
    proto::v1::{TaskStatus, TransitionCause, WatchBatchRequest},
    simulator::{self, Latency, Running, Simulator},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::support::{
    process::Process,
    server::{
        Home, Kind, assert_lawful, on_each_store, prompt, soon, status_of, submit, watch_batch,
    },
};

on_each_store! {
    running_tasks_finish_within_the_grace,
    tasks_that_outlast_the_grace_go_back_uncharged,
    an_idle_server_stops_at_once,
}

async fn upstream(latency: Duration) -> Running {
    let config = simulator::Config {
        latency: Latency::Fixed(latency),
        ..simulator::Config::default()
    };
    Simulator::start(config, "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
}

async fn running_tasks_finish_within_the_grace(kind: Kind) {
    let home = Home::new(kind).await;
    let upstream = upstream(Duration::from_secs(2)).await;
    let serve = |grace| {
        let more = ["--concurrency", "8", "--shutdown-grace", grace];
        Process::serve(&home.url(), &upstream.base_url(), &more)
    };
    let mut server = serve("20s");
    let mut client = server.client().await;
    let batch = submit(&mut client, (0..40).map(|n| prompt(format!("{n}")))).await;
    let request = WatchBatchRequest {
        batch_id: batch.batch_id.clone(),
        ..WatchBatchRequest::default()
    };
    let mut watch = client.watch_batch(request).await.unwrap().into_inner();
    soon("eight are running", async || upstream.open_calls() == 8).await;

    server.terminate();

    let told = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if all were done"),
            Err(status) => break status,
        }
    };
    assert_eq!(told.code(), Code::Unavailable);
    assert!(told.get_error_details().retry_info().is_some());
    let channel = tonic::transport::Channel::from_shared(server.endpoint.clone()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let request = HealthCheckRequest::default();
    let reply = health.check(request).await.unwrap().into_inner();
    assert_eq!(reply.status(), ServingStatus::NotServing);
    let refused = client
        .submit_batch(tidings::proto::v1::SubmitBatchRequest::default())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    let (status, took) = server.ended(Duration::from_secs(30)).await;
    assert!(status.success(), "{status:?}");
    assert!(
        took < Duration::from_secs(10),
        "running calls take two seconds, not {took:?}"
    );
    assert_eq!(
        upstream.calls().len(),
        8,
        "no task was started while draining"
    );

    let server = serve("20s");
    let told = watch_batch(&mut server.client().await, &batch.batch_id).await;
    assert_lawful(&told);
    assert!(told.iter().all(|task| task.attempt <= 1), "none ran twice");
    assert_eq!(upstream.calls().len(), 40);
}

async fn tasks_that_outlast_the_grace_go_back_uncharged(kind: Kind) {
    let home = Home::new(kind).await;
    let upstream = upstream(Duration::from_secs(3600)).await;
    let more = ["--shutdown-grace", "1s"];
    let mut server = Process::serve(&home.url(), &upstream.base_url(), &more);
    let batch = submit(
        &mut server.client().await,
        (0..10).map(|n| prompt(format!("{n}"))),
    )
    .await;
    soon("all are running", async || upstream.open_calls() == 10).await;

    server.terminate();
    let (status, _) = server.ended(Duration::from_secs(3)).await;

    assert!(status.success());
    soon("the calls are dropped", async || upstream.open_calls() == 0).await;
    upstream.shutdown().await;
    let quick = self::upstream(Duration::ZERO).await;
    let server = Process::serve(&home.url(), &quick.base_url(), &more);
    let told = watch_batch(&mut server.client().await, &batch.batch_id).await;
    assert_lawful(&told);
    let released = told
        .iter()
        .filter(|t| t.cause() == TransitionCause::Released);
    assert_eq!(released.count(), 10);
    for task in told.iter().filter(|t| t.end_time.is_some()) {
        assert_eq!(status_of(task), TaskStatus::Completed);
        assert!(task.attempts[0].error.is_none(), "a release is no failure");
    }
}

async fn an_idle_server_stops_at_once(kind: Kind) {
    let home = Home::new(kind).await;
    let mut server = Process::serve(&home.url(), "http://127.0.0.1:9/v1", &[]);
    // An open, idle connection does not hold it up.
    let _client = server.client().await;
    server.terminate();
    let (status, _) = server.ended(Duration::from_secs(3)).await;
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_does_not_hold_the_exit_up() {
    let mut home = Home::new(Kind::Redis).await;
    let upstream = upstream(Duration::from_secs(3600)).await;
    let more = ["--shutdown-grace", "1s"];
    let mut server = Process::serve(&home.url(), &upstream.base_url(), &more);
    submit(&mut server.client().await, [prompt("p")]).await;
    soon("it is running", async || upstream.open_calls() == 1).await;
    home.redis.as_mut().unwrap().kill();

    server.terminate();

    let (status, _) = server.ended(Duration::from_secs(3)).await;
    assert!(status.success());
}
