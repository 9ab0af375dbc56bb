//! A task whose call is the death of whoever makes it.

use std::{sync::Arc, time::Duration};

use tidings::proto::v1::{ErrorCode, TransitionCause};
use tokio::sync::mpsc;

use super::{
    fleet::Setup,
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    proxy::{Inspector, Proxy, Verdict},
    redis::RedisServer,
    scale::scale,
};

const LIMIT: Duration = Duration::from_secs(120);
const LOST_WORKERS: usize = 3;

/// A replica's way to the upstream that tells when a prompt passes.
async fn tripwire(
    index: usize,
    port: u16,
    prompt: &str,
    told: mpsc::UnboundedSender<usize>,
) -> Proxy {
    let marker = prompt.as_bytes().to_owned();
    let look: Inspector = Arc::new(move |bytes| {
        if bytes.windows(marker.len()).any(|window| window == marker) {
            told.send(index).unwrap();
        }
        Verdict::Pass
    });
    Proxy::inspecting(port, look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kills_whoever_runs_it_ends_after_three_and_takes_no_other_with_it() {
    let seed = Seed::of("a_task_that_kills_whoever_runs_it");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(100, 200).await;
    // Amid the others; the quote that follows it tells it from longer names.
    let tasks = scale(30, 300);
    let poison = format!("{}-0-{}\"", seed.value(), tasks / 2);
    let (told, mut passed) = mpsc::unbounded_channel();
    let wires = [
        tripwire(0, upstream.addr().port(), &poison, told.clone()).await,
        tripwire(1, upstream.addr().port(), &poison, told).await,
    ];
    let ports = wires.each_ref().map(Proxy::port);
    let store = redis.url();
    let setup = Setup {
        replicas: 2,
        lease: Duration::from_secs(2),
        // Else whatever runs beside it dies with it.
        concurrency: 1,
        grace: Duration::from_secs(5),
        settings: "",
        store: Box::new(move |_| store.clone()),
        upstream: Box::new(move |index| format!("http://127.0.0.1:{}/v1", ports[index])),
    };
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    run.load.submit(tasks, tasks).await;
    for _ in 0..LOST_WORKERS {
        let index = passed.recv().await.unwrap();
        run.fleet.kill(index);
        run.fleet.restart(index).await;
    }
    let evidence = run.evidence(LIMIT).await;
    let mut poisoned = evidence
        .ends
        .values()
        .filter(|task| task.cause() == TransitionCause::Poisoned);
    let task = poisoned.next().expect("it is taken for poison");
    assert!(poisoned.next().is_none(), "no other is");
    assert_eq!(task.attempt as usize, LOST_WORKERS);
    assert_eq!(task.error.as_ref().unwrap().code(), ErrorCode::WorkerLost);
    assert!(passed.try_recv().is_err(), "it was not called again");
    let title = Title {
        fault: "kill -9 of whichever replica calls the upstream with one task".into(),
        on: "Redis, 2 replicas, lease 2 s".into(),
        times: LOST_WORKERS,
        note: String::new(),
    };
    run.conclude(title, &evidence);
}
