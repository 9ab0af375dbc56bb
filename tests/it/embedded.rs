//! What only the store in a directory promises: one process per directory, everything back after a restart, one
//! durable write for many callers, and removal by the clock.

mod calls;
mod damage;
mod directory;
mod early;
mod epoch;
mod failing_device;
mod kills;
mod recent;
mod restart;
mod retention;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tidings::{
    clock::{Clock, ManualClock, Timestamp},
    model::{BatchId, Event, IdRange, Outcome, ParkReason, Parked, Spec, Task, TaskId, WorkerId},
    store::{
        Append, Commit, Guard, Lookup, Store, Submission, Verdict,
        embedded::{Config, EmbeddedStore, OpenError},
    },
};

const START: Timestamp = Timestamp(1_800_000_000_000);
const LEASE: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_secs(3_600);
const WORKER: WorkerId = WorkerId(42);

/// A directory, a clock, and the store that is open on them.
struct Home {
    directory: TempDir,
    clock: Arc<ManualClock>,
    store: Option<Arc<EmbeddedStore>>,
}

impl Home {
    fn new() -> Home {
        let mut home = Home {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(START)),
            store: None,
        };
        home.reopen();
        home
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn store(&self) -> Arc<EmbeddedStore> {
        self.store.clone().unwrap()
    }

    fn reopen(&mut self) -> Arc<EmbeddedStore> {
        if let Some(store) = self.store.take() {
            store.close();
        }
        let store = open(self.path(), self.clock.clone()).unwrap();
        self.store.insert(Arc::new(store)).clone()
    }

    /// A submission of `count` tasks made now.
    fn submission(&self, count: u32) -> Submission {
        static DRAWN: AtomicU64 = AtomicU64::new(1);
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed) << 32;
        let now = self.clock.now();
        let spec = Arc::new(spec(now));
        Submission {
            batch_id: BatchId::new(now, 0, drawn),
            append: Append::New,
            keep_open: false,
            ids: IdRange::new(now, 0, drawn, count),
            specs: vec![spec; count as usize],
            budget: None,
            idempotency: None,
        }
    }

    async fn submit(&self, count: u32) -> (BatchId, Vec<TaskId>) {
        let accepted = self.store().submit(self.submission(count)).await.unwrap();
        (accepted.batch_id, accepted.ids.iter().collect())
    }

    /// Acquires, durably: any call that may change something waits for what came before.
    async fn acquire(&self, max: usize) -> Vec<Task> {
        let tasks = self.acquire_only(max).await;
        self.store().renew(&[], LEASE).await.unwrap();
        tasks
    }

    async fn acquire_only(&self, max: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        loop {
            let wanted = max - tasks.len();
            let acquired = self.store().acquire(WORKER, wanted, LEASE).await.unwrap();
            tasks.extend(acquired.tasks);
            if tasks.len() == max || !acquired.more {
                return tasks;
            }
        }
    }

    async fn found(&self, id: TaskId) -> Task {
        match self.lookup(id).await {
            Lookup::Found(task) => *task,
            other => panic!("{id} is {other:?}"),
        }
    }

    async fn lookup(&self, id: TaskId) -> Lookup {
        self.store().tasks(&[id]).await.unwrap().remove(0)
    }

    async fn move_on(&self, task: &Task, event: Event) -> Verdict {
        let commit = moved(task, event, self.clock.now());
        self.store().commit(vec![commit]).await.unwrap()[0]
    }
}

fn open(path: &Path, clock: Arc<ManualClock>) -> Result<EmbeddedStore, OpenError> {
    open_with(path, clock, false)
}

fn open_with(
    path: &Path,
    clock: Arc<ManualClock>,
    accept_data_loss: bool,
) -> Result<EmbeddedStore, OpenError> {
    let path = path.to_owned();
    let config = Config {
        accept_data_loss,
        ..Config::new(path)
    };
    EmbeddedStore::open(config, clock)
}

fn spec(now: Timestamp) -> Spec {
    Spec {
        result_retention_ms: 7_200_000,
        max_attempts: 3,
        ..crate::support::spec::spec("What is 6 times 7?", now, now + 24 * HOUR)
    }
}

fn moved(task: &Task, event: Event, now: Timestamp) -> Commit {
    let (fence, from) = (task.fence(), task.status());
    let park = match &event {
        Event::Parked { parked, .. } => Some(parked.clone()),
        _ => None,
    };
    let mut task = task.clone();
    task.apply(event, now).unwrap();
    Commit {
        task,
        fence,
        from,
        guard: Guard::None,
        park,
    }
}

fn answered() -> Event {
    let mut outcome = Outcome {
        text: "42".into(),
        ..Outcome::default()
    };
    outcome.usage.output_tokens = 1;
    Event::Succeeded(Box::new(outcome))
}

fn parked() -> Event {
    Event::Parked {
        failure: tidings::model::Failure::new(tidings::model::ErrorCode::AuthFailed, "no"),
        parked: Parked {
            reason: ParkReason::AuthFailed,
            message: "the key was refused".into(),
            time: START,
        },
    }
}

async fn batch_of(home: &Home, id: BatchId) -> tidings::model::Batch {
    home.store().batch(id).await.unwrap().unwrap()
}
