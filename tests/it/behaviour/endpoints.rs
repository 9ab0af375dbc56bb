//! Several endpoints behind one server, and one that fails for a while.

use std::time::{Duration, Instant};

use tidings::{
    config::Config,
    proto::v1::{
        Batch, GetBatchRequest, ParkReason, ResumeBatchRequest, TaskStatus, TransitionCause,
        WaitReason,
    },
    simulator::{self, Ended, Fault, Faults, Running},
    upstream::Endpoint,
};

use crate::support::{
    server::{
        Client, Kind, TestServer, assert_lawful, on_each_store, prompt, soon, status, status_of,
        submit, watch_batch,
    },
    upstream::{endpoint, simulate},
};

on_each_store! {
    a_batch_flows_to_the_endpoint_that_is_free,
    a_batch_parks_when_no_endpoint_has_money_and_goes_on_with_the_first_that_has,
    a_pause_of_a_day_everywhere_is_shown_on_the_task,
    an_upstream_that_fails_for_a_while_is_left_alone_and_comes_back,
    faults_in_passing_cost_few_calls_and_no_answer,
}

/// In flight at once.
const CONCURRENCY: usize = 8;

fn failing(fault: Fault) -> simulator::Config {
    simulator::Config {
        faults: Faults::always(fault),
        ..simulator::Config::default()
    }
}

fn long_pause() -> Fault {
    Fault::reply(429, &[("retry-after", "86400")], "")
}

/// A server with its own upstream as the cheap endpoint, and this one as the dear one.
async fn start(kind: Kind, cheap: simulator::Config, dear: &Running) -> TestServer {
    let dear = Endpoint {
        price: 2.0,
        ..endpoint("dear", dear.base_url())
    };
    TestServer::start_with(kind, cheap, |config: &mut Config| {
        config.concurrency = CONCURRENCY;
        let cheap = endpoint("cheap", config.upstream.base_url.clone());
        config.endpoints = vec![cheap, dear];
    })
    .await
}

async fn batch(client: &mut Client, id: &str) -> Batch {
    let request = GetBatchRequest {
        batch_id: id.to_owned(),
    };
    let reply = client.get_batch(request).await.unwrap().into_inner();
    reply.batch.unwrap()
}

async fn assert_all_completed(client: &mut Client, id: &str, count: usize) {
    let told = watch_batch(client, id).await;
    assert_lawful(&told);
    let completed = told
        .iter()
        .filter(|task| status_of(task) == TaskStatus::Completed);
    assert_eq!(completed.count(), count);
}

async fn a_batch_flows_to_the_endpoint_that_is_free(kind: Kind) {
    let dear = simulate(simulator::Config::default()).await;
    let mut server = start(kind, failing(long_pause()), &dear).await;
    let id = submit(&mut server.client, (0..200).map(|n| prompt(format!("{n}"))))
        .await
        .batch_id;
    assert_all_completed(&mut server.client, &id, 200).await;
    assert_eq!(dear.calls().len(), 200);
    let wasted = server.upstream.calls();
    assert!(wasted.len() <= CONCURRENCY, "{} calls", wasted.len());
    let first = dear.calls().iter().map(|call| call.time_in).min().unwrap();
    let after = first.since(wasted[0].time_out);
    assert!(after < Duration::from_secs(1), "flowed on after {after:?}");
    let metrics = reqwest::get(format!("{}/metrics", server.admin))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "tidings_upstream_set_aside_total{endpoint=\"cheap\",reason=\"pause\"}";
    assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    server.stop().await;
}

async fn a_batch_parks_when_no_endpoint_has_money_and_goes_on_with_the_first_that_has(kind: Kind) {
    let dear = simulate(failing(Fault::InsufficientQuota)).await;
    let mut server = start(kind, failing(Fault::InsufficientQuota), &dear).await;
    let id = submit(&mut server.client, (0..200).map(|n| prompt(format!("{n}"))))
        .await
        .batch_id;
    soon("the batch is parked and nothing runs", async || {
        let batch = batch(&mut server.client.clone(), &id).await;
        batch.parked.is_some() && batch.progress.unwrap().processing == 0
    })
    .await;
    let parked = batch(&mut server.client, &id).await;
    assert_eq!(parked.parked.unwrap().reason(), ParkReason::QuotaExhausted);
    assert_eq!(parked.progress.unwrap().queued, 200, "none has failed");
    // What was taken up before the first refusal was known, and once more when the batch was being parked.
    for upstream in [&server.upstream, &dear] {
        let calls = upstream.calls().len();
        assert!(calls <= 2 * CONCURRENCY + 1, "{calls} calls for nothing");
    }

    // The cheap one stays poor.
    dear.set_faults(Faults::default()).unwrap();
    let request = ResumeBatchRequest {
        budget_nanos: None,
        batch_id: id.clone(),
    };
    server.client.resume_batch(request).await.unwrap();
    assert_all_completed(&mut server.client, &id, 200).await;
    server.stop().await;
}

async fn a_pause_of_a_day_everywhere_is_shown_on_the_task(kind: Kind) {
    let dear = simulate(failing(long_pause())).await;
    let mut server = start(kind, failing(long_pause()), &dear).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    soon("the task waits for the day to pass", async || {
        let task = status(&mut server.client.clone(), &id).await;
        task.wait_reason() == WaitReason::RateLimited
    })
    .await;
    let task = status(&mut server.client, &id).await;
    let ahead = task.wait_until.unwrap().seconds - task.create_time.unwrap().seconds;
    assert!(ahead > 86_000, "{ahead} s");
    assert_eq!((server.upstream.calls().len(), dear.calls().len()), (1, 1));
    server.stop().await;
}

async fn an_upstream_that_fails_for_a_while_is_left_alone_and_comes_back(kind: Kind) {
    let quick = simulator::Config::default();
    let mut server =
        TestServer::start_with(kind, quick, |config| config.concurrency = CONCURRENCY).await;
    server.upstream.set_healthy(false);
    let start = Instant::now();
    let id = submit(&mut server.client, (0..300).map(|n| prompt(format!("{n}"))))
        .await
        .batch_id;
    // What was on its way when the breaker opened, and then a probe a second.
    let opening = 4 + CONCURRENCY;
    soon("it was asked whether it is back", async || {
        server.upstream.calls().len() >= opening + 2
    })
    .await;
    let calls = server.upstream.calls().len();
    let metrics = reqwest::get(format!("{}/metrics", server.admin))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "tidings_upstream_breakers_open{endpoint=\"upstream\"}";
    assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    let probes = 2 + start.elapsed().as_secs() as usize;
    assert!(calls <= opening + probes, "{calls} calls, {probes} probes");
    server.upstream.set_healthy(true);
    assert_all_completed(&mut server.client, &id, 300).await;
    server.stop().await;
}

async fn faults_in_passing_cost_few_calls_and_no_answer(kind: Kind) {
    const TASKS: usize = 1_000;
    let faults = Faults {
        rates: vec![
            (Fault::Status(500), 0.05),
            (Fault::Reset, 0.02),
            (Fault::Truncated, 0.02),
        ],
        first_attempts: Some(1),
        ..Faults::default()
    };
    let upstream = simulator::Config {
        faults,
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, upstream, |_| {}).await;
    let id = submit(
        &mut server.client,
        (0..TASKS).map(|n| prompt(format!("{n}"))),
    )
    .await
    .batch_id;
    let told = watch_batch(&mut server.client, &id).await;
    assert_lawful(&told);
    let done: Vec<_> = told
        .iter()
        .filter(|task| status_of(task) == TaskStatus::Completed)
        .collect();
    assert_eq!(done.len(), TASKS);
    let calls = server.upstream.calls();
    assert!(10 * calls.len() <= 11 * TASKS, "{} calls", calls.len());
    let retried = told
        .iter()
        .filter(|task| task.cause() == TransitionCause::Retried);
    assert_eq!(calls.len(), TASKS + retried.count());
    // Twice answered is only what was cut off the first time, and that says so.
    let cut = calls
        .iter()
        .filter(|call| matches!(call.fault.as_deref(), Some("reset" | "truncated")));
    let maybe_billed = done.iter().filter(|task| {
        let mut attempts = task.attempts.iter();
        attempts.any(|attempt| {
            attempt
                .error
                .as_ref()
                .is_some_and(|error| error.maybe_billed)
        })
    });
    assert_eq!(cut.count(), maybe_billed.count());
    let answered = calls.iter().filter(|call| call.ended == Ended::Answered);
    assert_eq!(answered.count(), TASKS);
    server.stop().await;
}
