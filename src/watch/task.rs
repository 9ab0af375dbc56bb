//! One watcher of one task.

use std::{collections::VecDeque, sync::Arc};

use futures::{Stream, stream};
use tokio::time::{Instant, sleep_until};

use super::{
    Error, HEARTBEAT, Retry,
    hub::{Hub, Place},
};
use crate::{
    clock::Timestamp,
    model::{Status, Task, TaskId},
    store::{self, Lookup},
};

/// What a watcher of a task is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A transition.
    Moved {
        /// The task as it is now.
        task: Arc<Task>,
        /// Tell it as it stood at this revision.
        revision: u64,
        /// Revisions before this one are past their retention.
        compacted: bool,
        /// The store lost writes; forget what was told before.
        reset: bool,
    },
    /// Progress without a transition.
    Noted {
        /// 0 to 100.
        progress: u8,
    },
    /// Nothing happened.
    Heartbeat {
        /// The time.
        time: Timestamp,
    },
}

/// Where a watcher wants to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resume {
    /// The last revision received; 0 for none.
    pub after: u64,
    /// The epoch of that revision; 0 for unknown.
    pub epoch: u32,
}

/// Streams a task's transitions after `resume`, then live, and ends after the terminal one.
///
/// # Errors
/// Before the stream begins: no such task, past its retention, or `resume` lies beyond the truth.
pub async fn watch(
    hub: Arc<Hub>,
    id: TaskId,
    resume: Resume,
) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
    // The place is taken before the first read: what happens in between leaves a hint.
    let place = hub.watch_task(id);
    let task = read(&hub, id).await?;
    let mut watcher = Watcher {
        id,
        place,
        told: resume.after,
        epoch: task.epoch,
        progress: 0,
        ready: VecDeque::new(),
        ended: false,
        beat: Instant::now() + HEARTBEAT,
        hub,
    };
    if resume.epoch != 0 && resume.epoch != task.epoch {
        watcher.reset(task);
    } else if resume.after > task.revision() {
        return Err(Error::Beyond {
            asked: resume.after,
            last: task.revision(),
        });
    } else {
        watcher.tell(task);
    }
    Ok(stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        watcher.ended |= event.is_err();
        Some((event, watcher))
    }))
}

async fn read(hub: &Hub, id: TaskId) -> Result<Arc<Task>, Error> {
    match hub.reader.read(id).await? {
        Lookup::Found(task) => Ok(Arc::from(task)),
        Lookup::Missing => Err(Error::NoSuchTask(id)),
        Lookup::Expired => Err(Error::Expired(id)),
        Lookup::Fault(fault) => Err(store::Error::Corrupt(fault).into()),
    }
}

struct Watcher {
    hub: Arc<Hub>,
    id: TaskId,
    place: Place<TaskId>,
    told: u64,
    epoch: u32,
    progress: u8,
    ready: VecDeque<Event>,
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
            tokio::select! {
                biased;
                () = self.hub.draining.cancelled() => return Some(Err(Error::Draining)),
                () = self.place.slot.news() => {}
                () = sleep_until(self.beat) => {
                    let time = self.hub.store.now();
                    self.ready.push_back(Event::Heartbeat { time });
                    continue;
                }
            }
            if let Err(error) = self.look().await {
                return Some(Err(error));
            }
        }
    }

    /// Follows a hint. The record is the truth: whatever the hint said, what comes next comes from there.
    async fn look(&mut self) -> Result<(), Error> {
        let progress = self.place.slot.take_progress();
        if self.place.slot.take_moved() {
            self.read().await?;
        }
        // After the transitions it may belong to.
        if progress > self.progress && !self.ended {
            self.progress = progress;
            self.ready.push_back(Event::Noted { progress });
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Error> {
        let mut retry = Retry::default();
        loop {
            match read(&self.hub, self.id).await {
                Ok(task) => {
                    self.tell(task);
                    return Ok(());
                }
                Err(Error::Store(error)) => retry.after(error, &self.hub.draining).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells everything after what was told.
    fn tell(&mut self, task: Arc<Task>) {
        let revision = task.revision();
        if task.epoch != self.epoch || revision < self.told {
            return self.reset(task);
        }
        let compacted = task.is_compacted(self.hub.store.now());
        let first = if compacted { revision } else { self.told + 1 };
        for revision in first.max(self.told + 1)..=revision {
            let before = (revision as usize).checked_sub(1);
            let status = before.and_then(|at| task.history.get(at)).map(|t| t.status);
            if status != Some(Status::Processing) {
                self.progress = 0;
            }
            self.ready.push_back(Event::Moved {
                task: task.clone(),
                revision,
                compacted,
                reset: false,
            });
        }
        self.told = revision;
        self.ended = task.status().is_terminal();
    }

    /// A failover rolled the task back: tells the truth as it now is.
    fn reset(&mut self, task: Arc<Task>) {
        self.epoch = task.epoch;
        self.told = task.revision();
        self.ended = task.status().is_terminal();
        self.ready.push_back(Event::Moved {
            revision: task.revision(),
            task,
            compacted: false,
            reset: true,
        });
    }
}
