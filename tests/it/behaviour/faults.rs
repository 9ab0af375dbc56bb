//! An upstream that fails: retries within their budgets, visible on the task.

use std::time::Duration;

use tidings::{
    proto::v1::{ErrorCode, TaskStatus, TransitionCause},
    simulator::{self, Fault, Faults},
};

use crate::support::server::{
    Kind, TestServer, assert_lawful, on_each_store, prompt, status_of, submit, watch_batch,
    watch_task,
};

on_each_store! {
    passing_faults_are_retried_and_every_task_is_answered,
    attempts_are_kept_on_the_task,
    a_rate_limit_costs_time_and_no_attempt,
    an_answer_that_may_exist_is_asked_for_once_more_only,
    what_may_have_been_billed_is_sent_again_as_the_same,
    an_unreachable_upstream_costs_no_attempt,
}

fn upstream(faults: Faults) -> simulator::Config {
    simulator::Config {
        faults,
        ..simulator::Config::default()
    }
}

async fn passing_faults_are_retried_and_every_task_is_answered(kind: Kind) {
    let faults = Faults {
        rates: vec![
            (Fault::Status(500), 0.05),
            (Fault::Status(503), 0.05),
            (Fault::Reset, 0.05),
            (Fault::Malformed, 0.05),
            (Fault::EmptyChoices, 0.05),
        ],
        first_attempts: Some(1),
        ..Faults::default()
    };
    let mut server = TestServer::start_with(kind, upstream(faults), |_| {}).await;
    let batch = submit(&mut server.client, (0..300).map(|n| prompt(format!("{n}")))).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    let completed = told
        .iter()
        .filter(|t| status_of(t) == TaskStatus::Completed);
    assert_eq!(completed.count(), 300);
    let retried = told
        .iter()
        .filter(|t| t.cause() == TransitionCause::Retried)
        .count();
    assert!(
        retried > 20,
        "only {retried} retries of 300 with a quarter failing"
    );
    assert_eq!(server.upstream.calls().len(), 300 + retried);
    server.stop().await;
}

async fn attempts_are_kept_on_the_task(kind: Kind) {
    let faults = Faults::in_order([Fault::Status(500), Fault::Status(502)]);
    let mut server = TestServer::start_with(kind, upstream(faults), |_| {}).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    let last = told.last().unwrap();
    assert_eq!(status_of(last), TaskStatus::Completed);
    assert_eq!((last.attempt, last.revision), (3, 7));
    let codes: Vec<_> = last
        .attempts
        .iter()
        .map(|a| a.error.as_ref().map(|e| e.http_status))
        .collect();
    assert_eq!(codes, [Some(500), Some(502), None]);
    assert!(last.attempts[1].error.as_ref().unwrap().maybe_billed);
    assert!(
        last.attempts
            .iter()
            .all(|a| !a.worker.is_empty() && a.end_time.is_some())
    );
    server.stop().await;
}

async fn a_rate_limit_costs_time_and_no_attempt(kind: Kind) {
    let limited = Fault::reply(
        429,
        &[("retry-after", "3")],
        r#"{"error":{"code":"rate_limit_exceeded"}}"#,
    );
    let mut server =
        TestServer::start_with(kind, upstream(Faults::in_order([limited])), |_| {}).await;
    let mut task = prompt("p");
    task.options = Some(tidings::proto::v1::TaskOptions {
        max_attempts: 1,
        ..Default::default()
    });
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    let calls = server.upstream.calls();
    assert_eq!(calls.len(), 2);
    let waited = calls[1].time_in.since(calls[0].time_out);
    assert!(
        waited >= Duration::from_millis(2_990),
        "came back after {waited:?}"
    );
    server.stop().await;
}

async fn an_answer_that_may_exist_is_asked_for_once_more_only(kind: Kind) {
    let mut server =
        TestServer::start_with(kind, upstream(Faults::always(Fault::Reset)), |_| {}).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    let error = told.last().unwrap().error.clone().unwrap();
    assert_eq!(error.code(), ErrorCode::UpstreamConnectionLost);
    assert!(error.maybe_billed);
    let calls = server.upstream.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0].idempotency_key, calls[1].idempotency_key,
        "so that it need not be billed twice"
    );
    server.stop().await;
}

async fn what_may_have_been_billed_is_sent_again_as_the_same(kind: Kind) {
    let faults = Faults::in_order([Fault::Status(500), Fault::Status(502)]);
    let mut server = TestServer::start_with(kind, upstream(faults), |_| {}).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    let calls = server.upstream.calls();
    let keys: Vec<_> = calls.iter().map(|call| &call.idempotency_key).collect();
    assert_eq!(keys.len(), 3);
    assert_ne!(keys[0], keys[1], "the first was certainly not answered");
    assert_eq!(keys[1], keys[2], "the gateway may have lost an answer");
    server.stop().await;
}

async fn an_unreachable_upstream_costs_no_attempt(kind: Kind) {
    let mut server = TestServer::start_with(kind, upstream(Faults::default()), |config| {
        // Nothing listens on the discard port.
        config.upstream.base_url = "http://127.0.0.1:9/v1".into();
    })
    .await;
    let mut task = prompt("p");
    task.options = Some(tidings::proto::v1::TaskOptions {
        max_attempts: 1,
        ..Default::default()
    });
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let request = tidings::proto::v1::WatchTaskRequest {
        task_id: id,
        ..Default::default()
    };
    let mut stream = server
        .client
        .watch_task(request)
        .await
        .unwrap()
        .into_inner();
    let mut attempts = 0;
    while attempts < 3 {
        let message = stream.message().await.unwrap().unwrap();
        let Some(tidings::proto::v1::watch_task_response::Event::Task(task)) = message.event else {
            continue;
        };
        assert!(task.end_time.is_none(), "it ended: {:?}", task.error);
        attempts = task.attempt;
    }
    drop(stream);
    server.stop().await;
}
