//! One subscription to the store's feed, and who is to look when it hints.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::broadcast::error::RecvError,
    task::yield_now,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Config, output::Outputs, pages::Pages, reader::Reader, slot::Slot};
use crate::{
    clock::Timestamp,
    model::{BatchId, Due, Limits, TaskId, Unlimited, WaitReason, Waiting},
    store::{Change, Store},
};

/// How often it is counted who has not left yet. The count costs a lock and a walk over all places.
const LEFT_EVERY: Duration = Duration::from_millis(20);
/// Watchers that are woken without a pause.
const WOKEN_AT_ONCE: usize = 512;
/// So many entries of a log apart, watchers can still be told what is encoded once: 2 MiB of the 8 that are kept, where
/// messages take 500 bytes.
const NEAR: u64 = 4_096;

/// Tells watchers when to look.
pub struct Hub {
    pub(super) store: Arc<dyn Store>,
    pub(super) reader: Reader,
    pub(super) pages: Pages,
    pub(super) outputs: Outputs,
    limits: Arc<dyn Limits>,
    pub(super) draining: CancellationToken,
    pub(super) config: Config,
    tasks: Table<TaskId>,
    batches: Table<BatchId>,
    /// Those who watch a task of a batch: it may be held back, or let go on.
    members: Table<BatchId>,
}

impl Hub {
    /// A hub on `store` whose streams live as long as is usual.
    pub fn new(store: Arc<dyn Store>, draining: CancellationToken) -> Arc<Self> {
        Self::with(store, Arc::new(Unlimited), Config::default(), draining)
    }

    /// A hub on `store`. Streams end with [`super::Error::Draining`] when `draining` is cancelled.
    /// `limits` knows what tasks wait for that no worker takes up.
    pub fn with(
        store: Arc<dyn Store>,
        limits: Arc<dyn Limits>,
        config: Config,
        draining: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Hub {
            config,
            limits,
            reader: Reader::new(store.clone()),
            pages: Pages::new(store.clone()),
            outputs: Outputs::new(store.clone()),
            store,
            draining,
            tasks: Table::default(),
            batches: Table::default(),
            members: Table::default(),
        })
    }

    /// The store's time.
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// What a queued task that asks for the model waits for now. `held` says why its batch is held back, if it
    /// is; none where that is not known.
    pub fn waiting(
        &self,
        due: Due,
        model: &str,
        held: Option<Option<WaitReason>>,
    ) -> Option<Waiting> {
        due.waiting(self.store.now(), held, || self.limits.waiting(model))
    }

    /// Passes hints on until `stop`: those since this call, however late its future has its first turn. A watcher that
    /// has been there since then would not look for one that was missed.
    pub fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.store.changes();
        async move {
            let mut pauses = Pauses::default();
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    change = changes.recv() => match change {
                        Ok(change) => self.hear(&change, &mut pauses).await,
                        Err(RecvError::Lagged(_)) => self.hear(&Change::Gap, &mut pauses).await,
                        Err(RecvError::Closed) => return,
                    }
                }
            }
        }
    }

    /// Streams open now.
    pub fn watchers(&self) -> usize {
        self.tasks.len() + self.batches.len()
    }

    /// Waits until every stream has left a server that goes, and no longer than that takes where somebody reads. To be
    /// asked when `draining` is cancelled.
    pub async fn left(&self) {
        let over = Instant::now() + self.config.drain;
        while self.watchers() > 0 && Instant::now() < over {
            sleep(LEFT_EVERY).await;
        }
    }

    pub(super) fn watch_task(self: &Arc<Self>, id: TaskId) -> Place<TaskId> {
        Place::new(self, id, |hub| &hub.tasks)
    }

    /// Hints at what happens to a whole batch go to the slot of one who watches a task of it.
    pub(super) fn watch_member(self: &Arc<Self>, id: BatchId, slot: &Arc<Slot>) -> Place<BatchId> {
        Place::of(self, id, |hub| &hub.members, slot.clone())
    }

    pub(super) fn watch_batch(self: &Arc<Self>, id: BatchId) -> Place<BatchId> {
        Place::new(self, id, |hub| &hub.batches)
    }

    async fn hear(&self, change: &Change, pauses: &mut Pauses) {
        match change {
            Change::Moved(moved) => {
                let mut last = None;
                for moved in moved.iter() {
                    let mut woken = self.tasks.wake_for(&moved.task, moved.revision);
                    // The tasks of one batch mostly move together.
                    if last.replace(moved.batch) != Some(moved.batch) {
                        woken += self.batches.wake(&moved.batch);
                    }
                    pauses.after(woken).await;
                }
            }
            Change::Noted(notes) => {
                for note in notes.iter() {
                    let woken = self.tasks.note(&note.task, note.progress);
                    pauses.after(woken).await;
                }
            }
            Change::Amended(batch) => {
                let woken = self.batches.wake(batch) + self.members.wake(batch);
                pauses.after(woken).await;
            }
            Change::Gap => {
                self.tasks.wake_all(pauses).await;
                self.batches.wake_all(pauses).await;
            }
        }
    }
}

/// Whoever is woken has its turn before anything that comes later, such as the store's answers to it: when many are, the
/// hub pauses now and then, so that the connection to the store is never given up for dead.
#[derive(Debug, Default)]
struct Pauses {
    woken: usize,
}

impl Pauses {
    async fn after(&mut self, woken: usize) {
        self.woken += woken;
        if self.woken >= WOKEN_AT_ONCE {
            self.woken = 0;
            yield_now().await;
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("watchers", &self.watchers())
            .finish_non_exhaustive()
    }
}

/// Who watches what: by key, and by a number of its own, so that one of many who watch the same leaves as fast as any.
#[derive(Debug)]
struct Table<K> {
    seats: Mutex<BTreeMap<(K, u64), Seat>>,
    next: AtomicU64,
}

/// One watcher.
#[derive(Debug)]
struct Seat {
    slot: Weak<Slot>,
    /// How far in a log it has come.
    at: u64,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Table {
            seats: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(0),
        }
    }
}

impl<K: Ord + Copy> Table<K> {
    /// Answers how many there were.
    fn wake(&self, key: &K) -> usize {
        self.each(key, Slot::wake)
    }

    fn wake_for(&self, key: &K, revision: u64) -> usize {
        self.each(key, |slot| slot.wake_for(revision))
    }

    fn note(&self, key: &K, progress: u8) -> usize {
        self.each(key, |slot| slot.note(progress))
    }

    fn each(&self, key: &K, act: impl Fn(&Slot)) -> usize {
        let all = self.seats.lock();
        let seats = all.range((*key, 0)..=(*key, u64::MAX));
        let slots = seats.filter_map(|(_, seat)| seat.slot.upgrade());
        slots.map(|slot| act(&slot)).count()
    }

    /// Those who come meanwhile have yet to read.
    async fn wake_all(&self, pauses: &mut Pauses) {
        let mut last = None;
        while let Some((place, woken)) = self.wake_after(last) {
            last = Some(place);
            pauses.after(woken).await;
        }
    }

    /// Wakes some of those behind this place; answers the last one's, and how many there were.
    fn wake_after(&self, last: Option<(K, u64)>) -> Option<((K, u64), usize)> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.seats.lock();
        let behind = all.range((after, Bound::Unbounded)).take(WOKEN_AT_ONCE);
        let (mut reached, mut woken) = (None, 0);
        for (place, seat) in behind {
            (reached, woken) = (Some(*place), woken + 1);
            if let Some(slot) = seat.slot.upgrade() {
                slot.wake();
            }
        }
        reached.map(|place| (place, woken))
    }

    /// Takes note of how far a watcher has come. Answers whether anybody else is within `NEAR` of that: a walk over those who
    /// watch the same, as every hint is.
    fn come_to(&self, key: K, own: u64, at: u64) -> bool {
        let mut all = self.seats.lock();
        if let Some(seat) = all.get_mut(&(key, own)) {
            seat.at = at;
        }
        let mut seats = all.range((key, 0)..=(key, u64::MAX));
        seats.any(|((_, number), seat)| *number != own && seat.at.abs_diff(at) <= NEAR)
    }

    fn len(&self) -> usize {
        self.seats.lock().len()
    }

    /// Answers the number under which the slot is known.
    fn insert(&self, key: K, slot: &Arc<Slot>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::downgrade(slot);
        let mut seats = self.seats.lock();
        seats.insert((key, number), Seat { slot, at: 0 });
        number
    }

    fn remove(&self, key: K, number: u64) {
        self.seats.lock().remove(&(key, number));
    }
}

/// A watcher's place in the table; leaving the scope gives it up.
#[derive(Debug)]
pub(super) struct Place<K: Ord + Copy> {
    hub: Arc<Hub>,
    key: K,
    number: u64,
    table: fn(&Hub) -> &Table<K>,
    pub(super) slot: Arc<Slot>,
}

impl<K: Ord + Copy> Place<K> {
    fn new(hub: &Arc<Hub>, key: K, table: fn(&Hub) -> &Table<K>) -> Self {
        Place::of(hub, key, table, Arc::default())
    }

    fn of(hub: &Arc<Hub>, key: K, table: fn(&Hub) -> &Table<K>, slot: Arc<Slot>) -> Self {
        Place {
            hub: hub.clone(),
            key,
            number: table(hub).insert(key, &slot),
            table,
            slot,
        }
    }

    /// Says that the watcher has come to this position of a log. Answers whether others are so near that they are likely
    /// to be told the same soon, or were a moment ago: whoever does not read falls behind.
    pub(super) fn come_to(&self, at: u64) -> bool {
        (self.table)(&self.hub).come_to(self.key, self.number, at)
    }
}

impl<K: Ord + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        (self.table)(&self.hub).remove(self.key, self.number);
    }
}

#[cfg(test)]
mod tests;
