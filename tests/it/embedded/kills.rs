//! `kill -9` at random moments under load, over and over on one directory: no acknowledged task is missing, no end
//! is taken back, no key makes two batches, and every history could have happened.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;
use tidings::{
    proto::v1::{GetStatusRequest, SubmitBatchRequest, Task, TaskSpec, TaskStatus},
    simulator::{self, Latency, Running},
};

use crate::support::{
    binary::{Binary, Start},
    report::{Row, repeat},
    scale::scale,
    server::{Client, assert_lawful, function, prompt, status_of, watch_task},
    upstream::simulate,
};

const SEED: u64 = 0x6b69_6c6c;
const CALLERS: u64 = 4;
/// Cycles on one directory.
const GENERATION: usize = 100;
/// How long a server lives under load, in milliseconds.
const LIFE: std::ops::Range<u64> = 5..150;
/// Ids a GetStatus call takes.
const PAGE: usize = 1_000;

/// What callers were told, and what they do not know.
#[derive(Default)]
struct Told {
    /// By key, the latest last: the call and the ids of its reply.
    accepted: BTreeMap<String, (SubmitBatchRequest, Vec<String>)>,
    /// Calls without a reply.
    unknown: BTreeMap<String, SubmitBatchRequest>,
    /// Ends that were read.
    ended: BTreeMap<String, Task>,
}

#[derive(Debug, Default)]
struct Figures {
    cycles: usize,
    accepted: usize,
    unknown: usize,
    ended: usize,
    watched: usize,
    slowest_start: Duration,
}

/// One directory, and all that is known about it.
struct Scene {
    home: TempDir,
    upstream: String,
    told: Arc<Mutex<Told>>,
    cycle: usize,
}

impl Scene {
    fn start(&self) -> Binary {
        let start = Start {
            home: self.home.path(),
            upstream: &self.upstream,
            flags: &["--concurrency", "8", "--lease", "2s"],
            variables: &[],
        };
        start.serve().unwrap()
    }

    /// Looks for everything, repeats what was without a reply, and some of what had one.
    async fn check(&mut self, client: &mut Client, random: &mut SmallRng, recent: usize) {
        let unknown = std::mem::take(&mut self.told.lock().unknown);
        for (key, request) in unknown {
            let made = client
                .submit_batch(request.clone())
                .await
                .unwrap()
                .into_inner();
            self.told
                .lock()
                .accepted
                .insert(key, (request, made.task_ids));
        }
        let accepted = self.told.lock().accepted.clone();
        let count = accepted.len();
        let latest: Vec<_> = accepted
            .into_iter()
            .skip(count.saturating_sub(recent))
            .collect();
        for _ in 0..3.min(latest.len()) {
            let (key, (request, ids)) = &latest[random.random_range(0..latest.len())];
            let again = client
                .submit_batch(request.clone())
                .await
                .unwrap()
                .into_inner();
            assert_eq!(again.task_ids, *ids, "key {key} made something else");
        }
        let ids: Vec<String> = latest.into_iter().flat_map(|(_, (_, ids))| ids).collect();
        for page in ids.chunks(PAGE) {
            self.look(client, page).await;
        }
    }

    /// Every id is there, and what had ended is as it was.
    async fn look(&self, client: &mut Client, ids: &[String]) -> usize {
        let request = GetStatusRequest {
            task_ids: ids.to_vec(),
            omit_results: false,
        };
        let found = client.get_status(request).await.unwrap().into_inner();
        assert_eq!(
            found.tasks.len(),
            ids.len(),
            "missing {:?}, unreadable {:?}",
            found.not_found,
            found.faults
        );
        let mut told = self.told.lock();
        let mut ended = 0;
        for mut task in found.tasks {
            if !has_ended(&task) {
                assert!(
                    !told.ended.contains_key(&task.id),
                    "{} was at an end before",
                    task.id
                );
                continue;
            }
            ended += 1;
            // A reply that grows too large leaves results out.
            task.result_omitted = false;
            let before = told
                .ended
                .entry(task.id.clone())
                .or_insert_with(|| task.clone());
            assert_eq!(*before, task, "an end that was told has changed");
        }
        ended
    }

    /// Lets callers submit and look until the server is killed.
    async fn load(&mut self, binary: &mut Binary, random: &mut SmallRng) {
        let client = binary.client().await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let prefix = format!("{:06}/{caller}", self.cycle);
                tokio::spawn(call(client.clone(), self.told.clone(), prefix))
            })
            .collect();
        let life = Duration::from_millis(random.random_range(LIFE));
        let started = Instant::now();
        while started.elapsed() < life {
            let ids = latest_ids(&self.told.lock(), 50);
            let request = GetStatusRequest {
                task_ids: ids.clone(),
                omit_results: false,
            };
            if !ids.is_empty() && client.clone().get_status(request).await.is_ok() {
                self.look(&mut client.clone(), &ids).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        binary.kill();
        for caller in callers {
            caller.await.unwrap();
        }
        self.cycle += 1;
    }
}

fn has_ended(task: &Task) -> bool {
    matches!(
        status_of(task),
        TaskStatus::Completed | TaskStatus::Error | TaskStatus::Cancelled
    )
}

fn latest_ids(told: &Told, calls: usize) -> Vec<String> {
    let latest = told.accepted.values().rev().take(calls);
    latest.flat_map(|(_, ids)| ids.clone()).take(PAGE).collect()
}

/// Submits one call after the other until the server has gone.
async fn call(mut client: Client, told: Arc<Mutex<Told>>, prefix: String) {
    for number in 0_u64.. {
        let key = format!("{prefix}/{number:06}");
        let tasks: Vec<TaskSpec> = (0..=number % 4)
            .map(|task| match (number + task) % 8 {
                0 => prompt("What is 6 times 7?"),
                1 => function("debug.sleep", r#"{"seconds":0.02}"#),
                _ => function("debug.echo", r#"{"n":1}"#),
            })
            .collect();
        let request = SubmitBatchRequest {
            tasks,
            idempotency_key: key.clone(),
            ..SubmitBatchRequest::default()
        };
        told.lock().unknown.insert(key.clone(), request.clone());
        let Ok(reply) = client.submit_batch(request.clone()).await else {
            return;
        };
        let mut told = told.lock();
        told.unknown.remove(&key);
        told.accepted
            .insert(key, (request, reply.into_inner().task_ids));
    }
}

/// Kills `cycles` times on one directory.
async fn generation(
    upstream: &Running,
    cycles: usize,
    random: &mut SmallRng,
    figures: &mut Figures,
) {
    let mut scene = Scene {
        home: TempDir::new().unwrap(),
        upstream: upstream.base_url(),
        told: Arc::default(),
        cycle: 0,
    };
    for _ in 0..cycles {
        let starting = Instant::now();
        let mut binary = scene.start();
        figures.slowest_start = figures.slowest_start.max(starting.elapsed());
        figures.unknown += scene.told.lock().unknown.len();
        scene.check(&mut binary.client().await, random, 200).await;
        scene.load(&mut binary, random).await;
        figures.cycles += 1;
    }
    let mut binary = scene.start();
    let mut client = binary.client().await;
    scene.check(&mut client, random, usize::MAX).await;
    let all: Vec<String> = {
        let told = scene.told.lock();
        told.accepted
            .values()
            .flat_map(|(_, ids)| ids.clone())
            .collect()
    };
    figures.accepted += all.len();
    // To the end, and by the way a sample of what led there.
    for _ in 0..20.min(all.len()) {
        let id = &all[random.random_range(0..all.len())];
        let told = watch_task(&mut client, id, 0).await;
        assert_lawful(&told);
        assert_eq!(told[0].revision, 1);
        figures.watched += 1;
    }
    for page in all.chunks(PAGE) {
        loop {
            if scene.look(&mut client, page).await == page.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    figures.ended += all.len();
    binary.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_however_often_the_process_is_killed() {
    let upstream = simulate(simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(2)),
        ..simulator::Config::default()
    })
    .await;
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut figures = Figures::default();
    let (mut left, started) = (scale(15, 1_000), Instant::now());
    while left > 0 {
        let cycles = left.min(GENERATION);
        generation(&upstream, cycles, &mut random, &mut figures).await;
        left -= cycles;
    }
    let row = Row {
        fault: "kill -9 of the server at any moment, restarted on its directory".into(),
        on: "embedded, 1 process, lease 2 s".into(),
        times: figures.cycles,
        tasks: Some(figures.accepted),
        lost: Some(figures.accepted - figures.ended),
        // An end that is not as it was told before ends the test.
        double_terminals: Some(0),
        note: format!(
            "{GENERATION} kills a directory at most; {} submits without a reply repeated by key, {} histories watched, \
             slowest start {} ms, {} s in all",
            figures.unknown,
            figures.watched,
            figures.slowest_start.as_millis(),
            started.elapsed().as_secs()
        ),
        repeat: repeat("nothing_acknowledged_is_lost"),
        ..Row::default()
    };
    row.report();
    assert!(figures.accepted > figures.cycles);
}
