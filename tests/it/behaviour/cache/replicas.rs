//! The cache over several replicas on one Redis.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use tidings::{
    proto::v1::{CacheOutcome, CancelTasksRequest, Task, TaskStatus, TransitionCause},
    simulator::{Simulator, hash16},
};

use super::{batch, cache_of, count, ended, processing, run_one, shared, slow};
use crate::support::{
    process::Process,
    redis::RedisServer,
    server::{Home, Kind, TestServer, soon, status, status_of, submit},
};

/// Two replicas that share a slow upstream.
async fn two(length: Duration) -> (TestServer, TestServer) {
    let one = TestServer::start_with(Kind::Redis, slow(length), |config| {
        config.concurrency = 16;
    })
    .await;
    let two = one.replica(|config| config.concurrency = 16).await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_equal_tasks_on_two_replicas_make_one_call() {
    let (mut one, mut two) = two(Duration::from_secs(2)).await;
    let first = submit(&mut one.client, (0..500).map(|_| shared("p"))).await;
    let second = submit(&mut two.client, (0..500).map(|_| shared("p"))).await;
    let mut tasks = ended(&mut two.client, &first.batch_id).await;
    tasks.extend(ended(&mut one.client, &second.batch_id).await);
    assert_eq!(tasks.len(), 1_000);
    assert_eq!(one.upstream.calls().len(), 1);
    assert_eq!(count(&tasks, CacheOutcome::Miss), 1);
    let workers: HashSet<&str> = tasks
        .iter()
        .flat_map(|task| &task.attempts)
        .map(|attempt| attempt.worker.as_str())
        .collect();
    assert_eq!(workers.len(), 2, "both replicas had some");
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_with_duplicates_makes_as_many_calls_as_there_are_prompts() {
    let (mut one, two) = two(Duration::from_millis(20)).await;
    // Seven in ten are new, three repeat one of the latest.
    let text = |number: u64| match number % 10 {
        0..7 => format!("prompt {number}"),
        repeats => format!("prompt {}", (number - 13 * (repeats - 6)).max(1) / 10 * 10),
    };
    let texts: Vec<String> = (100..2_100).map(text).collect();
    let prompts: HashSet<String> = texts.iter().map(|text| hash16(text)).collect();
    assert!(prompts.len() < 1_500);
    let batches = join_all(texts.chunks(500).map(|part| {
        let mut client = one.client.clone();
        async move {
            submit(&mut client, part.iter().map(|text| shared(text)))
                .await
                .batch_id
        }
    }))
    .await;
    let mut tasks: Vec<Task> = Vec::new();
    for id in &batches {
        tasks.extend(ended(&mut one.client, id).await);
    }
    assert_eq!(tasks.len(), texts.len());
    let calls = one.upstream.calls();
    let called: HashSet<String> = calls.iter().map(|call| call.prompt.clone()).collect();
    assert_eq!(called, prompts);
    assert_eq!(calls.len(), prompts.len(), "no prompt was called for twice");
    assert_eq!(count(&tasks, CacheOutcome::Miss), prompts.len());
    let mut used = 0;
    for id in &batches {
        let progress = batch(&mut one.client, id).await.progress.unwrap();
        used += progress.usage.unwrap().output_tokens;
    }
    let billed: u64 = calls.iter().map(|call| call.output_tokens).sum();
    assert_eq!(used, billed, "what the batches used is what was billed");
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_cancelled_on_another_replica_is_made_here() {
    let (mut one, mut two) = two(Duration::from_secs(2)).await;
    let lead = submit(&mut one.client, [shared("p")])
        .await
        .task_ids
        .remove(0);
    soon("the call is open", async || one.upstream.open_calls() == 1).await;
    let followers = submit(&mut two.client, (0..40).map(|_| shared("p")))
        .await
        .batch_id;
    soon("the others wait", async || {
        processing(&two.client, &followers).await == 40
    })
    .await;
    let request = CancelTasksRequest {
        task_ids: vec![lead],
        ..CancelTasksRequest::default()
    };
    two.client.cancel_tasks(request).await.unwrap();
    let tasks = ended(&mut two.client, &followers).await;
    assert_eq!(count(&tasks, CacheOutcome::Miss), 1);
    assert_eq!(one.upstream.calls().len(), 2);
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_replica_that_calls_dies_another_one_calls_once() {
    let home = Home::new(Kind::Redis).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let upstream = Simulator::start(slow(Duration::from_secs(3)), any)
        .await
        .unwrap();
    let serve = || Process::serve(&home.url(), &upstream.base_url(), &["--lease", "1s"]);
    let one = serve();
    let lead = submit(&mut one.client().await, [shared("p")])
        .await
        .task_ids
        .remove(0);
    soon("the call is open", async || upstream.open_calls() == 1).await;
    let two = serve();
    let mut client = two.client().await;
    let followers = submit(&mut client, (0..40).map(|_| shared("p")))
        .await
        .batch_id;
    soon("the others wait", async || {
        processing(&client, &followers).await == 40
    })
    .await;
    one.kill();
    let tasks = ended(&mut client, &followers).await;
    assert_eq!(tasks.len(), 40);
    soon("the lead is done too", async || {
        let lead = status(&mut client.clone(), &lead).await;
        status_of(&lead) == TaskStatus::Completed
    })
    .await;
    let calls = upstream.calls();
    assert_eq!(calls.len(), 2, "that of the dead one, and one more for all");
}

/// Takes away what Redis knows of leads, as a failover may.
async fn lose_leads(server: &RedisServer) -> usize {
    let mut connection = server.connect().await.unwrap();
    let mut keys = redis::cmd("KEYS");
    let keys: Vec<Vec<u8>> = keys
        .arg("*:l:*")
        .query_async(&mut connection)
        .await
        .unwrap();
    for key in &keys {
        let mut delete = redis::cmd("DEL");
        delete.arg(key).exec_async(&mut connection).await.unwrap();
    }
    keys.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_that_redis_lost_costs_one_call() {
    let (mut one, mut two) = two(Duration::from_secs(2)).await;
    let first = submit(&mut one.client, [shared("p")]).await.batch_id;
    soon("the call is open", async || one.upstream.open_calls() == 1).await;
    assert_eq!(lose_leads(one.home.redis.as_ref().unwrap()).await, 1);
    let second = submit(&mut two.client, (0..40).map(|_| shared("p")))
        .await
        .batch_id;
    assert_eq!(ended(&mut two.client, &second).await.len(), 40);
    assert_eq!(ended(&mut two.client, &first).await.len(), 1);
    let calls = one.upstream.calls().len();
    assert!(calls <= 2, "{calls} calls");
    let later = run_one(&mut two.client, shared("p")).await;
    assert_eq!(cache_of(&later), CacheOutcome::Hit);
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_shuts_down_gives_back_what_only_waits() {
    let grace = Duration::from_secs(600);
    let upstream = slow(Duration::from_secs(3_600));
    // Takes one at a time, so that the other replica has its share.
    let mut one = TestServer::start_with(Kind::Redis, upstream, |config| {
        config.concurrency = 2;
    })
    .await;
    let lead = submit(&mut one.client, [shared("p")])
        .await
        .task_ids
        .remove(0);
    soon("the call is open", async || one.upstream.open_calls() == 1).await;
    let two = one.replica(|config| config.shutdown_grace = grace).await;
    let followers = submit(&mut one.client, (0..40).map(|_| shared("p"))).await;
    soon("the others wait", async || {
        processing(&one.client, &followers.batch_id).await == 40
    })
    .await;
    let first = &status(&mut one.client, &lead).await.attempts[0];
    let here = &first.worker;
    let mut elsewhere = Vec::new();
    for id in &followers.task_ids {
        let task = status(&mut one.client, id).await;
        elsewhere.extend((task.attempts[0].worker != *here).then(|| id.clone()));
    }
    assert!(!elsewhere.is_empty());
    let stopped = tokio::time::timeout(grace / 4, two.stop()).await;
    assert!(
        stopped.is_ok(),
        "it waited for a call that it does not make"
    );
    soon("they wait here", async || {
        processing(&one.client, &followers.batch_id).await == 40
    })
    .await;
    for id in &elsewhere {
        let task = status(&mut one.client, id).await;
        assert_eq!(task.attempts[0].outcome(), TransitionCause::Released);
        assert_eq!(task.attempts[1].worker, *here);
    }
    let request = CancelTasksRequest {
        batch_id: followers.batch_id,
        ..CancelTasksRequest::default()
    };
    one.client.cancel_tasks(request).await.unwrap();
    let request = CancelTasksRequest {
        task_ids: vec![lead],
        ..CancelTasksRequest::default()
    };
    one.client.cancel_tasks(request).await.unwrap();
    one.stop().await;
}
