//! A store in memory, written straight from the contract and as plainly as possible: what every other store is
//! compared with, and what a test uses that is about something else.

mod queue;
mod state;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings::{
    clock::{Clock, Timestamp},
    model::{Batch, BatchId, CacheKey, Status, Task, TaskId, WorkerId},
    store::{
        Accepted, Acquired, Amendment, Bid, Capacity, Change, Commit, Cursor, Durability, Error,
        Extension, Info, Lead, Listing, Log, Lookup, Note, Output, Renewal, Slot, Stats, Store,
        Submission, Swap, TOMBSTONE_RETENTION, Verdict,
    },
};
use tokio::sync::broadcast;

use state::State;

/// The epoch until a test takes writes away.
const FIRST_EPOCH: u32 = 1;
/// Changes a slow listener may be behind before it is told of a loss.
const CHANGES: usize = 4_096;

/// A store in memory.
#[derive(Debug)]
pub(crate) struct ModelStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    slots: Mutex<BTreeMap<String, (Slot, Timestamp)>>,
    versions: AtomicU64,
    changes: broadcast::Sender<Change>,
}

impl ModelStore {
    /// An empty store that runs by `clock`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_capacity(clock, Capacity::default())
    }

    /// An empty store that holds no more than this.
    pub(crate) fn with_capacity(clock: Arc<dyn Clock>, capacity: Capacity) -> Self {
        ModelStore {
            clock,
            state: Mutex::new(State::new(FIRST_EPOCH, capacity)),
            slots: Mutex::default(),
            versions: AtomicU64::new(1),
            changes: broadcast::channel(CHANGES).0,
        }
    }

    /// All that is stored now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.state.lock().clone())
    }

    /// A failover to a copy that had come as far as `earlier`: later writes are gone, and the epoch says so.
    pub(crate) fn restore(&self, earlier: Snapshot) {
        let mut state = self.state.lock();
        let epoch = state.epoch + 1;
        *state = earlier.0;
        state.epoch = epoch;
        self.announce(Change::Gap);
    }

    /// Runs one call on the state, then announces what it changed, still in order with other calls.
    fn run<T>(&self, call: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let mut state = self.state.lock();
        let reply = call(&mut state, self.clock.now());
        let moved = std::mem::take(&mut state.moved);
        if !moved.is_empty() {
            self.announce(Change::Moved(moved.into()));
        }
        let noted: Vec<Note> = std::mem::take(&mut state.noted);
        if !noted.is_empty() {
            self.announce(Change::Noted(noted.into()));
        }
        for batch in std::mem::take(&mut state.amended) {
            self.announce(Change::Amended(batch));
        }
        reply
    }

    fn announce(&self, change: Change) {
        // Nobody listening is no fault.
        let _ = self.changes.send(change);
    }
}

/// What was stored at an instant.
pub(crate) struct Snapshot(State);

/// A task and its lease.
#[derive(Clone, Debug)]
struct Kept {
    task: Task,
    /// While processing: when the worker is taken for lost.
    lease_end: Timestamp,
}

impl Kept {
    /// Time has run out for it.
    fn is_overdue(&self, now: Timestamp) -> bool {
        let status = self.task.status();
        let is_lost = status == Status::Processing && self.lease_end <= now;
        is_lost || (!status.is_terminal() && self.task.spec.deadline <= now)
    }

    /// What a reader is told of it.
    fn lookup(&self, epoch: u32, now: Timestamp) -> Lookup {
        match self.task.expire_time() {
            Some(expiry) if expiry + TOMBSTONE_RETENTION <= now => Lookup::Missing,
            Some(expiry) if expiry <= now => Lookup::Expired,
            _ => Lookup::Found(Box::new(self.read(epoch))),
        }
    }

    /// The task as a reader gets it: as of the store's present epoch, whenever it was written.
    fn read(&self, epoch: u32) -> Task {
        Task {
            epoch: self.task.epoch.max(epoch),
            ..self.task.clone()
        }
    }
}

#[async_trait]
impl Store for ModelStore {
    fn info(&self) -> Info {
        Info {
            name: "model",
            durability: Durability::Memory,
            partitions: 1,
            epoch: self.state.lock().epoch,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        self.run(|state, now| state.submit(submission, now))
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.run(|state, now| {
            state.promote(now);
            let mut tasks = Vec::new();
            while tasks.len() < max {
                let Some(id) = state.take_next(now) else {
                    break;
                };
                tasks.push(state.start(id, worker, now, lease));
            }
            Ok(Acquired {
                tasks,
                more: state.queue.has_next(),
                next_due: state.delayed.first().map(|(due, _)| *due),
            })
        })
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        self.run(|state, now| {
            // Those given back go to the head in one piece, so that they keep their order.
            let mut comers = Vec::new();
            let verdicts = commits
                .into_iter()
                .map(|commit| state.commit(commit, now, &mut comers))
                .collect();
            state.queue.join(&comers);
            state.let_go_on();
            Ok(verdicts)
        })
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        self.run(|state, now| {
            let renewed = renewals.iter().map(|it| {
                let is_held = state.renew(it, now + lease);
                state.let_go_on();
                is_held
            });
            Ok(renewed.collect())
        })
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        self.run(|state, _| Ok(extensions.iter().map(|it| state.extend(it)).collect()))
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.run(|state, _| {
            let page = |(revision, text): &(u64, String)| Output::page(*revision, text, from);
            Ok(state.outputs.get(&id).map(page))
        })
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.run(|state, now| {
            let overdue = state.tasks.values().filter(|kept| kept.is_overdue(now));
            Ok(overdue
                .take(max)
                .map(|kept| kept.read(state.epoch))
                .collect())
        })
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.run(|state, now| {
            let look = |id| {
                state
                    .tasks
                    .get(id)
                    .map_or(Lookup::Missing, |kept| kept.lookup(state.epoch, now))
            };
            Ok(ids.iter().map(look).collect())
        })
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.run(|state, _| Ok(state.batches.get(&id).map(|group| group.batch.clone())))
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.run(|state, _| {
            Ok(state.batches.get(&id).map(|group| Log {
                entries: group
                    .log
                    .iter()
                    .skip(from as usize)
                    .take(max)
                    .copied()
                    .collect(),
                end: group.log.len() as u64,
                batch: group.batch.clone(),
                epoch: state.epoch,
            }))
        })
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.run(|state, _| {
            let mut places = state.places(batch, cursor);
            let ids = places.by_ref().take(max).map(|(_, id)| id).collect();
            let next = places.next().map(|(cursor, _)| cursor);
            Ok(Listing { ids, next })
        })
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.run(|state, _| Ok(state.amend(id, amendment)))
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.run(|state, now| Ok(state.bid(bid, now)))
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        self.run(|state, now| Ok(state.forget(keys, now)))
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.run(|state, now| Ok(state.sweep(now)))
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        let now = self.clock.now();
        let mut slots = self.slots.lock();
        let kept = slots.get(&swap.key).filter(|(_, end)| *end > now);
        let kept = kept.map_or_else(Slot::default, |(slot, _)| slot.clone());
        if kept.version != swap.version {
            return Ok(kept);
        }
        let slot = Slot {
            version: self.versions.fetch_add(1, Ordering::SeqCst),
            value: swap.value,
            swapped: false,
        };
        slots.insert(swap.key, (slot.clone(), now + swap.keep));
        Ok(Slot {
            swapped: true,
            ..slot
        })
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.run(|state, now| {
            let mut stats = Stats {
                bytes: state.load().bytes,
                ..Stats::default()
            };
            for kept in state.tasks.values() {
                if let Some(counter) = counter(&mut stats, state, kept, now) {
                    *counter += 1;
                }
            }
            Ok(stats)
        })
    }
}

/// The counter that a task belongs to; none once it cannot start or go on.
fn counter<'a>(
    stats: &'a mut Stats,
    state: &State,
    kept: &Kept,
    now: Timestamp,
) -> Option<&'a mut u64> {
    let status = kept.task.status();
    if status.is_terminal() {
        return None;
    }
    Some(match status {
        Status::Processing => &mut stats.processing,
        _ if state.is_parked(kept.task.batch_id) => &mut stats.parked,
        _ if kept.task.due > now => &mut stats.delayed,
        _ => &mut stats.ready,
    })
}
