//! How tasks start: in order, many at once, never more than allowed, and none forgotten.

use std::{cmp::Reverse, time::Duration};

use tidings::{
    proto::v1::{
        SubmitBatchRequest, Task, TaskStatus, WatchBatchRequest, WatchBatchResponse,
        watch_batch_response,
    },
    simulator::{self, CallRecord, Latency, Running, Simulator, hash16},
};

use crate::support::{
    gate::Gate,
    process::Process,
    server::{
        Client, Home, Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon,
        status_of, submit, watch_batch,
    },
};

on_each_store! {
    small_batches_start_in_the_order_of_their_submission,
    a_small_batch_does_not_wait_for_a_large_one,
    no_more_tasks_run_at_once_than_allowed,
    quick_calls_are_no_more_at_once_than_allowed,
    a_batch_is_many_calls_at_once,
    thousands_of_calls_are_in_flight_in_one_process,
    a_thousand_waiting_tasks_outlive_their_server,
    two_watchers_follow_a_batch_that_grows,
}

fn answered(told: &[Task]) -> usize {
    let completed = |task: &&Task| status_of(task) == TaskStatus::Completed;
    told.iter().filter(completed).count()
}

async fn small_batches_start_in_the_order_of_their_submission(kind: Kind) {
    let gate = Gate::new();
    let upstream = simulator::Config::default();
    let home = Home::new(kind).await;
    let mut server = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.concurrency = 1;
    })
    .await;
    // Holds the only slot while the others queue up.
    submit(&mut server.client, [Gate::task()]).await;
    soon("the slot is taken", async || gate.inside() == 1).await;
    let prompts: Vec<String> = (0..60).map(|n| format!("prompt {n}")).collect();
    let mut batches = Vec::new();
    for part in prompts.chunks(12) {
        batches.push(submit(&mut server.client, part.iter().map(prompt)).await);
    }
    gate.open();
    for batch in batches {
        let told = watch_batch(&mut server.client, &batch.batch_id).await;
        assert_lawful(&told);
        assert_eq!(answered(&told), 12);
    }
    let calls = server.upstream.calls();
    let order: Vec<String> = calls.into_iter().map(|call| call.prompt).collect();
    let expected: Vec<String> = prompts.iter().map(|prompt| hash16(prompt)).collect();
    assert_eq!(order, expected);
    server.stop().await;
}

async fn a_small_batch_does_not_wait_for_a_large_one(kind: Kind) {
    let gate = Gate::new();
    let upstream = simulator::Config::default();
    let home = Home::new(kind).await;
    let mut server = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.concurrency = 2;
    })
    .await;
    submit(&mut server.client, [Gate::task(), Gate::task()]).await;
    soon("the slots are taken", async || gate.inside() == 2).await;
    let prompts = |word: &'static str, count| (0..count).map(move |n| format!("{word} {n}"));
    let large = submit(&mut server.client, prompts("large", 500).map(prompt)).await;
    let small = submit(&mut server.client, prompts("small", 10).map(prompt)).await;
    gate.open();
    for (batch, count) in [(small, 10), (large, 500)] {
        let told = watch_batch(&mut server.client, &batch.batch_id).await;
        assert_lawful(&told);
        assert_eq!(answered(&told), count);
    }
    let wanted: Vec<String> = prompts("small", 10).map(|it| hash16(&it)).collect();
    let calls = server.upstream.calls();
    let last = calls.iter().rposition(|call| wanted.contains(&call.prompt));
    // Two of the large one may be in hand already, and calls at once may overtake each other.
    assert!(last < Some(16), "{last:?}");
    server.stop().await;
}

async fn no_more_tasks_run_at_once_than_allowed(kind: Kind) {
    let gate = Gate::new();
    let upstream = simulator::Config::default();
    let home = Home::new(kind).await;
    let mut server = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.concurrency = 7;
    })
    .await;
    let batch = submit(&mut server.client, (0..300).map(|_| Gate::task())).await;
    soon("every slot is taken", async || gate.inside() == 7).await;
    gate.open();
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    assert_eq!(answered(&told), 300);
    assert_eq!(gate.most(), 7);
    server.stop().await;
}

async fn quick_calls_are_no_more_at_once_than_allowed(kind: Kind) {
    const ALLOWED: usize = 32;
    let upstream = answering_after(Duration::from_millis(30));
    let mut server = TestServer::start_with(kind, upstream, |config| {
        config.concurrency = ALLOWED;
    })
    .await;
    let prompts = (0..1_000).map(|n| prompt(format!("{n}")));
    let batch = submit(&mut server.client, prompts).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    assert_eq!(answered(&told), 1_000);
    let most = most_at_once(&server.upstream.calls());
    assert!((ALLOWED / 2..=ALLOWED).contains(&most), "{most} at once");
    server.stop().await;
}

async fn a_batch_is_many_calls_at_once(kind: Kind) {
    let upstream = answering_after(Duration::from_millis(500));
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 20).await;
    let batch = submit(&mut server.client, (0..40).map(|n| prompt(format!("{n}")))).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    assert_eq!(answered(&told), 40);
    let calls = server.upstream.calls();
    let first = calls.iter().map(|call| call.time_in).min().unwrap();
    let last = calls.iter().map(|call| call.time_out).max().unwrap();
    // Two rounds of half a second; one after the other they would take twenty seconds.
    let took = last.since(first);
    let bound = Duration::from_millis(990)..Duration::from_secs(5);
    assert!(bound.contains(&took), "{took:?}");
    server.stop().await;
}

/// The most calls that were open at one instant.
fn most_at_once(calls: &[CallRecord]) -> usize {
    let mut steps: Vec<_> = calls
        .iter()
        .flat_map(|call| {
            [
                (call.time_in, Reverse(false)),
                (call.time_out, Reverse(true)),
            ]
        })
        .collect();
    // At one instant those that end go before those that begin.
    steps.sort_unstable();
    let (mut open, mut most) = (0_usize, 0);
    for (_, Reverse(ends)) in steps {
        open = if ends {
            open.saturating_sub(1)
        } else {
            open + 1
        };
        most = most.max(open);
    }
    most
}

const IN_FLIGHT: usize = 2_000;

async fn thousands_of_calls_are_in_flight_in_one_process(kind: Kind) {
    // Long enough for a busy machine to open as many connections meanwhile.
    let upstream = answering_after(Duration::from_secs(6));
    let mut server = TestServer::start_with(kind, upstream, |config| {
        config.concurrency = IN_FLIGHT;
    })
    .await;
    let mut batches = Vec::new();
    for part in 0..IN_FLIGHT / 1_000 {
        let prompts = (0..1_000).map(|n| prompt(format!("{part} {n}")));
        batches.push(submit(&mut server.client, prompts).await);
    }
    for batch in batches {
        let told = watch_batch(&mut server.client, &batch.batch_id).await;
        assert_lawful(&told);
        assert_eq!(answered(&told), 1_000);
    }
    let calls = server.upstream.calls();
    assert_eq!(calls.len(), IN_FLIGHT);
    let most = most_at_once(&calls);
    println!("{most} calls in flight at once");
    assert!(most > IN_FLIGHT * 9 / 10, "only {most} calls in flight");
    server.stop().await;
}

fn answering_after(latency: Duration) -> simulator::Config {
    simulator::Config {
        latency: Latency::Fixed(latency),
        ..simulator::Config::default()
    }
}

async fn simulate(latency: Duration) -> Running {
    let config = answering_after(latency);
    let any = "127.0.0.1:0".parse().unwrap();
    Simulator::start(config, any).await.unwrap()
}

async fn a_thousand_waiting_tasks_outlive_their_server(kind: Kind) {
    let home = Home::new(kind).await;
    let asleep = simulate(Duration::from_secs(600)).await;
    let options = ["--lease", "1s", "--concurrency", "10"];
    let server = Process::serve(&home.url(), &asleep.base_url(), &options);
    let prompts = (0..1_000).map(|n| prompt(format!("{n}")));
    let batch = submit(&mut server.client().await, prompts).await;
    soon("ten run and the rest waits", async || {
        asleep.open_calls() == 10
    })
    .await;
    server.kill();

    let awake = simulate(Duration::ZERO).await;
    let server = Process::serve(&home.url(), &awake.base_url(), &["--lease", "1s"]);
    let told = watch_batch(&mut server.client().await, &batch.batch_id).await;
    assert_lawful(&told);
    assert_eq!(answered(&told), 1_000);
    assert_eq!(awake.calls().len(), 1_000, "each was asked once more only");
}

/// All that a batch's stream tells after `token`, until its end or `enough` transitions.
async fn follow(
    client: &mut Client,
    batch: &str,
    token: &str,
    enough: usize,
) -> (Vec<Task>, String) {
    let request = WatchBatchRequest {
        batch_id: batch.to_owned(),
        resume_token: token.to_owned(),
        include_results: true,
    };
    let mut stream = client.watch_batch(request).await.unwrap().into_inner();
    let (mut told, mut token, mut last) = (Vec::new(), token.to_owned(), None);
    while told.len() < enough {
        let Some(message) = stream.message().await.unwrap() else {
            let Some(watch_batch_response::Event::Progress(progress)) = last else {
                panic!("the counters come last: {last:?}");
            };
            assert!(progress.done);
            assert_eq!((progress.total, progress.completed), (1_000, 1_000));
            break;
        };
        let WatchBatchResponse {
            event,
            resume_token,
            ..
        } = message;
        token = resume_token;
        last = event.clone();
        if let Some(watch_batch_response::Event::Task(task)) = event {
            told.push(task);
        }
    }
    (told, token)
}

async fn two_watchers_follow_a_batch_that_grows(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let mut request = SubmitBatchRequest {
        tasks: (0..250)
            .map(|n| function("debug.echo", &n.to_string()))
            .collect(),
        keep_open: true,
        ..SubmitBatchRequest::default()
    };
    let first = server.client.submit_batch(request.clone()).await.unwrap();
    request.batch_id = first.into_inner().batch_id;
    let (head, token) = follow(&mut server.client, &request.batch_id, "", 100).await;
    let watch = |token: String| {
        let (mut client, batch) = (server.client.clone(), request.batch_id.clone());
        tokio::spawn(async move { follow(&mut client, &batch, &token, usize::MAX).await.0 })
    };
    let (whole, rest) = (watch(String::new()), watch(token));
    for left in (0..3).rev() {
        request.keep_open = left > 0;
        server.client.submit_batch(request.clone()).await.unwrap();
    }
    let (whole, rest) = (whole.await.unwrap(), rest.await.unwrap());

    assert_lawful(&whole);
    assert_eq!(whole.len(), 3_000);
    assert_eq!(answered(&whole), 1_000);
    let moves = |told: &[Task]| -> Vec<(String, u64, i32)> {
        told.iter()
            .map(|task| (task.id.clone(), task.revision, task.status))
            .collect()
    };
    assert_eq!(moves(&whole[..100]), moves(&head));
    assert_eq!(moves(&whole[100..]), moves(&rest));
    server.stop().await;
}
