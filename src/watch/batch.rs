//! One watcher of one batch: follows the batch's log, which holds every transition of its tasks in order.

use std::{collections::VecDeque, mem, sync::Arc};

use futures::{Stream, stream};
use tokio::time::Instant;

use super::{
    Error, Resume,
    hub::{Hub, Place},
    life::{Life, Turn},
    pages::{Following, Page},
    stale,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Task},
    store::{self, Moved},
};

/// Log entries read at once, at first and at most.
const FIRST_PAGE: usize = 16;
const LARGEST_PAGE: usize = 256;

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
        /// Others watch this batch here as well, and are about as far.
        shared: bool,
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
    let following = Following::new(hub.store.clone(), id);
    let shared = place.come_to(resume.after);
    let page = match hub.pages.read_afresh(id, resume.after, FIRST_PAGE).await? {
        Some(page) => page,
        None if is_outlived(resume, &hub) => return Err(Error::BatchLost(id)),
        None => return Err(store::Error::NoSuchBatch(id).into()),
    };
    if resume.epoch > page.epoch {
        return Err(Error::EpochBeyond {
            asked: resume.epoch,
            present: page.epoch,
        });
    }
    // In a box: it is handed over with every event.
    let mut watcher = Box::new(Watcher {
        id,
        place,
        _following: following,
        life: Life::new(&hub),
        at: resume,
        told: resume,
        counters: None,
        owes_reset: false,
        telling: None,
        shared,
        ready: VecDeque::new(),
        behind: false,
        size: FIRST_PAGE,
        ended: false,
        hub,
    });
    if let Err(error) = watcher.take(page) {
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
    _following: Following,
    life: Life,
    /// Where to go on.
    at: Resume,
    /// Where to resume after what was told. It stays in the old epoch until the reset has been told.
    told: Resume,
    /// The counters last told.
    counters: Option<Batch>,
    /// The store lost writes, and the watcher does not know yet.
    owes_reset: bool,
    /// The page that is being told, and how much of it was.
    telling: Option<(Arc<Page>, usize)>,
    /// Others were about as far when that page was asked for.
    shared: bool,
    ready: VecDeque<Event>,
    /// The log went on past the page last read.
    behind: bool,
    /// How many entries to read at once.
    size: usize,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            let event = self.ready.pop_front().or_else(|| self.turn_over());
            if let Some(event) = event {
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
        self.shared = self.place.come_to(self.at.after);
        match self.read().await.and_then(|page| self.take(page)) {
            Ok(()) => {
                self.life.answered();
                Ok(())
            }
            Err(error) => self.life.failed(error),
        }
    }

    async fn read(&self) -> Result<Arc<Page>, Error> {
        let pages = &self.hub.pages;
        let page = pages.read(self.id, self.at.after, self.size).await?;
        // A batch that is not done is removed by nobody.
        let was_done = self.counters.as_ref().is_some_and(Batch::is_done);
        page.ok_or(if was_done {
            store::Error::NoSuchBatch(self.id).into()
        } else {
            Error::BatchLost(self.id)
        })
    }

    /// Takes up what has been read, if it goes on from what was told.
    fn take(&mut self, page: Arc<Page>) -> Result<(), Error> {
        if page.epoch < self.at.epoch {
            return Err(stale().into());
        }
        if page.epoch > self.at.epoch && self.begin_anew(page.epoch) {
            return Ok(());
        }
        if self.at.after > page.end {
            return Err(Error::Beyond {
                asked: self.at.after,
                last: page.end,
            });
        }
        if let Err(cause) = &page.entries {
            return Err(store::Error::Unavailable(cause.clone()).into());
        }
        self.size = match page.cut {
            true => (self.size / 2).max(1),
            false => (self.size * 2).min(LARGEST_PAGE),
        };
        self.telling = Some((page, 0));
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

    /// The next event of the page, and after the last page the counters.
    fn turn_over(&mut self) -> Option<Event> {
        let (page, index) = self.telling.as_mut()?;
        let entries = page.entries.as_deref().unwrap_or_default();
        let now = self.hub.store.now();
        let is_past = |(entry, task): &(Moved, Option<Arc<Task>>)| {
            let task = task.as_ref();
            task.is_some_and(|it| it.is_compacted(now) && entry.revision != it.revision())
        };
        while let Some(entered) = entries.get(*index) {
            *index += 1;
            self.at.after += 1;
            if is_past(entered) {
                continue;
            }
            let (entry, task) = entered.clone();
            return Some(Event::Moved {
                entry,
                task,
                reset: mem::take(&mut self.owes_reset),
                resume: self.at,
                shared: self.shared,
            });
        }
        let (page, _) = self.telling.take()?;
        self.behind = page.goes_on;
        if self.behind {
            return None;
        }
        self.ended = page.batch.is_done();
        if self.counters.as_ref() == Some(&page.batch) {
            return None;
        }
        self.counters = Some(page.batch.clone());
        Some(Event::Progress {
            batch: Box::new(page.batch.clone()),
            reset: mem::take(&mut self.owes_reset),
            resume: self.at,
        })
    }
}
