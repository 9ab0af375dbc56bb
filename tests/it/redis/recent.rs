//! What a process knows from its own calls it does not read; what others do it is told all the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{
    StreamExt as _,
    future::{join_all, ready},
};
use rand::RngExt as _;
use tidings::{
    model::{BatchId, IdRange, Priority, TaskId, WorkerId},
    store::{Amendment, Append, Store, Submission, Verdict, redis::RedisStore},
    watch::{Hub, batch},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::redis::RedisServer;

use super::{LEASE, connect, now, spec, succeeded};

/// A process: its store, what tells its watchers, and who works there.
struct Process {
    store: Arc<RedisStore>,
    hub: Arc<Hub>,
    worker: WorkerId,
}

impl Process {
    async fn on(server: &RedisServer, worker: u64) -> Self {
        let store = Arc::new(connect(server, 1).await);
        let hub = Hub::new(store.clone(), CancellationToken::new());
        tokio::spawn(hub.clone().run(CancellationToken::new()));
        Process {
            store,
            hub,
            worker: WorkerId(worker),
        }
    }

    async fn submit(&self, batch_id: BatchId, append: Append, count: u32) {
        let spec = Arc::new(spec(Priority::Normal));
        let submission = Submission {
            batch_id,
            append,
            keep_open: true,
            ids: IdRange::new(now(), 0, rand::random(), count),
            specs: vec![spec; count as usize],
            budget: None,
            idempotency: None,
        };
        self.store.submit(submission).await.unwrap();
    }

    /// Runs up to so many tasks. Answers how many there were.
    async fn work(&self, max: usize) -> usize {
        let acquired = self.store.acquire(self.worker, max, LEASE).await.unwrap();
        let commits: Vec<_> = acquired.tasks.into_iter().map(succeeded).collect();
        let count = commits.len();
        if count > 0 {
            let verdicts = self.store.commit(commits).await.unwrap();
            assert_eq!(verdicts, vec![Verdict::Applied; count]);
        }
        count
    }

    /// Every transition that a watcher is told until the batch is done, in order.
    fn watch(&self, batch: BatchId) -> JoinHandle<Vec<(TaskId, u64)>> {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            let events = batch::watch(hub, batch, <_>::default()).await.unwrap();
            let moved = events.filter_map(|event| {
                ready(match event.unwrap() {
                    batch::Event::Moved { entry, task, .. } => {
                        let told = task.unwrap().history[entry.revision as usize - 1].status;
                        assert_eq!(told, entry.status);
                        Some((entry.task, entry.revision))
                    }
                    _ => None,
                })
            });
            moved.collect().await
        })
    }
}

/// Three transitions of each of so many tasks, each once and in order.
fn assert_whole(told: &[(TaskId, u64)], tasks: usize) {
    let mut revisions: HashMap<TaskId, u64> = HashMap::new();
    for (task, revision) in told {
        let before = revisions.insert(*task, *revision);
        assert_eq!(before.unwrap_or(0) + 1, *revision, "{task}");
    }
    assert_eq!((revisions.len(), told.len()), (tasks, 3 * tasks));
}

#[tokio::test]
async fn a_process_that_works_alone_tells_without_reading() {
    let server = RedisServer::start(&[]).await;
    let alone = Process::on(&server, 1).await;
    let batch = BatchId::new(now(), 0, 7);
    alone.submit(batch, Append::New, 100).await;
    let told = alone.watch(batch);
    while alone.work(30).await > 0 {}
    for _ in 0..9 {
        alone.submit(batch, Append::Open, 100).await;
        while alone.work(30).await > 0 {}
    }
    alone.store.amend(batch, Amendment::Close).await.unwrap();
    assert_whole(&told.await.unwrap(), 1_000);
    // That is how a log is read; nothing else does here.
    let stats = server.info("commandstats").await;
    let calls = |name: &str| {
        let line = stats.lines().find_map(|it| it.strip_prefix(name));
        let calls = line.and_then(|it| it.split(['=', ',']).nth(1));
        calls.map_or(0, |it| it.parse::<u32>().unwrap())
    };
    // As it begins, and when it is closed.
    assert!(calls("cmdstat_getrange:") <= 4, "{stats}");
}

#[tokio::test]
async fn whoever_works_watchers_of_every_process_are_told_everything() {
    let server = RedisServer::start(&[]).await;
    let processes = [Process::on(&server, 1).await, Process::on(&server, 2).await];
    let batch = BatchId::new(now(), 0, 7);
    processes[0].submit(batch, Append::New, 1).await;
    let mut told: Vec<_> = processes.iter().map(|it| it.watch(batch)).collect();
    const ROUNDS: usize = 60;
    let busy = processes.iter().map(async |process| {
        for round in 0..ROUNDS {
            process.submit(batch, Append::Open, 5).await;
            let max = rand::rng().random_range(1..9);
            process.work(max).await;
            if rand::rng().random_bool(0.3) {
                let pause = rand::rng().random_range(0..3_000);
                tokio::time::sleep(Duration::from_micros(pause)).await;
            }
            if round == ROUNDS / 2 {
                process.work(100).await;
            }
        }
    });
    join_all(busy).await;
    // Those who come late are told the same.
    told.extend(processes.iter().map(|it| it.watch(batch)));
    while processes[1].work(50).await > 0 {}
    processes[0]
        .store
        .amend(batch, Amendment::Close)
        .await
        .unwrap();
    let tasks = 1 + processes.len() * ROUNDS * 5;
    let first = told.remove(0).await.unwrap();
    assert_whole(&first, tasks);
    for other in told {
        assert_eq!(other.await.unwrap(), first);
    }
}
