//! One subscription to the store's feed, and who is to look when it hints.

mod table;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::table::{Pauses, Table};
use super::{Config, output::Outputs, pages::Pages, reader::Reader, slot::Slot};
use crate::{
    clock::Timestamp,
    model::{BatchId, Due, Limits, TaskId, Unlimited, WaitReason, Waiting},
    store::{Change, Store},
};

/// How often it is counted who has not left yet. The count costs a lock and a walk over all places.
const LEFT_EVERY: Duration = Duration::from_millis(20);
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
                        woken += self.batches.hint(&moved.batch);
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
                let woken = self.batches.hint(batch) + self.members.wake(batch);
                pauses.after(woken).await;
            }
            Change::Gap => {
                self.tasks.wake_all(pauses).await;
                self.batches.wake_all(pauses).await;
            }
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

    /// Says that the watcher has come to this position of a log, and reads on from there: what is hinted at from now on wakes
    /// it again, so it is to be said before the log is read. Answers whether others are so near that they are likely to be
    /// told the same soon, or were a moment ago: whoever does not read falls behind.
    pub(super) fn come_to(&self, at: u64) -> bool {
        (self.table)(&self.hub).come_to(self.key, self.number, at)
    }
}

impl<K: Ord + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        (self.table)(&self.hub).remove(self.key, self.number);
    }
}
