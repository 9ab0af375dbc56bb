//! Calls go out as fast as the upstream's limit lets them, over all replicas; what waits for its turn stays queued.

use std::num::NonZeroU64;

use tidings::{
    proto::v1::{
        BatchProgress, GetBatchRequest, TaskOptions, TaskSpec, TaskStatus, TransitionCause,
    },
    simulator::{self, Ended, Fault, Faults, Limits},
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, on_each_store, prompt, soon, status, status_of,
    submit, watch_batch,
};

on_each_store! {
    tasks_that_wait_for_their_turn_stay_queued,
    a_model_that_is_held_back_holds_back_no_other,
}

fn prompt_to(model: &str, text: impl Into<String>) -> TaskSpec {
    let options = TaskOptions {
        model: model.to_owned(),
        ..TaskOptions::default()
    };
    TaskSpec {
        options: Some(options),
        ..prompt(text)
    }
}

async fn progress(client: &mut Client, batch: &str) -> BatchProgress {
    let request = GetBatchRequest {
        batch_id: batch.to_owned(),
    };
    let reply = client.get_batch(request).await.unwrap().into_inner();
    reply.batch.unwrap().progress.unwrap()
}

async fn tasks_that_wait_for_their_turn_stay_queued(kind: Kind) {
    let upstream = simulator::Config::default();
    let mut server = TestServer::start_with(kind, upstream, |config| {
        config.upstream.requests_per_minute = NonZeroU64::new(120);
    })
    .await;
    let batch = submit(&mut server.client, (0..40).map(|n| prompt(format!("{n}")))).await;
    let mut client = server.client.clone();
    soon("some are answered", async || {
        progress(&mut client, &batch.batch_id).await.completed >= 3
    })
    .await;
    let progress = progress(&mut server.client, &batch.batch_id).await;
    assert!(progress.processing <= 6, "{progress:?}");
    assert!(progress.queued >= 20, "{progress:?}");
    for id in &batch.task_ids {
        let task = status(&mut server.client, id).await;
        assert!(task.attempt <= 1, "nobody was taken in vain");
    }
    server.stop().await;
}

async fn a_model_that_is_held_back_holds_back_no_other(kind: Kind) {
    let limited = Fault::reply(
        429,
        &[("retry-after", "3600")],
        r#"{"error":{"code":"rate_limit_exceeded"}}"#,
    );
    let upstream = simulator::Config {
        faults: Faults::in_order([limited]),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, upstream, |config| {
        config.concurrency = 8;
    })
    .await;
    let first = submit(&mut server.client, [prompt_to("slow", "first")]).await;
    soon("its model is held back", async || {
        server.upstream.finished_calls() == 1
    })
    .await;
    let slow = (0..200).map(|n| prompt_to("slow", format!("{n}")));
    let slow = submit(&mut server.client, slow).await;
    let other = submit(&mut server.client, [prompt_to("other", "other")]).await;
    let told = watch_batch(&mut server.client, &other.batch_id).await;
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    let progress = progress(&mut server.client, &slow.batch_id).await;
    assert_eq!(progress.completed, 0);
    assert_eq!(server.upstream.finished_calls(), 2, "none was sent in vain");
    let first = status(&mut server.client, &first.task_ids[0]).await;
    assert_eq!(status_of(&first), TaskStatus::Queued);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_keep_to_one_limit_together() {
    let upstream = simulator::Config {
        limits: Limits {
            requests_per_minute: Some(1_800),
            charge_refused: true,
            ..Limits::default()
        },
        ..simulator::Config::default()
    };
    let mut one = TestServer::start_with(Kind::Redis, upstream, |_| {}).await;
    let two = one.replica(|_| {}).await;
    let batch = submit(&mut one.client, (0..300).map(|n| prompt(format!("{n}")))).await;
    let told = watch_batch(&mut one.client, &batch.batch_id).await;
    assert_lawful(&told);
    let ended = told
        .iter()
        .filter(|it| status_of(it) == TaskStatus::Completed);
    assert_eq!(ended.clone().count(), 300);
    let mut workers: Vec<_> = ended
        .map(|task| task.attempts.last().unwrap().worker.clone())
        .collect();
    workers.sort();
    workers.dedup();
    assert_eq!(workers.len(), 2, "both took part");
    let calls = one.upstream.calls();
    let throttled = calls.iter().filter(|it| it.ended == Ended::Throttled);
    // Those of the first second, when nothing was known yet.
    assert!(throttled.clone().count() <= 64, "{}", throttled.count());
    let retried = told
        .iter()
        .filter(|it| it.cause() == TransitionCause::Retried);
    assert!(retried.count() <= 64);
    two.stop().await;
    one.stop().await;
}
