//! The cache: equal requests make one call, and what must not be shared is not.

mod crowd;
mod fates;
mod options;
mod replicas;

use std::{sync::Arc, time::Duration};

use tidings::{
    clock::SystemClock,
    config::{Config, StoreConfig},
    proto::v1::{
        Batch, CacheMode, CacheOutcome, GetBatchRequest, InvalidateCacheRequest, Task, TaskOptions,
        TaskSpec, TaskStatus, Usage,
    },
    simulator::{self, Latency, answer_to},
    store::embedded::{Config as StoreDirectory, EmbeddedStore},
    worker::Registry,
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon, status_of,
    submit, watch_batch, watch_task,
};

on_each_store! {
    equal_tasks_at_once_make_one_call,
    tasks_that_wait_for_a_call_hold_no_slot,
    a_request_made_before_is_answered_from_the_cache,
    an_answer_survives_a_restart,
    an_invalidated_answer_is_not_given_again,
    a_refresh_replaces_the_answer,
    an_answer_that_is_too_old_is_not_taken,
    what_the_cache_does_is_counted,
}

/// A prompt that may be shared.
fn shared(text: &str) -> TaskSpec {
    with_mode(text, CacheMode::Enabled)
}

fn with_mode(text: &str, mode: CacheMode) -> TaskSpec {
    TaskSpec {
        options: Some(TaskOptions {
            cache: mode as i32,
            ..TaskOptions::default()
        }),
        ..prompt(text)
    }
}

/// An upstream that takes so long.
fn slow(length: Duration) -> simulator::Config {
    simulator::Config {
        latency: Latency::Fixed(length),
        ..simulator::Config::default()
    }
}

/// Runs tasks to their end, in a batch of their own: each as it ended.
async fn run(client: &mut Client, tasks: impl IntoIterator<Item = TaskSpec>) -> Vec<Task> {
    let batch = submit(client, tasks).await.batch_id;
    ended(client, &batch).await
}

/// The tasks of a batch as they ended.
async fn ended(client: &mut Client, batch: &str) -> Vec<Task> {
    let told = watch_batch(client, batch).await;
    assert_lawful(&told);
    let is_terminal =
        |task: &Task| !matches!(status_of(task), TaskStatus::Queued | TaskStatus::Processing);
    told.into_iter().filter(is_terminal).collect()
}

/// Runs one task.
async fn run_one(client: &mut Client, task: TaskSpec) -> Task {
    run(client, [task]).await.remove(0)
}

fn cache_of(task: &Task) -> CacheOutcome {
    task.result.as_ref().expect("the task is completed").cache()
}

/// Another server on the store of one that ends, with an upstream of its own.
async fn restarted(server: TestServer, change: impl FnOnce(&mut Config)) -> TestServer {
    let home = server.stop().await;
    if let StoreConfig::Embedded { path, .. } = home.store() {
        // The last connection may hold the directory for a moment longer.
        soon("the directory is free", async || {
            let config = StoreDirectory::new(path.clone());
            EmbeddedStore::open(config, Arc::new(SystemClock)).is_ok()
        })
        .await;
    }
    let upstream = simulator::Config::default();
    TestServer::start_on(home, upstream, Registry::default(), change).await
}

/// How many tasks the cache did this for.
fn count(tasks: &[Task], outcome: CacheOutcome) -> usize {
    let of = tasks.iter().filter(|task| cache_of(task) == outcome);
    of.count()
}

async fn batch(client: &mut Client, id: &str) -> Batch {
    let request = GetBatchRequest {
        batch_id: id.to_owned(),
    };
    let reply = client.get_batch(request).await.unwrap().into_inner();
    reply.batch.unwrap()
}

async fn processing(client: &Client, id: &str) -> u64 {
    let batch = batch(&mut client.clone(), id).await;
    batch.progress.unwrap().processing
}

async fn equal_tasks_at_once_make_one_call(kind: Kind) {
    let upstream = slow(Duration::from_millis(300));
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 8).await;
    let id = submit(&mut server.client, (0..200).map(|_| shared("p")))
        .await
        .batch_id;
    let tasks = ended(&mut server.client, &id).await;
    assert_eq!(tasks.len(), 200);
    let is_answered = |task: &Task| task.result.as_ref().unwrap().text == answer_to("p");
    assert!(tasks.iter().all(is_answered));
    assert_eq!(server.upstream.calls().len(), 1);
    assert_eq!(count(&tasks, CacheOutcome::Miss), 1);
    assert!(count(&tasks, CacheOutcome::Coalesced) > 0);
    // One call was made, and one call is what the batch has used.
    let call = &server.upstream.calls()[0];
    let used = batch(&mut server.client, &id).await.progress.unwrap().usage;
    let used = used.unwrap();
    assert_eq!(used.input_tokens, call.input_tokens);
    assert_eq!(used.output_tokens, call.output_tokens);
    server.stop().await;
}

async fn tasks_that_wait_for_a_call_hold_no_slot(kind: Kind) {
    let upstream = slow(Duration::from_secs(600));
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 2).await;
    let waiting = submit(&mut server.client, (0..40).map(|_| shared("p"))).await;
    soon("all are in hand", async || {
        processing(&server.client, &waiting.batch_id).await == 40
    })
    .await;
    let other = run(
        &mut server.client,
        (0..10).map(|_| function("debug.echo", "1")),
    )
    .await;
    assert_eq!(other.len(), 10);
    assert_eq!(server.upstream.open_calls(), 1);
    assert_eq!(processing(&server.client, &waiting.batch_id).await, 40);
    let request = tidings::proto::v1::CancelTasksRequest {
        batch_id: waiting.batch_id,
        ..Default::default()
    };
    server.client.cancel_tasks(request).await.unwrap();
    soon("the call is dropped", async || {
        server.upstream.open_calls() == 0
    })
    .await;
    server.stop().await;
}

async fn a_request_made_before_is_answered_from_the_cache(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let first = run_one(&mut server.client, shared("p")).await;
    let id = submit(&mut server.client, [shared("p")])
        .await
        .task_ids
        .remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    assert_eq!(told.len(), 3);
    let (first, second) = (first.result.unwrap(), told[2].result.clone().unwrap());
    assert_eq!(first.cache(), CacheOutcome::Miss);
    assert_eq!(second.cache(), CacheOutcome::Hit);
    assert!(first.usage.unwrap().output_tokens > 0);
    assert_eq!(second.usage, Some(Usage::default()), "nothing was used");
    assert_eq!((&second.text, &second.body), (&first.text, &first.body));
    assert_eq!(
        (&second.model, &second.finish_reason),
        (&first.model, &first.finish_reason)
    );
    run_one(&mut server.client, shared("q")).await;
    assert_eq!(
        server.upstream.calls().len(),
        2,
        "another prompt is another call"
    );
    server.stop().await;
}

async fn an_answer_survives_a_restart(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    run_one(&mut server.client, shared("p")).await;
    let mut server = restarted(server, |_| {}).await;
    let task = run_one(&mut server.client, shared("p")).await;
    assert_eq!(cache_of(&task), CacheOutcome::Hit);
    assert!(server.upstream.calls().is_empty());
    server.stop().await;
}

async fn an_invalidated_answer_is_not_given_again(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let first = run_one(&mut server.client, shared("p")).await;
    let same = run_one(&mut server.client, shared("p")).await;
    run_one(&mut server.client, shared("q")).await;
    let unknown = "01890a5d-ac96-7000-8000-000000000000".to_owned();
    let request = InvalidateCacheRequest {
        task_ids: vec![first.id, same.id, unknown.clone()],
    };
    let reply = server.client.invalidate_cache(request).await.unwrap();
    let reply = reply.into_inner();
    assert_eq!(reply.forgotten_count, 1, "both have the same answer");
    assert_eq!(reply.not_found, [unknown]);
    for (text, expected) in [
        ("p", CacheOutcome::Miss),
        ("p", CacheOutcome::Hit),
        ("q", CacheOutcome::Hit),
    ] {
        let task = run_one(&mut server.client, shared(text)).await;
        assert_eq!(cache_of(&task), expected, "{text}");
    }
    assert_eq!(server.upstream.calls().len(), 3);
    server.stop().await;
}

async fn a_refresh_replaces_the_answer(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let body = |task: &Task| task.result.clone().unwrap().body;
    let old = run_one(&mut server.client, shared("p")).await;
    let new = run_one(&mut server.client, with_mode("p", CacheMode::Refresh)).await;
    assert_eq!(cache_of(&new), CacheOutcome::Miss);
    assert_ne!(body(&old), body(&new), "replies have ids of their own");
    let after = run_one(&mut server.client, shared("p")).await;
    assert_eq!(cache_of(&after), CacheOutcome::Hit);
    assert_eq!(body(&after), body(&new));
    assert_eq!(server.upstream.calls().len(), 2);
    server.stop().await;
}

async fn an_answer_that_is_too_old_is_not_taken(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    run_one(&mut server.client, shared("p")).await;
    let mut picky = shared("p");
    picky.options.as_mut().unwrap().cache_max_age = Some(prost_types::Duration {
        seconds: 0,
        nanos: 1_000_000,
    });
    let task = run_one(&mut server.client, picky).await;
    assert_eq!(cache_of(&task), CacheOutcome::Miss);
    let task = run_one(&mut server.client, shared("p")).await;
    assert_eq!(
        cache_of(&task),
        CacheOutcome::Hit,
        "others take the newer one"
    );
    let mut server = restarted(server, |config| {
        config.cache_ttl = Duration::from_millis(1);
    })
    .await;
    let task = run_one(&mut server.client, shared("p")).await;
    assert_eq!(
        cache_of(&task),
        CacheOutcome::Miss,
        "the server has a bound too"
    );
    server.stop().await;
}

async fn what_the_cache_does_is_counted(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    run_one(&mut server.client, shared("p")).await;
    run_one(&mut server.client, shared("p")).await;
    let metrics = reqwest::get(format!("{}/metrics", server.admin)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for outcome in ["miss", "hit"] {
        let line = format!("tidings_cache_total{{outcome=\"{outcome}\"}} ");
        let value = metrics.lines().find_map(|it| it.strip_prefix(&line));
        let value: u64 = value.expect(&line).parse().unwrap();
        assert!(value >= 1);
    }
    server.stop().await;
}
