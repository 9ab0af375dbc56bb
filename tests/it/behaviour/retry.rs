//! RetryTasks: a new task for each failed one; the old one never changes.

use tidings::{
    proto::v1::{
        ErrorCode, GetBatchRequest, RetryOutcome, RetryResult, RetryTasksRequest, TaskStatus,
    },
    simulator::{self, Fault, Faults},
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, on_each_store, prompt, soon, status, status_of,
    submit, watch_batch, watch_task,
};

on_each_store! {
    a_failed_task_is_repeated_by_a_new_one_in_its_batch,
    retrying_with_a_key_is_safe_to_repeat,
}

fn refusing() -> simulator::Config {
    simulator::Config {
        faults: Faults::always(Fault::Status(400)),
        ..simulator::Config::default()
    }
}

async fn retry(client: &mut Client, request: RetryTasksRequest) -> Vec<RetryOutcome> {
    client
        .retry_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .outcomes
}

async fn a_failed_task_is_repeated_by_a_new_one_in_its_batch(kind: Kind) {
    let mut server = TestServer::start_with(kind, refusing(), |_| {}).await;
    let batch = submit(&mut server.client, [prompt("a"), prompt("b")]).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    let error = told.last().unwrap().error.clone().unwrap();
    assert_eq!(
        (error.code(), error.http_status),
        (ErrorCode::InvalidRequest, 400)
    );
    let before = status(&mut server.client, &batch.task_ids[0]).await;
    server.upstream.set_faults(Faults::default()).unwrap();

    let request = RetryTasksRequest {
        batch_id: batch.batch_id.clone(),
        ..RetryTasksRequest::default()
    };
    let outcomes = retry(&mut server.client, request).await;

    assert_eq!(outcomes.len(), 2);
    for outcome in &outcomes {
        assert_eq!(outcome.result(), RetryResult::Submitted);
        let told = watch_task(&mut server.client, &outcome.new_task_id, 0).await;
        assert_lawful(&told);
        let last = told.last().unwrap();
        assert_eq!(status_of(last), TaskStatus::Completed);
        assert_eq!(last.retry_of, outcome.task_id);
        assert_eq!(last.batch_id, batch.batch_id);
    }
    assert_eq!(status(&mut server.client, &batch.task_ids[0]).await, before);
    let request = GetBatchRequest {
        batch_id: batch.batch_id,
    };
    let batch = server
        .client
        .get_batch(request)
        .await
        .unwrap()
        .into_inner()
        .batch
        .unwrap();
    let progress = batch.progress.unwrap();
    assert_eq!(
        (progress.total, progress.completed, progress.error),
        (4, 2, 2)
    );
    assert!(progress.done && batch.end_time.is_some());

    let request = RetryTasksRequest {
        task_ids: vec![
            outcomes[0].new_task_id.clone(),
            "0190a0a0-0000-7000-8000-000000000000".into(),
        ],
        ..RetryTasksRequest::default()
    };
    let outcomes = retry(&mut server.client, request).await;
    assert_eq!(outcomes[0].result(), RetryResult::NotFailed);
    assert_eq!(outcomes[1].result(), RetryResult::NotFound);
    server.stop().await;
}

async fn retrying_with_a_key_is_safe_to_repeat(kind: Kind) {
    let mut server = TestServer::start_with(kind, refusing(), |_| {}).await;
    let batch = submit(&mut server.client, [prompt("a"), prompt("b")]).await;
    watch_batch(&mut server.client, &batch.batch_id).await;
    server.upstream.set_faults(Faults::default()).unwrap();
    let request = RetryTasksRequest {
        task_ids: batch.task_ids,
        idempotency_key: "again".into(),
        ..RetryTasksRequest::default()
    };
    let first = retry(&mut server.client, request.clone()).await;
    let second = retry(&mut server.client, request).await;
    assert_eq!(first, second);
    soon("all calls have ended", async || {
        server.upstream.calls().len() == 4
    })
    .await;
    watch_batch(&mut server.client, &batch.batch_id).await;
    assert_eq!(server.upstream.calls().len(), 4, "two failed, two repeated");
    server.stop().await;
}
