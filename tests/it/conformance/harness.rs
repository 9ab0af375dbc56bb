//! What a case is given: a fresh store, a hold on its time, and short words for what workers and submitters do.

mod values;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tidings::{
    clock::{ManualClock, Timestamp},
    model::{BatchId, Event, IdRange, ParkReason, Parked, Spec, Task, TaskId, WorkerId},
    store::{Acquired, Append, Commit, Guard, Log, Lookup, Store, Submission, Verdict},
};

pub(super) use values::{answer, failure, ids, key};

/// Where manual clocks start.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);
/// A lease that outlasts every case.
pub(super) const LONG: Duration = Duration::from_secs(3_600);
/// A lease to wait out; long enough for a real store on a busy machine to be asked in between.
pub(super) const SHORT: Duration = Duration::from_millis(600);
/// How far a handle's idea of the store's clock may be off.
const SKEW: Duration = Duration::from_millis(30);
/// The worker of most cases.
pub(super) const WORKER: WorkerId = WorkerId(7);

/// Where a store of one kind lives, apart from the store's handle.
#[async_trait]
pub(super) trait Host: fmt::Debug + Send + Sync + 'static {
    /// Opens the store, or opens it again with all it held.
    async fn open(&self) -> Arc<dyn Store>;

    /// The store as another process sees it; `first` itself where there can be no other.
    async fn peer(&self, first: &Arc<dyn Store>) -> Arc<dyn Store>;
}

/// A store under test.
#[derive(Debug)]
pub(super) struct Harness {
    /// The store.
    pub(super) store: Arc<dyn Store>,
    /// The store as another process sees it.
    pub(super) peer: Arc<dyn Store>,
    /// The time the store runs by; none for the world's.
    clock: Option<Arc<ManualClock>>,
    host: Box<dyn Host>,
    drawn: AtomicU64,
}

/// What a submit made.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The batch.
    pub(super) batch: BatchId,
    /// The tasks in order.
    pub(super) ids: Vec<TaskId>,
}

impl Harness {
    /// Opens the store of a host.
    pub(super) async fn start(host: impl Host, clock: Option<Arc<ManualClock>>) -> Self {
        let store = host.open().await;
        Harness {
            peer: host.peer(&store).await,
            store,
            clock,
            host: Box::new(host),
            drawn: AtomicU64::new(1),
        }
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(self) -> Self {
        let Harness {
            store,
            peer,
            clock,
            host,
            drawn,
        } = self;
        // Before opening: a store in a directory allows one owner at a time.
        drop((store, peer));
        let store = host.open().await;
        let peer = host.peer(&store).await;
        Harness {
            store,
            peer,
            clock,
            host,
            drawn,
        }
    }

    /// The clock that the store runs by, where a test holds it.
    pub(super) fn clock(&self) -> Option<Arc<ManualClock>> {
        self.clock.clone()
    }

    /// Lets time pass.
    pub(super) async fn advance(&self, by: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(by),
            // Not to wait for something to happen: the passing of time is what the case is about.
            None => tokio::time::sleep(by + SKEW).await,
        }
    }

    /// An instant from now.
    pub(super) fn after(&self, wait: Duration) -> Timestamp {
        self.store.now() + wait
    }

    /// The partition that cases about order keep to.
    pub(super) fn partition(&self) -> u16 {
        self.store.info().partitions - 1
    }

    /// A number never drawn before, with its high bits spread.
    pub(super) fn draw(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// A new batch id in the case's partition.
    pub(super) fn batch_id(&self) -> BatchId {
        BatchId::new(self.store.now(), self.partition(), self.draw())
    }

    /// A prompt with nothing special about it.
    pub(super) fn spec(&self, text: &str) -> Spec {
        let now = self.store.now();
        crate::support::spec::spec(text, now, now + LONG)
    }

    /// `count` plain specs.
    pub(super) fn specs(&self, count: usize) -> Vec<Spec> {
        (0..count)
            .map(|number| self.spec(&format!("task {number}")))
            .collect()
    }

    /// A submission of a new, closed batch.
    pub(super) fn submission(&self, specs: Vec<Spec>) -> Submission {
        self.submission_to(self.batch_id(), Append::New, specs)
    }

    /// A submission to a batch that ends closed.
    pub(super) fn submission_to(
        &self,
        batch_id: BatchId,
        append: Append,
        specs: Vec<Spec>,
    ) -> Submission {
        let count = u32::try_from(specs.len()).unwrap();
        Submission {
            batch_id,
            append,
            keep_open: false,
            ids: IdRange::new(self.store.now(), batch_id.partition(), self.draw(), count),
            specs: specs.into_iter().map(Arc::new).collect(),
            budget: None,
            idempotency: None,
        }
    }

    /// Submits a new, closed batch.
    pub(super) async fn submit(&self, specs: Vec<Spec>) -> Placed {
        self.place(self.submission(specs)).await
    }

    /// Submits.
    pub(super) async fn place(&self, submission: Submission) -> Placed {
        let accepted = self.store.submit(submission).await.unwrap();
        Placed {
            batch: accepted.batch_id,
            ids: accepted.ids.iter().collect(),
        }
    }

    /// Acquires for as long as the store says that there may be more, up to `max`.
    pub(super) async fn take(&self, max: usize) -> Vec<Task> {
        self.take_for(max, LONG).await
    }

    /// As [`Harness::take`], with a lease.
    pub(super) async fn take_for(&self, max: usize, lease: Duration) -> Vec<Task> {
        let mut tasks = Vec::new();
        loop {
            let acquired = self.acquire(max - tasks.len(), lease).await;
            tasks.extend(acquired.tasks);
            if tasks.len() >= max || !acquired.more {
                return tasks;
            }
        }
    }

    /// Acquires once, and has everybody see it.
    pub(super) async fn acquire(&self, max: usize, lease: Duration) -> Acquired {
        let acquired = self.store.acquire(WORKER, max, lease).await.unwrap();
        self.store.renew(&[], lease).await.unwrap();
        acquired
    }

    /// Acquires and tells only which tasks, in order.
    pub(super) async fn take_ids(&self, max: usize) -> Vec<TaskId> {
        ids(&self.take(max).await)
    }

    /// The commit of one event, by the store's present time.
    pub(super) fn moved(&self, task: &Task, event: Event) -> Commit {
        let park = match &event {
            Event::Parked { parked, .. } => Some(parked.clone()),
            _ => None,
        };
        let mut after = task.clone();
        after.apply(event, self.store.now()).unwrap();
        Commit {
            task: after,
            fence: task.fence(),
            from: task.status(),
            guard: Guard::None,
            park,
        }
    }

    /// Commits one event.
    pub(super) async fn apply(&self, task: &Task, event: Event) -> Verdict {
        self.commit(vec![self.moved(task, event)]).await[0]
    }

    /// Commits one event that must be written, and tells the task after it.
    pub(super) async fn must(&self, task: &Task, event: Event) -> Task {
        let commit = self.moved(task, event);
        assert_eq!(self.commit(vec![commit.clone()]).await, [Verdict::Applied]);
        commit.task
    }

    /// Commits.
    pub(super) async fn commit(&self, commits: Vec<Commit>) -> Vec<Verdict> {
        self.store.commit(commits).await.unwrap()
    }

    /// Moves every overdue task as the reaper does.
    pub(super) async fn reap(&self) -> Vec<Task> {
        let overdue = self.store.overdue(1_000).await.unwrap();
        let commits: Vec<Commit> = overdue
            .iter()
            .map(|task| Commit {
                guard: Guard::LeaseExpired,
                ..self.moved(task, Event::LeaseExpired(failure("lost")))
            })
            .collect();
        let verdicts = self.commit(commits.clone()).await;
        assert!(
            verdicts.iter().all(|it| *it == Verdict::Applied),
            "{verdicts:?}"
        );
        commits.into_iter().map(|commit| commit.task).collect()
    }

    /// What is known of one id.
    pub(super) async fn lookup(&self, id: TaskId) -> Lookup {
        self.store.tasks(&[id]).await.unwrap().remove(0)
    }

    /// One task that must be there.
    pub(super) async fn task(&self, id: TaskId) -> Task {
        match self.lookup(id).await {
            Lookup::Found(task) => *task,
            other => panic!("task {id} is {other:?}"),
        }
    }

    /// The whole log of a batch.
    pub(super) async fn log(&self, batch: BatchId) -> Log {
        self.store.log(batch, 0, 100_000).await.unwrap().unwrap()
    }

    /// A batch that must be there.
    pub(super) async fn batch(&self, id: BatchId) -> tidings::model::Batch {
        self.store.batch(id).await.unwrap().unwrap()
    }

    /// The event that parks a batch.
    pub(super) fn park(&self) -> Event {
        Event::Parked {
            failure: failure("no money"),
            parked: Parked {
                reason: ParkReason::QuotaExhausted,
                message: "top up".into(),
                time: self.store.now(),
            },
        }
    }

    /// The event that tries again after `wait`.
    pub(super) fn retry(&self, task: &Task, wait: Duration) -> Event {
        let mut charges = task.charges;
        charges.failures += 1;
        Event::Retried {
            failure: failure("again"),
            due: self.after(wait),
            charges,
        }
    }
}
