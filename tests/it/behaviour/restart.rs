//! `kill -9` in mid-batch: what was accepted is kept, and a watcher that comes back misses and repeats nothing.

use std::{collections::BTreeMap, time::Duration};

use tidings::{
    proto::v1::{Task, TaskStatus, TransitionCause, WatchBatchRequest, watch_batch_response},
    simulator::{self, Latency, Simulator},
};

use crate::support::{
    process::Process,
    server::{
        Client, Home, Kind, assert_lawful, function, on_each_store, prompt, soon, status_of,
        submit, watch_task,
    },
};

on_each_store! {
    every_task_is_answered_after_two_kills_and_the_watch_goes_on,
    a_task_that_kills_its_worker_thrice_is_poison,
}

const TASKS: usize = 200;
/// Tasks that run at once.
const RUN: usize = 20;
/// Besides them an eighth may be ready to run, and as many may have ended and wait for their commit.
const HELD: usize = RUN + 2 * (RUN / 8);

async fn every_task_is_answered_after_two_kills_and_the_watch_goes_on(kind: Kind) {
    let home = Home::new(kind).await;
    let upstream = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(300)),
        ..simulator::Config::default()
    };
    let upstream = Simulator::start(upstream, "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let serve = || {
        Process::serve(
            &home.url(),
            &upstream.base_url(),
            &["--lease", "1s", "--concurrency", &RUN.to_string()],
        )
    };

    let mut server = serve();
    let tasks = (0..TASKS).map(|n| prompt(format!("{n}")));
    let batch = submit(&mut server.client().await, tasks).await;
    let mut watch = Watch::new(&batch.batch_id);
    for kill in 1..=2 {
        watch
            .until(&mut server.client().await, |told| {
                answered(told) >= kill * TASKS / 4
            })
            .await;
        server.kill();
        server = serve();
    }
    watch
        .until(&mut server.client().await, |told| answered(told) == TASKS)
        .await;

    assert_lawful(&watch.told);
    assert_eq!(answered(&watch.told), TASKS);
    let lost = watch
        .told
        .iter()
        .filter(|t| t.cause() == TransitionCause::LeaseExpired)
        .count();
    assert!(
        (1..=2 * HELD).contains(&lost),
        "{lost} attempts lost to two kills of {HELD} at a time"
    );
    // Watched again from the beginning, the same is told.
    let mut again = Watch::new(&batch.batch_id);
    again
        .until(&mut server.client().await, |told| answered(told) == TASKS)
        .await;
    assert_eq!(histories(&again.told), histories(&watch.told));
}

fn answered(told: &[Task]) -> usize {
    let completed = |task: &&Task| status_of(task) == TaskStatus::Completed;
    told.iter().filter(completed).count()
}

fn histories(told: &[Task]) -> BTreeMap<String, Vec<(u64, i32)>> {
    let mut histories: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for task in told {
        let history = histories.entry(task.id.clone()).or_default();
        history.push((task.revision, task.status));
    }
    histories
}

/// A watch of a batch that outlives the servers.
struct Watch {
    request: WatchBatchRequest,
    told: Vec<Task>,
}

impl Watch {
    fn new(batch: &str) -> Self {
        let request = WatchBatchRequest {
            batch_id: batch.to_owned(),
            include_results: true,
            ..WatchBatchRequest::default()
        };
        Watch {
            request,
            told: Vec::new(),
        }
    }

    /// Resumes where it was, and goes on until `enough` or the stream's end.
    async fn until(&mut self, client: &mut Client, enough: impl Fn(&[Task]) -> bool) {
        let mut stream = client
            .watch_batch(self.request.clone())
            .await
            .unwrap()
            .into_inner();
        while !enough(&self.told)
            && let Some(message) = stream.message().await.unwrap()
        {
            self.request.resume_token = message.resume_token;
            if let Some(watch_batch_response::Event::Task(task)) = message.event {
                self.told.push(task);
            }
        }
    }
}

async fn a_task_that_kills_its_worker_thrice_is_poison(kind: Kind) {
    let home = Home::new(kind).await;
    let serve = || Process::serve(&home.url(), "http://127.0.0.1:9/v1", &["--lease", "1s"]);
    let mut server = serve();
    let task = function("debug.sleep", r#"{"seconds":120}"#);
    let id = submit(&mut server.client().await, [task])
        .await
        .task_ids
        .remove(0);
    for kill in 1..=3 {
        let client = server.client().await;
        soon("the task runs", async || {
            let task = crate::support::server::status(&mut client.clone(), &id).await;
            status_of(&task) == TaskStatus::Processing && task.attempt == kill
        })
        .await;
        server.kill();
        server = serve();
    }
    let told = watch_task(&mut server.client().await, &id, 0).await;
    assert_lawful(&told);
    let last = told.last().unwrap();
    assert_eq!(status_of(last), TaskStatus::Error);
    assert_eq!(last.cause(), TransitionCause::Poisoned);
    assert_eq!(last.attempt, 3);
    let error = last.error.as_ref().unwrap();
    assert_eq!(error.code(), tidings::proto::v1::ErrorCode::WorkerLost);
    assert!(!error.maybe_billed, "a function bills nobody");
}
