//! What becomes of those that wait when the call they wait for comes to nothing, or to something for itself alone.

use std::{collections::BTreeMap, time::Duration};

use tidings::{
    proto::v1::{
        CacheOutcome, CancelTasksRequest, ErrorCode, ListTasksRequest, ResumeBatchRequest, Task,
        TaskStatus,
    },
    simulator::{self, Fault, Faults},
};

use super::{batch, cache_of, count, ended, processing, run, run_one, shared, slow};
use crate::support::server::{
    Client, Kind, TestServer, on_each_store, soon, status, status_of, submit,
};

on_each_store! {
    a_cancelled_call_is_made_by_one_of_those_that_wait,
    a_failed_call_is_made_again_by_one_at_a_time,
    a_call_that_fails_for_good_is_each_tasks_own,
    answers_that_are_cut_filtered_or_refused_are_not_shared,
    a_batch_without_money_is_parked_with_all_that_wait,
}

fn failing(faults: impl IntoIterator<Item = Fault>) -> simulator::Config {
    simulator::Config {
        faults: Faults::in_order(faults),
        ..simulator::Config::default()
    }
}

/// A task whose call is under way, and so many that wait for it.
async fn waiting(server: &mut TestServer, followers: usize) -> (String, String) {
    let lead = submit(&mut server.client, [shared("p")])
        .await
        .task_ids
        .remove(0);
    soon("the call is open", async || {
        server.upstream.open_calls() == 1
    })
    .await;
    let batch = submit(&mut server.client, (0..followers).map(|_| shared("p"))).await;
    soon("the others wait", async || {
        processing(&server.client, &batch.batch_id).await == followers as u64
    })
    .await;
    (lead, batch.batch_id)
}

async fn cancel(client: &mut Client, id: &str) {
    let request = CancelTasksRequest {
        task_ids: vec![id.to_owned()],
        ..CancelTasksRequest::default()
    };
    client.cancel_tasks(request).await.unwrap();
}

async fn a_cancelled_call_is_made_by_one_of_those_that_wait(kind: Kind) {
    let upstream = slow(Duration::from_secs(2));
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 4).await;
    let (lead, followers) = waiting(&mut server, 20).await;
    cancel(&mut server.client, &lead).await;
    let tasks = ended(&mut server.client, &followers).await;
    assert_eq!(count(&tasks, CacheOutcome::Miss), 1);
    assert_eq!(count(&tasks, CacheOutcome::Coalesced), 19);
    assert!(tasks.iter().all(|task| task.attempt == 1));
    let lead = status(&mut server.client, &lead).await;
    assert_eq!(status_of(&lead), TaskStatus::Cancelled);
    let calls = server.upstream.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[0].hung_up() && !calls[1].hung_up());
    server.stop().await;
}

async fn a_failed_call_is_made_again_by_one_at_a_time(kind: Kind) {
    let faults = [Fault::Status(500), Fault::Status(503), Fault::Status(500)];
    let mut server = TestServer::start_with(kind, failing(faults), |_| {}).await;
    let tasks = run(&mut server.client, (0..30).map(|_| shared("p"))).await;
    assert_eq!(tasks.len(), 30);
    assert_eq!(server.upstream.calls().len(), 4);
    assert_eq!(count(&tasks, CacheOutcome::Miss), 1);
    let again: u32 = tasks.iter().map(|task| task.attempt - 1).sum();
    assert_eq!(again, 3, "whoever's call failed was charged for it");
    server.stop().await;
}

async fn a_call_that_fails_for_good_is_each_tasks_own(kind: Kind) {
    let faults = [Fault::ContextLength, Fault::ContextLength];
    let mut server = TestServer::start_with(kind, failing(faults), |_| {}).await;
    let tasks = run(&mut server.client, (0..10).map(|_| shared("p"))).await;
    let failed = tasks.iter().filter_map(|task| task.error.as_ref());
    let codes: Vec<ErrorCode> = failed.map(|error| error.code()).collect();
    assert_eq!(codes, [ErrorCode::ContextLengthExceeded; 2]);
    let is_done = |task: &&Task| status_of(task) == TaskStatus::Completed;
    assert_eq!(tasks.iter().filter(is_done).count(), 8);
    assert_eq!(server.upstream.calls().len(), 3);
    let later = run_one(&mut server.client, shared("p")).await;
    assert_eq!(cache_of(&later), CacheOutcome::Hit);
    server.stop().await;
}

fn reply(message: &str, finish: &str) -> Fault {
    let body = format!(
        r#"{{"model":"m","choices":[{{"message":{message},"finish_reason":"{finish}"}}]}}"#
    );
    Fault::reply(200, &[("content-type", "application/json")], body)
}

async fn answers_that_are_cut_filtered_or_refused_are_not_shared(kind: Kind) {
    for (place, answer) in [
        reply(r#"{"content":"half"}"#, "length"),
        reply(r#"{"content":""}"#, "content_filter"),
        reply(r#"{"refusal":"no"}"#, "stop"),
    ]
    .into_iter()
    .enumerate()
    {
        let upstream = simulator::Config {
            faults: Faults::always(answer),
            ..slow(Duration::from_millis(500))
        };
        let mut server = TestServer::start_with(kind, upstream, |_| {}).await;
        let tasks = run(&mut server.client, (0..20).map(|_| shared("p"))).await;
        assert_eq!(count(&tasks, CacheOutcome::Miss), 20, "{place}");
        let mut calls = server.upstream.calls();
        assert_eq!(calls.len(), 20, "{place}");
        calls.sort_by_key(|call| call.time_in);
        let side_by_side = calls[2].time_in < calls[1].time_out;
        assert!(side_by_side, "those that have waited once wait no more");
        server.upstream.set_faults(Faults::default()).unwrap();
        let mut next = async || cache_of(&run_one(&mut server.client, shared("p")).await);
        assert_eq!(next().await, CacheOutcome::Miss, "{place}");
        assert_eq!(next().await, CacheOutcome::Hit, "{place}");
        server.stop().await;
    }
}

/// How far each task of a batch is.
async fn revisions(client: &mut Client, batch: &str) -> BTreeMap<String, u64> {
    let request = ListTasksRequest {
        batch_id: batch.to_owned(),
        ..ListTasksRequest::default()
    };
    let tasks = client.list_tasks(request).await.unwrap().into_inner().tasks;
    tasks.into_iter().map(|it| (it.id, it.revision)).collect()
}

async fn a_batch_without_money_is_parked_with_all_that_wait(kind: Kind) {
    let upstream = simulator::Config {
        faults: Faults::always(Fault::InsufficientQuota),
        ..slow(Duration::from_millis(100))
    };
    // Fewer at a time than wait for the lead.
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 4).await;
    let id = submit(&mut server.client, (0..50).map(|_| shared("p")))
        .await
        .batch_id;
    soon("the batch is parked and nothing runs", async || {
        let batch = batch(&mut server.client.clone(), &id).await;
        batch.parked.is_some() && batch.progress.unwrap().processing == 0
    })
    .await;
    let progress = batch(&mut server.client, &id).await.progress.unwrap();
    assert_eq!(progress.queued, 50, "none has failed");
    assert_eq!(
        server.upstream.calls().len(),
        1,
        "one call found out for all"
    );
    let before = revisions(&mut server.client, &id).await;
    server.upstream.set_faults(Faults::default()).unwrap();
    let request = ResumeBatchRequest {
        budget_nanos: None,
        batch_id: id.clone(),
    };
    server.client.resume_batch(request).await.unwrap();
    let tasks = ended(&mut server.client, &id).await;
    assert_eq!(tasks.len(), 50);
    assert_eq!(count(&tasks, CacheOutcome::Miss), 1);
    assert_eq!(server.upstream.calls().len(), 2);
    for (id, revision) in revisions(&mut server.client, &id).await {
        assert_eq!(revision, before[&id] + 2, "taken up once and answered");
    }
    server.stop().await;
}
