//! Health follows the store; a store that is away is never a task's failure.

use std::time::{Duration, Instant};

use tidings::proto::v1::{
    GetStatusRequest, Task, TaskStatus, WatchTaskRequest, WatchTaskResponse, watch_task_response,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::support::server::{
    Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon, status, status_of,
    submit, watch_task,
};

on_each_store! {
    a_server_with_its_store_says_serving_for_each_service,
    metrics_and_readiness_are_served,
}

async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let channel = tonic::transport::Channel::from_shared(server.endpoint.clone()).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    client.check(request).await.unwrap().into_inner().status()
}

async fn a_server_with_its_store_says_serving_for_each_service(kind: Kind) {
    let server = TestServer::start(kind).await;
    for service in ["", "tidings.v1.TaskService"] {
        soon("it says SERVING", async || {
            health(&server, service).await == ServingStatus::Serving
        })
        .await;
    }
    server.stop().await;
}

async fn metrics_and_readiness_are_served(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    watch_task(&mut server.client, &id, 0).await;
    let get = async |path: &str| {
        reqwest::get(format!("{}{path}", server.admin))
            .await
            .unwrap()
    };
    soon("it is ready", async || get("/readyz").await.status() == 200).await;
    assert_eq!(get("/livez").await.status(), 200);
    let metrics = get("/metrics").await.text().await.unwrap();
    for line in [
        "tidings_transitions_total{status=\"completed\"}",
        "tidings_queue_seconds_bucket",
        "tidings_run_seconds_count",
        "tidings_tasks{state=\"ready\"}",
        "tidings_store_up 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    server.stop().await;
}

async fn rest(mut stream: tonic::Streaming<WatchTaskResponse>) -> Vec<Task> {
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(watch_task_response::Event::Task(task)) = message.event {
            told.push(task);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_goes_and_comes_is_followed_by_health_and_costs_no_task() {
    let mut server = TestServer::start(Kind::Redis).await;
    let sleep = function("debug.sleep", r#"{"seconds":4}"#);
    let id = submit(&mut server.client, [sleep]).await.task_ids.remove(0);
    soon("the task runs", async || {
        status_of(&status(&mut server.client.clone(), &id).await) == TaskStatus::Processing
    })
    .await;
    let request = WatchTaskRequest {
        task_id: id.clone(),
        ..WatchTaskRequest::default()
    };
    let watch = server.client.watch_task(request).await.unwrap();
    let watching = tokio::spawn(rest(watch.into_inner()));
    server.home.redis.as_mut().unwrap().kill();
    let gone = Instant::now();
    soon("health says NOT_SERVING", async || {
        health(&server, "").await == ServingStatus::NotServing
    })
    .await;
    assert!(
        gone.elapsed() < Duration::from_secs(4),
        "{:?}",
        gone.elapsed()
    );
    let request = GetStatusRequest {
        task_ids: vec![id.clone()],
        omit_results: false,
    };
    let refused = server.client.get_status(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_error_details().retry_info().is_some());

    server.home.redis.as_mut().unwrap().restart().await;
    soon("health says SERVING", async || {
        health(&server, "").await == ServingStatus::Serving
    })
    .await;
    // The watch has outlived the store's absence, and the task its worker's commit trouble.
    let told = watching.await.unwrap();
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    server.stop().await;
}
