//! Several servers on one Redis: whoever has the id can ask any of them, and none of them matters.

use std::time::Duration;

use tidings::{
    proto::v1::{CancelResult, CancelTasksRequest, Task, TaskStatus, TransitionCause},
    simulator::{self, Latency, Simulator, answer_to},
};

use crate::support::{
    gate::Gate,
    process::Process,
    server::{
        Home, Kind, TestServer, assert_lawful, connect, prompt, soon, status, status_of, submit,
        watch_batch, watch_task,
    },
};

fn worker(task: &Task) -> &str {
    &task.attempts.last().unwrap().worker
}

/// A server whose only slot is held by a task at the gate, which names its worker.
async fn occupied(gate: &Gate) -> (TestServer, String) {
    let (home, upstream) = (Home::new(Kind::Redis).await, simulator::Config::default());
    let mut server = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.concurrency = 1;
    })
    .await;
    let id = submit(&mut server.client, [Gate::task()])
        .await
        .task_ids
        .remove(0);
    soon("the slot is taken", async || gate.inside() == 1).await;
    let held = status(&mut server.client, &id).await;
    let worker = worker(&held).to_owned();
    (server, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_on_one_replica_is_told_what_another_ones_worker_did() {
    let gate = Gate::new();
    let (mut one, busy) = occupied(&gate).await;
    let batch = submit(&mut one.client, (0..50).map(|n| prompt(format!("{n}")))).await;
    let watching = {
        let (mut client, id) = (one.client.clone(), batch.batch_id.clone());
        tokio::spawn(async move { watch_batch(&mut client, &id).await })
    };
    let two = one.replica(|_| {}).await;

    let told = watching.await.unwrap();

    assert_lawful(&told);
    let ended = |task: &&Task| status_of(task) == TaskStatus::Completed;
    let ended: Vec<&Task> = told.iter().filter(ended).collect();
    assert_eq!(ended.len(), 50);
    assert!(ended.iter().all(|task| worker(task) != busy));
    gate.open();
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_there_for_others_on_another_replica_after_the_submitter_has_gone() {
    let one = TestServer::start(Kind::Redis).await;
    let mut two = one.replica(|_| {}).await;
    let mut submitter = connect(&one.endpoint).await;
    let batch = submit(&mut submitter, [prompt("a"), prompt("b")]).await;
    drop(submitter);

    let told = watch_batch(&mut two.client, &batch.batch_id).await;
    assert_lawful(&told);
    assert_eq!(told.len(), 6);
    // Even after the replica has gone that took them in.
    let upstream = one.upstream.calls();
    let home = one.stop().await;
    for (id, prompt) in batch.task_ids.iter().zip(["a", "b"]) {
        let task = status(&mut two.client, id).await;
        assert_eq!(task.result.unwrap().text, answer_to(prompt));
        assert_eq!(watch_task(&mut two.client, id, 0).await.len(), 3);
    }
    assert_eq!(upstream.len(), 2);
    two.stop().await;
    drop(home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_on_one_replica_closes_the_call_of_another() {
    let asleep = simulator::Config {
        latency: Latency::Fixed(Duration::from_secs(600)),
        ..simulator::Config::default()
    };
    let mut one = TestServer::start_with(Kind::Redis, asleep, |config| {
        // So that no renewal can be what notices.
        config.lease = Duration::from_secs(3_600);
    })
    .await;
    let id = submit(&mut one.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    soon("the call is open", async || one.upstream.open_calls() == 1).await;
    let mut two = one.replica(|_| {}).await;

    let request = CancelTasksRequest {
        task_ids: vec![id.clone()],
        ..CancelTasksRequest::default()
    };
    let reply = two.client.cancel_tasks(request).await.unwrap().into_inner();

    assert_eq!(reply.outcomes[0].result(), CancelResult::Cancelled);
    soon("the call is dropped", async || {
        one.upstream.open_calls() == 0
    })
    .await;
    assert!(one.upstream.calls()[0].hung_up());
    let told = watch_task(&mut one.client, &id, 0).await;
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Cancelled);
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_costs_time_and_no_task() {
    let home = Home::new(Kind::Redis).await;
    let upstream = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(300)),
        ..simulator::Config::default()
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let upstream = Simulator::start(upstream, any).await.unwrap();
    let serve = || {
        let options = ["--lease", "1s", "--concurrency", "20"];
        Process::serve(&home.url(), &upstream.base_url(), &options)
    };
    let (one, two) = (serve(), serve());
    let prompts = (0..400).map(|n| prompt(format!("{n}")));
    let batch = submit(&mut one.client().await, prompts).await;
    let watching = {
        let (mut client, id) = (two.client().await, batch.batch_id.clone());
        tokio::spawn(async move { watch_batch(&mut client, &id).await })
    };
    soon("both are at work", async || {
        upstream.finished_calls() >= 40 && upstream.open_calls() > 20
    })
    .await;
    one.kill();

    let told = watching.await.unwrap();

    assert_lawful(&told);
    let count = |is: &dyn Fn(&Task) -> bool| told.iter().filter(|task| is(task)).count();
    assert_eq!(count(&|task| status_of(task) == TaskStatus::Completed), 400);
    let lost = count(&|task| task.cause() == TransitionCause::LeaseExpired);
    // Those that ran, an eighth made ready for their places, and an eighth whose answers were being committed.
    assert!(
        (1..=24).contains(&lost),
        "{lost} attempts of 20 at a time lost"
    );
}
