//! Cancelling: honest replies, sockets closed, no late result.

use std::time::Duration;

use tidings::{
    proto::v1::{
        CancelResult, CancelTasksRequest, CancelTasksResponse, ErrorCode, SubmitBatchRequest,
        TaskStatus,
    },
    simulator::{self, Latency},
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon, status,
    status_of, submit, watch_batch, watch_task,
};

on_each_store! {
    a_running_call_is_dropped_and_its_socket_closed,
    a_queued_task_never_reaches_the_upstream,
    a_batch_is_cancelled_as_a_whole,
    racing_cancels_leave_one_ending_each,
}

fn slow() -> simulator::Config {
    simulator::Config {
        latency: Latency::Fixed(Duration::from_secs(60)),
        ..simulator::Config::default()
    }
}

async fn cancel(client: &mut Client, ids: &[String]) -> CancelTasksResponse {
    let request = CancelTasksRequest {
        task_ids: ids.to_vec(),
        ..CancelTasksRequest::default()
    };
    client.cancel_tasks(request).await.unwrap().into_inner()
}

async fn a_running_call_is_dropped_and_its_socket_closed(kind: Kind) {
    let mut server = TestServer::start_with(kind, slow(), |_| {}).await;
    let ids = submit(&mut server.client, [prompt("a"), prompt("b")])
        .await
        .task_ids;
    soon("both calls are open", async || {
        server.upstream.open_calls() == 2
    })
    .await;

    let reply = cancel(&mut server.client, &ids[..1]).await;

    assert_eq!(reply.outcomes[0].result(), CancelResult::Cancelled);
    assert_eq!(reply.cancelled_count, 1);
    soon("one call is dropped", async || {
        server.upstream.open_calls() == 1
    })
    .await;
    let told = watch_task(&mut server.client, &ids[0], 0).await;
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Cancelled);
    let again = cancel(&mut server.client, &ids[..1]).await;
    assert_eq!(again.outcomes[0].result(), CancelResult::AlreadyTerminal);
    assert_eq!(again.outcomes[0].status(), TaskStatus::Cancelled);
    assert_eq!(
        status_of(&status(&mut server.client, &ids[1]).await),
        TaskStatus::Processing
    );
    cancel(&mut server.client, &ids[1..]).await;
    server.stop().await;
}

async fn a_queued_task_never_reaches_the_upstream(kind: Kind) {
    let mut server = TestServer::start_with(kind, slow(), |config| config.concurrency = 1).await;
    let ids = submit(&mut server.client, [prompt("first"), prompt("second")])
        .await
        .task_ids;
    soon("the first is running", async || {
        server.upstream.open_calls() == 1
    })
    .await;
    let reply = cancel(&mut server.client, &[ids[1].clone(), ids[0].clone()]).await;
    let order: Vec<_> = reply.outcomes.iter().map(|o| o.task_id.clone()).collect();
    assert_eq!(order, [ids[1].clone(), ids[0].clone()]);
    // The slot is free again and the queue moves on.
    let id = submit(&mut server.client, [function("debug.echo", "1")])
        .await
        .task_ids
        .remove(0);
    watch_task(&mut server.client, &id, 0).await;
    assert_eq!(
        server.upstream.calls().len() + server.upstream.open_calls(),
        1
    );
    let told = watch_task(&mut server.client, &ids[1], 0).await;
    assert_eq!(told.len(), 2, "queued, cancelled");
    server.stop().await;
}

async fn a_batch_is_cancelled_as_a_whole(kind: Kind) {
    let mut server = TestServer::start_with(kind, slow(), |config| config.concurrency = 8).await;
    let request = SubmitBatchRequest {
        tasks: (0..1_000).map(|n| prompt(format!("{n}"))).collect(),
        keep_open: true,
        ..SubmitBatchRequest::default()
    };
    let batch = server
        .client
        .submit_batch(request)
        .await
        .unwrap()
        .into_inner();
    soon("eight are running", async || {
        server.upstream.open_calls() == 8
    })
    .await;
    let request = CancelTasksRequest {
        batch_id: batch.batch_id.clone(),
        ..CancelTasksRequest::default()
    };
    let reply = server
        .client
        .cancel_tasks(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.cancelled_count, 1_000);
    assert_eq!(reply.outcomes.len(), 1_000);
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    let ended = told
        .iter()
        .filter(|t| status_of(t) == TaskStatus::Cancelled);
    assert_eq!(ended.count(), 1_000);
    soon("every call is dropped", async || {
        server.upstream.open_calls() == 0
    })
    .await;
    server.stop().await;
}

async fn racing_cancels_leave_one_ending_each(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let tasks = (0..1_000).map(|n| function("debug.echo", &n.to_string()));
    let batch = submit(&mut server.client, tasks).await;
    let reply = cancel(&mut server.client, &batch.task_ids).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    for outcome in &reply.outcomes {
        let last = told
            .iter()
            .rfind(|task| task.id == outcome.task_id)
            .unwrap();
        assert_eq!(last.status, outcome.status, "the reply told the truth");
        assert!(
            last.error
                .as_ref()
                .is_none_or(|e| e.code() != ErrorCode::WorkerLost)
        );
    }
    server.stop().await;
}
