//! A store that is away, or whose answers are lost on their way: calls fail, tasks do not.

use std::time::Duration;

use tidings::{
    config::StoreConfig,
    proto::v1::{
        CancelTasksRequest, GetBatchRequest, GetStatusRequest, ListTasksRequest,
        ResumeBatchRequest, RetryTasksRequest, SubmitBatchRequest, Task, TaskOptions, TaskSpec,
        WatchBatchRequest, WatchTaskRequest,
    },
    server::Server,
    simulator::{self, Latency},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    proxy::Proxy,
    redis::RedisServer,
    server::{
        Client, Home, Kind, TestServer, assert_lawful, connect, local, on_each_store, prompt, soon,
        submit, watch_batch, watch_task,
    },
};

on_each_store! {
    a_submit_whose_reply_was_lost_is_safe_to_repeat,
}

/// The reply to every call, by the call's name. None of them may answer while the store is away.
async fn refusals(client: &mut Client, batch: &str, id: &str) -> Vec<(&'static str, Status)> {
    let (batch_id, task_ids) = (batch.to_owned(), vec![id.to_owned()]);
    let submit = SubmitBatchRequest {
        tasks: vec![prompt("refused")],
        ..SubmitBatchRequest::default()
    };
    let status = GetStatusRequest {
        task_ids: task_ids.clone(),
        omit_results: false,
    };
    let watch_task = WatchTaskRequest {
        task_id: id.to_owned(),
        ..WatchTaskRequest::default()
    };
    let watch_batch = WatchBatchRequest {
        batch_id: batch_id.clone(),
        ..WatchBatchRequest::default()
    };
    let cancel = CancelTasksRequest {
        task_ids: task_ids.clone(),
        ..CancelTasksRequest::default()
    };
    let retry = RetryTasksRequest {
        task_ids,
        ..RetryTasksRequest::default()
    };
    let get = GetBatchRequest {
        batch_id: batch_id.clone(),
    };
    let resume = ResumeBatchRequest {
        batch_id,
        budget_nanos: None,
    };
    let list = ListTasksRequest::default();
    vec![
        ("submit", client.submit_batch(submit).await.err()),
        ("status", client.get_status(status).await.err()),
        ("watch task", client.watch_task(watch_task).await.err()),
        ("watch batch", client.watch_batch(watch_batch).await.err()),
        ("cancel", client.cancel_tasks(cancel).await.err()),
        ("retry", client.retry_tasks(retry).await.err()),
        ("get batch", client.get_batch(get).await.err()),
        ("resume", client.resume_batch(resume).await.err()),
        ("list", client.list_tasks(list).await.err()),
    ]
    .into_iter()
    .map(|(call, refused)| (call, refused.unwrap_or_else(|| panic!("{call} answered"))))
    .collect()
}

async fn list(client: &mut Client) -> Vec<Task> {
    let request = ListTasksRequest {
        include_results: true,
        ..ListTasksRequest::default()
    };
    client.list_tasks(request).await.unwrap().into_inner().tasks
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

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_refused_while_the_store_is_away_and_changes_nothing() {
    let mut server = TestServer::start(Kind::Redis).await;
    // What is acknowledged must outlive the kill, also on a disk that is busy.
    let redis = server.home.redis.as_ref().unwrap();
    let mut connection = redis.connect().await.unwrap();
    let mut durable = ::redis::cmd("CONFIG");
    durable.arg("SET").arg("appendfsync").arg("always");
    durable.exec_async(&mut connection).await.unwrap();
    let batch = submit(&mut server.client, [prompt("now"), later()]).await;
    watch_task(&mut server.client, &batch.task_ids[0], 0).await;
    let before = list(&mut server.client).await;
    assert_eq!(before.len(), 2);

    server.home.redis.as_mut().unwrap().kill();
    for id in &batch.task_ids {
        for (call, refused) in refusals(&mut server.client, &batch.batch_id, id).await {
            assert_eq!(refused.code(), Code::Unavailable, "{call}: {refused:?}");
            let details = refused.get_error_details();
            assert!(details.retry_info().is_some(), "{call}: {refused:?}");
            let info = details.error_info().unwrap();
            assert_eq!(info.reason, "STORE_AWAY", "{call}");
        }
    }
    server.home.redis.as_mut().unwrap().restart().await;

    let mut client = server.client.clone();
    soon("the store is back", async || {
        client.list_tasks(ListTasksRequest::default()).await.is_ok()
    })
    .await;
    assert_eq!(list(&mut server.client).await, before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_only_when_its_store_is() {
    let mut home = Home::new(Kind::Redis).await;
    let server = Server::bind_with(local(&home), Default::default())
        .await
        .unwrap();
    let endpoint = format!("http://{}", server.grpc_addr());
    let admin = format!("http://{}", server.admin_addr());
    // The store goes between the server's start and its first call.
    home.redis.as_mut().unwrap().kill();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    let ready = async || {
        let reply = reqwest::get(format!("{admin}/readyz")).await.unwrap();
        reply.status().as_u16()
    };
    let mut client = connect(&endpoint).await;
    for _ in 0..10 {
        assert_eq!(ready().await, 503);
        let refused = client.list_tasks(ListTasksRequest::default()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    }
    let alive = reqwest::get(format!("{admin}/livez")).await.unwrap();
    assert_eq!(alive.status(), 200);

    home.redis.as_mut().unwrap().restart().await;
    soon("it is ready", async || ready().await == 200).await;
    // Ready means ready: the first call is served.
    assert!(list(&mut client).await.is_empty());
    stop.cancel();
    serving.await.unwrap().unwrap();
}

fn keyed() -> SubmitBatchRequest {
    SubmitBatchRequest {
        tasks: vec![prompt("one"), prompt("two")],
        idempotency_key: "key".into(),
        ..SubmitBatchRequest::default()
    }
}

fn port(endpoint: &str) -> u16 {
    endpoint.rsplit(':').next().unwrap().parse().unwrap()
}

async fn a_submit_whose_reply_was_lost_is_safe_to_repeat(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let proxy = Proxy::before(port(&server.endpoint)).await;
    let far = format!("http://127.0.0.1:{}", proxy.port());
    let mut client = connect(&far).await;
    // The connection is in use before it goes bad.
    assert!(list(&mut client).await.is_empty());
    proxy.mute();
    let submitting = {
        let mut client = client.clone();
        tokio::spawn(async move { client.submit_batch(keyed()).await })
    };
    soon("the server has accepted it", async || {
        list(&mut server.client.clone()).await.len() == 2
    })
    .await;
    assert!(!submitting.is_finished(), "nobody has told the client");
    proxy.cut();
    submitting.await.unwrap().expect_err("the reply was lost");

    let again = client.submit_batch(keyed()).await.unwrap().into_inner();

    let told = watch_batch(&mut server.client, &again.batch_id).await;
    assert_lawful(&told);
    assert_eq!(told.len(), 6);
    let mut listed: Vec<String> = list(&mut server.client)
        .await
        .into_iter()
        .map(|task| task.id)
        .collect();
    listed.sort();
    assert_eq!(listed, again.task_ids);
    assert_eq!(server.upstream.calls().len(), 2);
    server.stop().await;
}

/// How many task records a Redis holds.
async fn records(redis: &RedisServer) -> usize {
    let mut connection = redis.connect().await.unwrap();
    let mut keys = ::redis::cmd("KEYS");
    let keys: Vec<Vec<u8>> = keys
        .arg("{td:*}:t:*")
        .query_async(&mut connection)
        .await
        .unwrap();
    keys.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_redis_that_were_lost_lose_and_double_nothing() {
    let home = Home::new(Kind::Redis).await;
    let redis = RedisServer::start(&[]).await;
    let proxy = Proxy::before(redis.port()).await;
    let upstream = simulator::Config::default();
    let mut server = TestServer::start_on(home, upstream, Default::default(), |config| {
        let url = format!("redis://127.0.0.1:{}/", proxy.port());
        config.store = StoreConfig::Redis(crate::support::redis::config(&url));
        // Tasks whose hand-over is lost come back soon.
        config.lease = Duration::from_secs(1);
    })
    .await;
    // The scripts are loaded before the connection goes bad.
    let sound = submit(&mut server.client, [prompt("zero")]).await;
    watch_batch(&mut server.client, &sound.batch_id).await;
    proxy.mute();
    let submitting = {
        let mut client = server.client.clone();
        tokio::spawn(async move { client.submit_batch(keyed()).await })
    };
    soon("redis has stored it", async || records(&redis).await == 3).await;
    proxy.cut();
    let first = submitting.await.unwrap();

    let mut client = server.client.clone();
    let mut again = None;
    soon("the call can be repeated", async || {
        again = client.submit_batch(keyed()).await.ok();
        again.is_some()
    })
    .await;
    let again = again.unwrap().into_inner();
    if let Ok(first) = first {
        assert_eq!(first.into_inner(), again);
    }
    let told = watch_batch(&mut server.client, &again.batch_id).await;
    assert_lawful(&told);
    assert_eq!(records(&redis).await, 3);
    assert_eq!(server.upstream.calls().len(), 3);
    server.stop().await;
}

/// The store is away for longer than the lease; the call, and the result it has paid for, outlast that.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_away_for_longer_than_the_lease_repeats_no_running_call() {
    let slow = simulator::Config {
        latency: Latency::Fixed(Duration::from_secs(6)),
        ..simulator::Config::default()
    };
    let lease = Duration::from_secs(1);
    let mut server = TestServer::start_with(Kind::Redis, slow, |config| config.lease = lease).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    soon("it is running", async || server.upstream.open_calls() == 1).await;
    let redis = server.home.redis.as_mut().unwrap();
    redis.kill();
    tokio::time::sleep(2 * lease).await;
    redis.restart().await;
    soon("the store is back", async || {
        let request = GetStatusRequest {
            task_ids: vec![id.clone()],
            omit_results: false,
        };
        server.client.clone().get_status(request).await.is_ok()
    })
    .await;

    let told = watch_task(&mut server.client, &id, 0).await;

    assert_lawful(&told);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(server.upstream.calls().len(), 1);
    server.stop().await;
}
