//! Streams that end before what they tell has: of age, with their server, and with no hint from anybody.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use tidings::{
    config::StoreConfig,
    proto::v1::{
        Task, TaskOptions, TaskSpec, WatchBatchRequest, WatchTaskRequest, WatchTaskResponse,
        watch_batch_response, watch_task_response,
    },
    simulator,
};
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::support::{
    deaf::DeafProxy,
    gate::Gate,
    redis::{RedisServer, config},
    server::{
        Client, Home, Kind, TestServer, assert_lawful, connect, on_each_store, prompt, soon, submit,
    },
};

on_each_store! {
    a_task_is_followed_to_its_end_over_streams_that_end_of_age,
    a_batch_is_followed_to_its_end_over_streams_that_end_of_age,
    watches_leave_a_server_that_stops_one_after_the_other_with_a_place_to_resume,
}

/// A server whose streams hardly live.
async fn hasty(kind: Kind, gate: &Gate) -> TestServer {
    let upstream = simulator::Config::default();
    TestServer::start_on(
        Home::new(kind).await,
        upstream,
        gate.functions(),
        |config| {
            config.watch_age = Duration::from_millis(100);
        },
    )
    .await
}

/// Where the end of a stream says to resume.
#[track_caller]
fn place(end: &Status, reason: &str) -> String {
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    let details = end.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, reason);
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    let place = end.metadata().get("tidings-resume");
    place
        .expect("a place to resume")
        .to_str()
        .unwrap()
        .to_owned()
}

/// The fields of a request that a task's place stands for.
fn fields(place: &str) -> (u64, u64) {
    let (after, epoch) = place.split_once(',').unwrap();
    let after = after.strip_prefix("after_revision=").unwrap();
    let epoch = epoch.strip_prefix("store_epoch=").unwrap();
    (after.parse().unwrap(), epoch.parse().unwrap())
}

async fn open_task(
    client: &mut Client,
    request: &WatchTaskRequest,
) -> Streaming<WatchTaskResponse> {
    client
        .watch_task(request.clone())
        .await
        .unwrap()
        .into_inner()
}

async fn a_task_is_followed_to_its_end_over_streams_that_end_of_age(kind: Kind) {
    let gate = Gate::new();
    let mut server = hasty(kind, &gate).await;
    let batch = submit(&mut server.client, [Gate::task()]).await;
    let mut request = WatchTaskRequest {
        task_id: batch.task_ids[0].clone(),
        ..WatchTaskRequest::default()
    };
    let (mut told, mut ends) = (Vec::<Task>::new(), 0);
    'streams: loop {
        let mut stream = open_task(&mut server.client, &request).await;
        let end = loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    assert!(!message.reset);
                    if let Some(watch_task_response::Event::Task(task)) = message.event {
                        told.push(task);
                    }
                }
                Ok(None) => break 'streams,
                Err(end) => break end,
            }
        };
        let after;
        (after, request.store_epoch) = fields(&place(&end, "STREAM_AGE"));
        let last = told.last().map(|task| (task.revision, task.store_epoch));
        assert_eq!(last, Some((after, request.store_epoch)));
        request.after_revision = after;
        ends += 1;
        if ends == 3 {
            gate.open();
        }
    }
    assert!(ends >= 3);
    assert_lawful(&told);
    assert_eq!(told.len(), 3);
    server.stop().await;
}

async fn a_batch_is_followed_to_its_end_over_streams_that_end_of_age(kind: Kind) {
    let gate = Gate::new();
    let mut server = hasty(kind, &gate).await;
    let tasks = (0..200).map(|_| Gate::task());
    let batch = submit(&mut server.client, tasks).await;
    let mut request = WatchBatchRequest {
        batch_id: batch.batch_id,
        ..WatchBatchRequest::default()
    };
    let (mut told, mut ends) = (Vec::<Task>::new(), 0);
    'streams: loop {
        let stream = server.client.watch_batch(request.clone()).await;
        let mut stream = stream.unwrap().into_inner();
        let end = loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    assert!(!message.reset);
                    if let Some(watch_batch_response::Event::Task(task)) = message.event {
                        told.push(task);
                    }
                }
                Ok(None) => break 'streams,
                Err(end) => break end,
            }
        };
        request.resume_token = place(&end, "STREAM_AGE");
        ends += 1;
        if ends == 3 {
            gate.open();
        }
    }
    assert!(ends >= 3);
    assert_lawful(&told);
    assert_eq!(told.len(), 600);
    server.stop().await;
}

/// A task that waits for longer than any test.
#[expect(clippy::disallowed_methods, reason = "a client has its own clock")]
fn later() -> TaskSpec {
    let ahead = std::time::SystemTime::now() + Duration::from_secs(3_600);
    TaskSpec {
        options: Some(TaskOptions {
            not_before: Some(ahead.into()),
            ..TaskOptions::default()
        }),
        ..prompt("later")
    }
}

async fn watches_leave_a_server_that_stops_one_after_the_other_with_a_place_to_resume(kind: Kind) {
    // Nothing runs, so nothing but the watches themselves holds the server up.
    let mut server = TestServer::start(kind).await;
    let batch = submit(&mut server.client, [later()]).await;
    let endpoint = server.endpoint.clone();
    let mut leaving = JoinSet::new();
    for _ in 0..100 {
        let request = WatchTaskRequest {
            task_id: batch.task_ids[0].clone(),
            ..WatchTaskRequest::default()
        };
        let mut stream = open_task(&mut server.client, &request).await;
        stream.message().await.unwrap();
        leaving.spawn(async move {
            loop {
                if let Err(end) = stream.message().await {
                    return (end, Instant::now());
                }
            }
        });
    }
    let channel = tonic::transport::Channel::from_shared(endpoint).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let stopping = tokio::spawn(server.stop());

    let (first, at) = leaving.join_next().await.unwrap().unwrap();
    let reply = health.check(HealthCheckRequest::default()).await.unwrap();
    let status = reply.into_inner().status();
    assert_eq!(status, ServingStatus::NotServing, "before any watch leaves");
    let mut ends = leaving.join_all().await;
    ends.push((first, at));

    let delay = |end: &Status| end.get_details_retry_info().unwrap().retry_delay;
    let delays: HashSet<_> = ends.iter().map(|(end, _)| delay(end)).collect();
    assert!(delays.len() > 50, "{} ways to come back", delays.len());
    for (end, _) in &ends {
        assert_eq!(fields(&place(end, "DRAINING")), (1, 1));
    }
    let last = ends.iter().map(|(_, at)| *at).max().unwrap();
    let spread = last - at;
    assert!(spread > Duration::from_millis(500), "all within {spread:?}");
    stopping.await.unwrap();
}

/// Every hint is lost, for as long as the stream lives: the store's own count of them is what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_in_time_although_every_hint_is_lost() {
    let redis = RedisServer::start(&[]).await;
    let proxy = DeafProxy::before(redis.port()).await;
    proxy.shut();
    let on = |port| StoreConfig::Redis(config(&format!("redis://127.0.0.1:{port}/")));
    // The deaf one's only slot is held, so that all that happens happens elsewhere.
    let gate = Gate::new();
    let (home, upstream) = (
        Home::new(Kind::Embedded).await,
        simulator::Config::default(),
    );
    let mut deaf = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.store = on(proxy.port());
        config.concurrency = 1;
    })
    .await;
    submit(&mut deaf.client, [Gate::task()]).await;
    soon("its slot is taken", async || gate.inside() == 1).await;
    let hearing = TestServer::start_with(Kind::Embedded, simulator::Config::default(), |config| {
        config.store = on(redis.port());
    })
    .await;
    let mut latest = Duration::ZERO;
    for _ in 0..5 {
        let request = submit(&mut hearing.client.clone(), [prompt("p")]).await;
        let request = WatchTaskRequest {
            task_id: request.task_ids[0].clone(),
            ..WatchTaskRequest::default()
        };
        let mut stream = open_task(&mut deaf.client, &request).await;
        let mut witness = open_task(&mut connect(&hearing.endpoint).await, &request).await;
        let witness = async {
            while witness.message().await.unwrap().is_some() {}
            Instant::now()
        };
        let told = async {
            let mut told = Vec::new();
            while let Some(message) = stream.message().await.unwrap() {
                if let Some(watch_task_response::Event::Task(task)) = message.event {
                    told.push(task);
                }
            }
            (told, Instant::now())
        };
        let both = async { tokio::join!(witness, told) };
        let (happened, (told, at)) = tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .expect("it is told without a hint");
        assert_lawful(&told);
        assert_eq!(told.len(), 3);
        latest = latest.max(at.saturating_duration_since(happened));
    }
    println!(
        "told at most {latest:?} late, {} messages eaten",
        proxy.lost()
    );
    assert!(proxy.lost() >= 10, "{} messages eaten", proxy.lost());
    // Two seconds are promised; a busy machine may take longer.
    assert!(latest < Duration::from_secs(5), "told {latest:?} late");
    gate.open();
    hearing.stop().await;
    deaf.stop().await;
}
