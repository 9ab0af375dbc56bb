//! Many tasks that wait for one call, beside others that have nothing to do with it.

use std::time::Duration;

use tidings::proto::v1::{
    CacheOutcome, CancelTasksRequest, ErrorCode, TaskOptions, TaskSpec, TaskStatus,
    TransitionCause, WaitReason,
};
use tokio::time::timeout;

use super::{batch, count, ended, processing, run, shared, slow};
use crate::support::{
    eventually,
    gate::Gate,
    server::{
        Client, Home, Kind, TestServer, function, on_each_store, soon, status, status_of, submit,
    },
};

on_each_store! {
    tasks_beyond_those_that_may_wait_for_one_call_wait_in_the_queue,
    an_answer_that_is_there_needs_no_place_to_run,
}

/// How many tasks of one process wait for one call.
const MOST: u64 = 1_024;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

/// A task that the first failure which counts would end.
fn fragile() -> TaskSpec {
    let task = shared("p");
    TaskSpec {
        options: Some(TaskOptions {
            max_attempts: 1,
            ..task.options.unwrap()
        }),
        ..task
    }
}

async fn cancel(client: &mut Client, batch_id: String) {
    let request = CancelTasksRequest {
        batch_id,
        ..CancelTasksRequest::default()
    };
    client.cancel_tasks(request).await.unwrap();
}

async fn tasks_beyond_those_that_may_wait_for_one_call_wait_in_the_queue(kind: Kind) {
    let upstream = slow(Duration::from_secs(600));
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 16).await;
    let lead = submit(&mut server.client, [shared("p")]).await.batch_id;
    soon("the call is open", async || {
        server.upstream.open_calls() == 1
    })
    .await;
    let first = submit(&mut server.client, (0..600).map(|_| fragile())).await;
    let crowd = submit(&mut server.client, (0..600).map(|_| fragile())).await;
    let last = crowd.task_ids.last().unwrap();
    let client = server.client.clone();
    let task = eventually("the last has been sent back", LONG, async || {
        let task = status(&mut client.clone(), last).await;
        (task.wait_reason() == WaitReason::Backoff).then_some(task)
    })
    .await;
    assert_eq!(status_of(&task), TaskStatus::Queued);
    let attempt = &task.attempts[0];
    let error = attempt.error.as_ref().unwrap();
    assert_eq!(attempt.outcome(), TransitionCause::Retried);
    assert_eq!(error.code(), ErrorCode::EqualCallUnderWay);
    let mut waiting = processing(&server.client, &first.batch_id).await;
    waiting += processing(&server.client, &crowd.batch_id).await;
    // Those on their way back are in hand for a moment.
    assert!((900..=MOST + 16).contains(&waiting), "{waiting}");

    let other = run(&mut server.client, [function("debug.echo", "1")]);
    let other = timeout(LONG, other).await.expect("others run");
    assert_eq!(other.len(), 1);
    assert_eq!(
        server.upstream.calls().len() + server.upstream.open_calls(),
        1
    );
    let progress = batch(&mut server.client, &crowd.batch_id).await.progress;
    assert_eq!(progress.unwrap().error, 0, "nobody was charged");
    cancel(&mut server.client, first.batch_id).await;
    cancel(&mut server.client, crowd.batch_id).await;
    cancel(&mut server.client, lead).await;
    server.stop().await;
}

async fn an_answer_that_is_there_needs_no_place_to_run(kind: Kind) {
    let gate = Gate::new();
    let upstream = slow(Duration::from_secs(3));
    let start = TestServer::start_on(
        Home::new(kind).await,
        upstream,
        gate.functions(),
        |config| {
            config.concurrency = 2;
        },
    );
    let mut server = start.await;
    submit(&mut server.client, [shared("p")]).await;
    soon("the call is open", async || {
        server.upstream.open_calls() == 1
    })
    .await;
    let waiting = submit(&mut server.client, (0..20).map(|_| shared("p"))).await;
    soon("the others wait", async || {
        processing(&server.client, &waiting.batch_id).await == 20
    })
    .await;
    // They take every place there is, for as long as the test likes.
    let busy = submit(&mut server.client, vec![Gate::task(); 2]).await;
    soon("all places are taken", async || gate.inside() == 2).await;

    let answered = ended(&mut server.client, &waiting.batch_id);
    let answered = timeout(LONG, answered).await.expect("they are answered");

    assert_eq!(count(&answered, CacheOutcome::Coalesced), 20);
    assert_eq!(gate.inside(), 2);
    gate.open();
    ended(&mut server.client, &busy.batch_id).await;
    server.stop().await;
}
