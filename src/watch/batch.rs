//! One watcher of one batch: follows the batch's log, which holds every transition of its tasks in order.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

use futures::{Stream, stream};
use tokio::time::Instant;

use super::{
    Error, Resume,
    hub::{Hub, Place},
    life::{Life, Turn},
    light, stale,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Task, TaskId},
    store::{self, Log, Lookup, Moved},
};

/// Log entries read at once, at first and at most.
const FIRST_PAGE: usize = 16;
const LARGEST_PAGE: usize = 64;
/// A page ends with the task that makes it this heavy. Together they bound what a watcher that has stopped reading
/// holds in memory.
const HEAVY_PAGE: usize = 64 << 10;

/// What a watcher of a batch is told, and where to resume after it.
#[derive(Clone, Debug)]
pub enum Event {
    /// A transition of one task.
    Moved {
        /// The log's entry.
        entry: Moved,
        /// The task as it is now; none when it is past its retention.
        task: Option<Arc<Task>>,
        /// The store lost writes; forget what was told before, everything follows anew.
        reset: bool,
        /// Where to resume.
        resume: Resume,
    },
    /// The batch as it is now.
    Progress {
        /// The batch.
        batch: Box<Batch>,
        /// The store lost writes; forget what was told before, everything follows anew.
        reset: bool,
        /// Where to resume.
        resume: Resume,
    },
    /// Nothing happened.
    Heartbeat {
        /// The time.
        time: Timestamp,
        /// Where to resume.
        resume: Resume,
    },
}

impl Event {
    /// Where to resume after it.
    pub fn resume(&self) -> Resume {
        match self {
            Event::Moved { resume, .. }
            | Event::Progress { resume, .. }
            | Event::Heartbeat { resume, .. } => *resume,
        }
    }
}

/// Streams a batch's transitions from `resume` on, then live, and ends when the batch is done.
///
/// # Errors
/// Before the stream begins: no such batch, or `resume` lies beyond the log.
pub async fn watch(
    hub: Arc<Hub>,
    id: BatchId,
    resume: Resume,
) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
    // The place is taken before the first read: what happens in between leaves a hint.
    let place = hub.watch_batch(id);
    let log = match hub.store.log(id, resume.after, FIRST_PAGE).await? {
        Some(log) => log,
        None if is_outlived(resume, &hub) => return Err(Error::BatchLost(id)),
        None => return Err(store::Error::NoSuchBatch(id).into()),
    };
    if resume.epoch > log.epoch {
        return Err(Error::EpochBeyond {
            asked: resume.epoch,
            present: log.epoch,
        });
    }
    let mut watcher = Watcher {
        id,
        place,
        life: Life::new(&hub),
        at: resume,
        told: resume,
        counters: None,
        owes_reset: false,
        ready: VecDeque::new(),
        behind: false,
        page: FIRST_PAGE,
        ended: false,
        hub,
    };
    if let Err(error) = watcher.tell(log).await {
        watcher.life.failed(error)?;
    }
    Ok(stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        watcher.ended |= event.is_err();
        Some((event, watcher))
    }))
}

/// Whether the store has lost writes since `resume`.
fn is_outlived(resume: Resume, hub: &Hub) -> bool {
    resume.epoch != 0 && resume.epoch < hub.store.info().epoch
}

struct Watcher {
    hub: Arc<Hub>,
    id: BatchId,
    place: Place<BatchId>,
    life: Life,
    /// Where to read on.
    at: Resume,
    /// Where to resume after what was told. It stays in the old epoch until the reset has been told.
    told: Resume,
    /// The counters last told.
    counters: Option<Batch>,
    /// The store lost writes, and the watcher does not know yet.
    owes_reset: bool,
    ready: VecDeque<Event>,
    /// The log went on past the page last read.
    behind: bool,
    page: usize,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.life.told();
                self.told = event.resume();
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            let now = self.behind.then(Instant::now);
            let turn = self.life.turn(&self.hub, &self.place.slot, now);
            match turn.await {
                Turn::Look => {
                    if let Err(error) = self.look().await {
                        return Some(Err(error));
                    }
                }
                Turn::Beat => self.ready.push_back(Event::Heartbeat {
                    time: self.hub.store.now(),
                    resume: self.told,
                }),
                Turn::Aged => return Some(Err(Error::Aged(self.told))),
                Turn::Leave => return Some(Err(Error::Draining(self.told))),
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let looked = match self.read().await {
            Ok(log) => self.tell(log).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(()) => {
                self.life.answered();
                Ok(())
            }
            Err(error) => self.life.failed(error),
        }
    }

    async fn read(&self) -> Result<Log, Error> {
        let read = self.hub.store.log(self.id, self.at.after, self.page);
        // A batch that is not done is removed by nobody.
        let was_done = self.counters.as_ref().is_some_and(Batch::is_done);
        read.await?.ok_or(if was_done {
            store::Error::NoSuchBatch(self.id).into()
        } else {
            Error::BatchLost(self.id)
        })
    }

    /// Tells a page of the log, and the counters once the end is reached.
    async fn tell(&mut self, log: Log) -> Result<(), Error> {
        if log.epoch < self.at.epoch {
            return Err(stale());
        }
        if log.epoch > self.at.epoch && self.begin_anew(log.epoch) {
            return Ok(());
        }
        if self.at.after > log.end {
            return Err(Error::Beyond {
                asked: self.at.after,
                last: log.end,
            });
        }
        let (tasks, all_known) = self.tasks(&log.entries).await?;
        let undone = |entry: &Moved| {
            let task = tasks.get(&entry.task);
            task.is_some_and(|task| task.epoch > log.epoch || task.revision() < entry.revision)
        };
        // Writes may be lost between the two reads.
        if log.entries.iter().any(undone) || !(all_known || self.is_still_at(log.epoch).await?) {
            return Err(stale());
        }
        self.tell_page(&log.entries, &tasks);
        self.behind = self.at.after < log.end;
        if self.behind {
            return Ok(());
        }
        self.ended = log.batch.is_done();
        if self.counters.as_ref() != Some(&log.batch) {
            self.counters = Some(log.batch.clone());
            self.ready.push_back(Event::Progress {
                batch: Box::new(log.batch),
                reset: mem::take(&mut self.owes_reset),
                resume: self.at,
            });
        }
        Ok(())
    }

    /// Takes note of a higher epoch. Answers whether the log has to be read from its beginning: which of the entries
    /// told are still there cannot be seen from where the watcher is.
    fn begin_anew(&mut self, epoch: u32) -> bool {
        let was_told = self.at.epoch != 0 && (self.told.after > 0 || self.counters.is_some());
        if !was_told && !self.owes_reset {
            self.at.epoch = epoch;
            self.told = self.at;
            return false;
        }
        self.owes_reset = true;
        self.counters = None;
        self.at = Resume { after: 0, epoch };
        self.behind = true;
        true
    }

    fn tell_page(&mut self, entries: &[Moved], tasks: &HashMap<TaskId, Arc<Task>>) {
        let now = self.hub.store.now();
        let mut weight = 0;
        for entry in entries {
            if weight >= HEAVY_PAGE {
                // The rest is read again, in shorter pages.
                self.page = (self.page / 2).max(1);
                return;
            }
            self.at.after += 1;
            let task = tasks.get(&entry.task).cloned();
            let is_past =
                |task: &Arc<Task>| task.is_compacted(now) && entry.revision != task.revision();
            if task.as_ref().is_some_and(is_past) {
                continue;
            }
            // Held twice so far: here and by the page. Only the first entry of a task weighs.
            if let Some(task) = task.as_ref().filter(|task| Arc::strong_count(task) == 2) {
                weight += task.weight();
            }
            self.ready.push_back(Event::Moved {
                task,
                entry: *entry,
                reset: mem::take(&mut self.owes_reset),
                resume: self.at,
            });
        }
        self.page = (self.page * 2).min(LARGEST_PAGE);
    }

    async fn is_still_at(&self, epoch: u32) -> Result<bool, Error> {
        let log = self.hub.store.log(self.id, 0, 0).await?;
        Ok(log.is_some_and(|log| log.epoch == epoch))
    }

    /// The tasks of these entries, and whether every one of them was known: one that is not is long past its retention,
    /// or was lost.
    async fn tasks(&self, entries: &[Moved]) -> Result<(HashMap<TaskId, Arc<Task>>, bool), Error> {
        let mut ids: Vec<TaskId> = entries.iter().map(|entry| entry.task).collect();
        ids.sort_unstable();
        ids.dedup();
        let lookups = self.hub.store.tasks(&ids).await?;
        let mut tasks = HashMap::with_capacity(ids.len());
        let mut all_known = true;
        for (id, lookup) in ids.into_iter().zip(lookups) {
            match lookup {
                Lookup::Found(task) => {
                    tasks.insert(id, light(*task));
                }
                Lookup::Missing => all_known = false,
                Lookup::Expired => {}
                Lookup::Fault(fault) => {
                    tracing::error!(task = %id, fault, "a stored task cannot be read");
                }
            }
        }
        Ok((tasks, all_known))
    }
}
