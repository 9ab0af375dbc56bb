//! One watcher of one batch: follows the batch's log, which holds every transition of its tasks in order.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures::{Stream, stream};
use tokio::time::{Instant, sleep_until};

use super::{
    Error, HEARTBEAT, Retry,
    hub::{Hub, Place},
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Task, TaskId},
    store::{self, Log, Lookup, Moved},
};

/// Log entries read at once, at first and at most. With what they weigh they bound what a watcher that has stopped
/// reading holds in memory.
const FIRST_PAGE: usize = 16;
const LARGEST_PAGE: usize = 128;
/// A page of tasks heavier than this is followed by a shorter one.
const HEAVY_PAGE: usize = 256 << 10;

/// What a watcher of a batch is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A transition of one task.
    Moved {
        /// The log's entry.
        entry: Moved,
        /// The task as it is now; none when it is past its retention.
        task: Option<Arc<Task>>,
        /// Where to resume after this event.
        position: u64,
    },
    /// The batch as it is now.
    Progress {
        /// The batch.
        batch: Box<Batch>,
        /// Where to resume after this event.
        position: u64,
    },
    /// Nothing happened.
    Heartbeat {
        /// The time.
        time: Timestamp,
        /// Where to resume after this event.
        position: u64,
    },
}

/// Streams a batch's transitions from `position` of its log on, then live, and ends when the batch is done.
///
/// # Errors
/// Before the stream begins: no such batch, or `position` lies beyond the log.
pub async fn watch(
    hub: Arc<Hub>,
    id: BatchId,
    position: u64,
) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
    // The place is taken before the first read: what happens in between leaves a hint.
    let place = hub.watch_batch(id);
    let log = read(&hub, id, position, FIRST_PAGE).await?;
    let mut watcher = Watcher {
        id,
        place,
        position,
        told: None,
        ready: VecDeque::new(),
        behind: false,
        page: FIRST_PAGE,
        ended: false,
        beat: Instant::now() + HEARTBEAT,
        hub,
    };
    watcher.tell(log).await?;
    Ok(stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        watcher.ended |= event.is_err();
        Some((event, watcher))
    }))
}

async fn read(hub: &Hub, id: BatchId, position: u64, page: usize) -> Result<Log, Error> {
    let log = hub.store.log(id, position, page).await?;
    log.ok_or(Error::Store(store::Error::NoSuchBatch(id)))
}

struct Watcher {
    hub: Arc<Hub>,
    id: BatchId,
    place: Place<BatchId>,
    position: u64,
    told: Option<Batch>,
    ready: VecDeque<Event>,
    /// The log went on past the page last read.
    behind: bool,
    page: usize,
    ended: bool,
    beat: Instant,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.beat = Instant::now() + HEARTBEAT;
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            if !self.behind {
                tokio::select! {
                    biased;
                    () = self.hub.draining.cancelled() => return Some(Err(Error::Draining)),
                    () = self.place.slot.news() => {}
                    () = sleep_until(self.beat) => {
                        let (time, position) = (self.hub.store.now(), self.position);
                        self.ready.push_back(Event::Heartbeat { time, position });
                        continue;
                    }
                }
            }
            if let Err(error) = self.look().await {
                return Some(Err(error));
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let mut retry = Retry::default();
        loop {
            let looked = match read(&self.hub, self.id, self.position, self.page).await {
                Ok(log) => self.tell(log).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(()) => return Ok(()),
                Err(Error::Store(error)) => retry.after(error, &self.hub.draining).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells a page of the log, and the counters once the end is reached.
    async fn tell(&mut self, log: Log) -> Result<(), Error> {
        if self.position > log.end {
            // The store has lost writes. What was told cannot be taken back; the watcher has to begin anew.
            return Err(Error::Beyond {
                asked: self.position,
                last: log.end,
            });
        }
        let tasks = self.tasks(&log.entries).await?;
        let is_undone = |entry: &Moved| {
            let task = tasks.get(&entry.task);
            task.is_some_and(|task| task.revision() < entry.revision)
        };
        if log.entries.iter().any(is_undone) {
            // The writes were lost between the two reads: this page of the log tells what did not happen.
            return Err(Error::Beyond {
                asked: self.position + log.entries.len() as u64,
                last: self.position,
            });
        }
        let weight: usize = tasks.values().map(|task| task.weight()).sum();
        self.page = if weight > HEAVY_PAGE {
            (self.page / 2).max(1)
        } else {
            (self.page * 2).min(LARGEST_PAGE)
        };
        let now = self.hub.store.now();
        for entry in log.entries {
            self.position += 1;
            let task = tasks.get(&entry.task).cloned();
            let is_past =
                |task: &Arc<Task>| task.is_compacted(now) && entry.revision != task.revision();
            if task.as_ref().is_some_and(is_past) {
                continue;
            }
            self.ready.push_back(Event::Moved {
                task,
                entry,
                position: self.position,
            });
        }
        self.behind = self.position < log.end;
        if self.behind {
            return Ok(());
        }
        self.ended = log.batch.is_done();
        if self.told.as_ref() != Some(&log.batch) {
            self.told = Some(log.batch.clone());
            self.ready.push_back(Event::Progress {
                batch: Box::new(log.batch),
                position: self.position,
            });
        }
        Ok(())
    }

    async fn tasks(&self, entries: &[Moved]) -> Result<HashMap<TaskId, Arc<Task>>, Error> {
        let mut ids: Vec<TaskId> = entries.iter().map(|entry| entry.task).collect();
        ids.sort_unstable();
        ids.dedup();
        let lookups = self.hub.store.tasks(&ids).await?;
        let mut tasks = HashMap::with_capacity(ids.len());
        for (id, lookup) in ids.into_iter().zip(lookups) {
            match lookup {
                Lookup::Found(task) => {
                    tasks.insert(id, Arc::from(task));
                }
                Lookup::Missing | Lookup::Expired => {}
                Lookup::Fault(fault) => {
                    tracing::error!(task = %id, fault, "a stored task cannot be read");
                }
            }
        }
        Ok(tasks)
    }
}
