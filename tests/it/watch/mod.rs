//! Watch streams over a store whose feed and reads fail, on a clock that a test winds.
//!
//! Tokio's clock stands still while anything can run and then jumps to the next timer, so that a minute of silence
//! takes no time and every wait is exact.

mod epoch;
mod failover;
mod hints;
mod memory;
mod output;
mod recent;
mod time;
mod together;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tidings::{
    clock::{ManualClock, Timestamp},
    model::{BatchId, Event, IdRange, Outcome, Spec, Status, Task, TaskId, Unlimited, WorkerId},
    store::{Append, Commit, Guard, Lookup, Store, Submission, Verdict},
    watch::{Config, Error, Hub, Resume, batch, task},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use failover::Failover;

use crate::support::{faulty_store::FaultyStore, model_store::ModelStore, recalling::Recalling};

const START: Timestamp = Timestamp(1_700_000_000_000);
/// Longer than anything here lasts.
const LONG: Duration = Duration::from_secs(3_600);
/// Shorter than a heartbeat: nothing that is to be told takes this long.
const MOMENT: Duration = Duration::from_secs(5);

type Events<E> = Pin<Box<dyn Stream<Item = Result<E, Error>> + Send>>;
type TaskEvents = Events<task::Event>;
type BatchEvents = Events<batch::Event>;

/// A store, a hub on it, and words for what submitters and workers do.
struct World {
    store: Arc<FaultyStore>,
    /// The same, as workers and submitters of the hub's own process have it.
    face: Arc<dyn Store>,
    failover: Arc<Failover>,
    hub: Arc<Hub>,
    draining: CancellationToken,
    submitted: Mutex<Vec<Submission>>,
}

fn empty() -> Arc<ModelStore> {
    Arc::new(ModelStore::new(Arc::new(ManualClock::new(START))))
}

impl World {
    fn new() -> Self {
        // Most of what is watched here outlasts a stream's usual life.
        World::with(Config {
            age: LONG,
            ..Config::default()
        })
    }

    /// One whose hub keeps in mind what its process has written.
    fn recalling() -> Self {
        let config = Config {
            age: LONG,
            ..Config::default()
        };
        World::facing(config, |store| Arc::new(Recalling::new(store)))
    }

    fn with(config: Config) -> Self {
        World::facing(config, |store| store)
    }

    fn facing(config: Config, face: impl FnOnce(Arc<FaultyStore>) -> Arc<dyn Store>) -> Self {
        let failover = Failover::before(empty());
        let store = FaultyStore::before(failover.clone());
        let draining = CancellationToken::new();
        let face = face(store.clone());
        let hub = Hub::with(face.clone(), Arc::new(Unlimited), config, draining.clone());
        tokio::spawn(hub.clone().run(CancellationToken::new()));
        World {
            store,
            face,
            failover,
            hub,
            draining,
            submitted: Mutex::default(),
        }
    }

    /// A store that knows of all that was submitted, and of nothing that happened to it.
    async fn copy(&self) -> Arc<ModelStore> {
        let copy = empty();
        let submitted = self.submitted.lock().clone();
        for submission in submitted {
            copy.submit(submission).await.unwrap();
        }
        copy
    }

    /// The store loses all but what was submitted, and begins this epoch.
    async fn roll_back(&self, epoch: u32) {
        self.failover.to(self.copy().await, epoch);
        self.store.tell_gap();
    }

    /// The store loses all, and begins its second epoch.
    fn fail_over_to_nothing(&self) {
        self.failover.to(empty(), 2);
        self.store.tell_gap();
    }

    /// Submits a closed batch.
    async fn submit(&self, count: u32) -> (BatchId, Vec<TaskId>) {
        let id = BatchId::new(START, 0, rand::random());
        let ids = IdRange::new(START, 0, rand::random(), count);
        let spec = Arc::new(spec());
        let submission = Submission {
            batch_id: id,
            append: Append::New,
            keep_open: false,
            ids,
            specs: vec![spec; count as usize],
            budget: None,
            idempotency: None,
        };
        self.submitted.lock().push(submission.clone());
        self.face.submit(submission).await.unwrap();
        (id, ids.iter().collect())
    }

    /// Submits a batch of one task.
    async fn submit_one(&self) -> (BatchId, TaskId) {
        let (batch, ids) = self.submit(1).await;
        (batch, ids[0])
    }

    /// A worker takes up every task that waits.
    async fn acquire(&self) -> Vec<Task> {
        self.acquire_as(WorkerId(7)).await
    }

    async fn acquire_as(&self, worker: WorkerId) -> Vec<Task> {
        let acquired = self.face.acquire(worker, 1_000, LONG).await;
        acquired.unwrap().tasks
    }

    /// Something happens to tasks.
    async fn happen(&self, tasks: Vec<Task>, event: Event) {
        let commits: Vec<Commit> = tasks
            .into_iter()
            .map(|task| {
                let (fence, from) = (task.fence(), task.status());
                let mut task = task;
                task.apply(event.clone(), self.store.now()).unwrap();
                Commit {
                    task,
                    fence,
                    from,
                    guard: Guard::None,
                    park: None,
                }
            })
            .collect();
        let verdicts = self.face.commit(commits).await.unwrap();
        assert!(verdicts.iter().all(|it| *it == Verdict::Applied));
    }

    /// Every waiting task is taken up and answered.
    async fn work(&self) {
        let tasks = self.acquire().await;
        self.happen(tasks, answered()).await;
    }

    async fn task(&self, id: TaskId) -> Task {
        match self.store.tasks(&[id]).await.unwrap().remove(0) {
            Lookup::Found(task) => *task,
            other => panic!("{other:?}"),
        }
    }

    async fn watch_task(&self, id: TaskId) -> TaskEvents {
        self.resume_task(id, Resume::default()).await.unwrap()
    }

    async fn watch_batch(&self, id: BatchId) -> BatchEvents {
        self.resume_batch(id, Resume::default()).await.unwrap()
    }

    async fn resume_task(&self, id: TaskId, resume: Resume) -> Result<TaskEvents, Error> {
        let events = task::watch(self.hub.clone(), id, resume).await?;
        Ok(Box::pin(events.fuse()))
    }

    async fn resume_batch(&self, id: BatchId, resume: Resume) -> Result<BatchEvents, Error> {
        let events = batch::watch(self.hub.clone(), id, resume).await?;
        Ok(Box::pin(events.fuse()))
    }
}

fn spec() -> Spec {
    crate::support::spec::spec("p", START, START + LONG)
}

fn answered() -> Event {
    Event::Succeeded(Box::<Outcome>::default())
}

/// All that a stream tells before it falls silent or ends.
async fn told<E>(events: &mut Events<E>) -> Vec<E> {
    let mut told = Vec::new();
    while let Ok(Some(event)) = timeout(MOMENT, events.next()).await {
        told.push(event.unwrap());
    }
    told
}

/// The revisions and statuses told of a task.
fn moves(events: &[task::Event]) -> Vec<(u64, Status)> {
    let moved = |event: &task::Event| match event {
        task::Event::Moved { task, revision, .. } => {
            let place = usize::try_from(*revision).unwrap() - 1;
            Some((*revision, task.history[place].status))
        }
        _ => None,
    };
    events.iter().filter_map(moved).collect()
}

/// The tasks and revisions told of a batch, each with its position.
fn entries(events: &[batch::Event]) -> Vec<(u64, TaskId, u64)> {
    let moved = |event: &batch::Event| match event {
        batch::Event::Moved { entry, resume, .. } => {
            Some((resume.after, entry.task, entry.revision))
        }
        _ => None,
    };
    events.iter().filter_map(moved).collect()
}

/// The error a stream ends with, which nothing follows.
async fn last_error<E>(events: &mut Events<E>) -> Error {
    loop {
        match events.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                assert!(events.next().await.is_none(), "an error is the end");
                return error;
            }
            None => panic!("it ended as if all were told"),
        }
    }
}

/// How a stream ends that has nothing more to tell; none when all were told.
async fn failing<E: std::fmt::Debug>(events: &mut Events<E>) -> Option<Error> {
    match events.next().await {
        None => None,
        Some(Err(error)) => Some(error),
        Some(Ok(event)) => panic!("it has more to tell: {event:?}"),
    }
}
