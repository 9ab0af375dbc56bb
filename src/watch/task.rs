//! One watcher of one task.

use std::{collections::VecDeque, sync::Arc};

use futures::{Stream, stream};
use tokio::time::Instant;

use super::{
    Error,
    hub::{Hub, Place},
    life::{Life, Turn},
    light, stale,
    wait::Wait,
};
use crate::{
    clock::Timestamp,
    model::{Status, Task, TaskId, Transition, Waiting},
    store::{self, Lookup, OUTPUT_PAGE},
};

pub use super::Resume;

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
        /// The store lost what was told before; this is the truth.
        reset: bool,
        /// What it waits for where this is its last revision.
        waiting: Option<Waiting>,
    },
    /// Progress without a transition.
    Noted {
        /// 0 to 100.
        progress: u8,
    },
    /// It waits for something else than it was last told, without a transition.
    Waits {
        /// For what; none when it is merely on its way to a worker.
        waiting: Option<Waiting>,
    },
    /// The running attempt has put something out.
    Said {
        /// Its number.
        attempt: u32,
        /// Bytes it had put out before; 0 where it begins, or is told anew.
        offset: u64,
        /// What follows them.
        text: String,
    },
    /// Nothing happened.
    Heartbeat {
        /// The time.
        time: Timestamp,
    },
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
    follow(hub, id, resume, None).await
}

/// As [`watch`], and between the transitions what the running attempt puts out: what it has put out so far, then more
/// as it comes.
///
/// # Errors
/// As [`watch`].
pub async fn watch_output(
    hub: Arc<Hub>,
    id: TaskId,
    resume: Resume,
) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
    follow(hub, id, resume, Some(Told::default())).await
}

async fn follow(
    hub: Arc<Hub>,
    id: TaskId,
    resume: Resume,
    output: Option<Told>,
) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
    // The place is taken before the first read: what happens in between leaves a hint.
    let place = hub.watch_task(id);
    let task = match read(&hub, id).await {
        Err(Error::NoSuchTask(id)) if is_outlived(resume, &hub) => Err(Error::TaskLost(id)),
        read => read,
    }?;
    // In a box: it is handed over with every event.
    let mut watcher = Box::new(Watcher {
        id,
        wait: Wait::new(&hub, &place, task.batch_id),
        place,
        life: Life::new(&hub),
        at: Resume {
            after: resume.after,
            epoch: task.epoch,
        },
        last: None,
        progress: 0,
        output,
        behind: false,
        ready: VecDeque::new(),
        ended: false,
        hub,
    });
    watcher.begin(resume, task)?;
    Ok(stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        watcher.ended |= event.is_err();
        Some((event, watcher))
    }))
}

async fn read(hub: &Hub, id: TaskId) -> Result<Arc<Task>, Error> {
    match hub.reader.read(id).await? {
        Lookup::Found(task) => Ok(light(*task)),
        Lookup::Missing => Err(Error::NoSuchTask(id)),
        Lookup::Expired => Err(Error::Expired(id)),
        Lookup::Fault(fault) => Err(store::Error::Corrupt(fault).into()),
    }
}

/// Whether the store has lost writes since `resume`.
fn is_outlived(resume: Resume, hub: &Hub) -> bool {
    resume.after > 0 && resume.epoch != 0 && resume.epoch < hub.store.info().epoch
}

struct Watcher {
    hub: Arc<Hub>,
    id: TaskId,
    place: Place<TaskId>,
    life: Life,
    /// Where to resume after what was told or is ready to be.
    at: Resume,
    /// The transition at that place, as it was told; none when nothing was.
    last: Option<Transition>,
    progress: u8,
    wait: Wait,
    /// What was told of the running attempt's output; none when nobody asked for it.
    output: Option<Told>,
    /// There may be output that no hint will come for.
    behind: bool,
    ready: VecDeque<Event>,
    ended: bool,
}

/// How much of an attempt's output was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// The revision with which the attempt began.
    revision: u64,
    /// So many bytes.
    bytes: u64,
}

impl Watcher {
    /// Tells what the watcher that comes from `resume` does not know.
    fn begin(&mut self, resume: Resume, task: Arc<Task>) -> Result<(), Error> {
        if resume.epoch > task.epoch {
            return Err(Error::EpochBeyond {
                asked: resume.epoch,
                present: task.epoch,
            });
        }
        if resume.after > 0 && resume.epoch != 0 && resume.epoch < task.epoch {
            // What it was told under that revision cannot be compared.
            self.reset(task);
            return Ok(());
        }
        if resume.after > task.revision() {
            return Err(Error::Beyond {
                asked: resume.after,
                last: task.revision(),
            });
        }
        self.last = transition(&task, resume.after);
        self.tell(task)
    }

    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    // Most of its life a stream has nothing to tell, and needs no room for it.
                    self.ready = VecDeque::new();
                }
                self.life.told();
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            let look = match self.behind {
                true => Some(Instant::now()),
                false => self.wait.next_look(self.hub.store.now()),
            };
            match self.life.turn(&self.hub, &self.place.slot, look).await {
                Turn::Look => {
                    if let Err(error) = self.look().await {
                        return Some(Err(error));
                    }
                }
                Turn::Beat => {
                    let time = self.hub.store.now();
                    self.ready.push_back(Event::Heartbeat { time });
                }
                Turn::Aged => return Some(Err(Error::Aged(self.at))),
                Turn::Leave => return Some(Err(Error::Draining(self.at))),
            }
        }
    }

    /// Follows a hint. The record is the truth: whatever the hint said, what comes next comes from there.
    async fn look(&mut self) -> Result<(), Error> {
        let progress = self.place.slot.take_progress();
        let moved = self.place.slot.take_moved();
        if moved.is_some() || self.life.is_owed() {
            self.read(moved).await?;
        }
        // After the transitions it may belong to.
        if progress > self.progress && !self.ended {
            self.progress = progress;
            self.ready.push_back(Event::Noted { progress });
        }
        self.listen().await?;
        match self.wait.look(&self.hub).await {
            Ok(None) => Ok(()),
            Ok(Some(waiting)) => {
                self.ready.push_back(Event::Waits { waiting });
                Ok(())
            }
            Err(error) => self.life.failed(error.into()),
        }
    }

    /// Tells what the running attempt has put out since.
    async fn listen(&mut self) -> Result<(), Error> {
        self.behind = false;
        let running = self.last.filter(|last| last.status == Status::Processing);
        let (Some(told), Some(running), false) = (self.output, running, self.life.is_owed()) else {
            return Ok(());
        };
        let read = self.hub.outputs.read(self.id, told.bytes).await;
        let output = match read {
            Ok(Some(output)) => output,
            Ok(None) => return Ok(()),
            Err(error) => return self.life.failed(error.into()),
        };
        if output.revision > told.revision {
            // It belongs to an attempt that is still to be told.
            self.place.slot.wake();
        }
        // A store that lost the end of it may come to have as much again, but not of what was told.
        if output.revision != told.revision || output.offset != told.bytes || output.text.is_empty()
        {
            return Ok(());
        }
        self.output = Some(Told {
            bytes: told.bytes + output.text.len() as u64,
            ..told
        });
        // A full page, but for the end of a character, has another one behind it.
        self.behind = output.text.len() + 4 > OUTPUT_PAGE;
        self.ready.push_back(Event::Said {
            attempt: running.attempt,
            offset: output.offset,
            text: output.text.clone(),
        });
        Ok(())
    }

    /// Reads the record, unless this process knows it as it stood at the revision that was hinted at: where there is
    /// more, another hint is on its way.
    async fn read(&mut self, hinted: Option<u64>) -> Result<(), Error> {
        let recent = self.hub.store.recent();
        let known = recent.zip(hinted).and_then(|(recent, revision)| {
            // A hint may be late.
            let least = revision.max(self.at.after);
            recent.task(self.id, least, self.at.epoch, self.hub.store.now())
        });
        let task = match known {
            Some(task) => Ok(task),
            None => read(&self.hub, self.id).await,
        };
        let looked = match task {
            Ok(task) => self.tell(task),
            // A task that has not ended is removed by nobody.
            Err(Error::NoSuchTask(id)) => Err(Error::TaskLost(id)),
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

    /// Tells everything after what was told, if that is still there.
    fn tell(&mut self, task: Arc<Task>) -> Result<(), Error> {
        if task.epoch < self.at.epoch {
            return Err(stale().into());
        }
        if self.last.is_some() && self.last != transition(&task, self.at.after) {
            self.reset(task);
            return Ok(());
        }
        let revision = task.revision();
        let compacted = task.is_compacted(self.hub.store.now());
        let first = if compacted {
            revision
        } else {
            self.at.after + 1
        };
        let news = first.max(self.at.after + 1)..=revision;
        self.came_to(&task);
        let waiting = if news.is_empty() {
            None
        } else {
            self.wait.told(&self.hub)
        };
        for revision in news {
            let status = transition(&task, revision).map(|transition| transition.status);
            if status != Some(Status::Processing) {
                self.progress = 0;
            }
            self.ready.push_back(Event::Moved {
                task: task.clone(),
                revision,
                compacted,
                reset: false,
                waiting,
            });
        }
        Ok(())
    }

    /// The store lost what was told: tells the truth as it now is.
    fn reset(&mut self, task: Arc<Task>) {
        // Its output too is told anew.
        self.output = self.output.map(|_| Told::default());
        self.came_to(&task);
        let waiting = self.wait.told(&self.hub);
        self.progress = 0;
        self.ready.push_back(Event::Moved {
            revision: task.revision(),
            compacted: task.is_compacted(self.hub.store.now()),
            task,
            reset: true,
            waiting,
        });
    }

    fn came_to(&mut self, task: &Task) {
        self.at = Resume {
            after: task.revision(),
            epoch: task.epoch,
        };
        self.last = Some(*task.last());
        self.ended = task.status().is_terminal();
        self.wait.read(task);
        if let Some(told) = &mut self.output
            && told.revision != task.revision()
        {
            *told = Told {
                revision: task.revision(),
                bytes: 0,
            };
            self.behind = true;
        }
    }
}

/// The transition that led to a revision; none to revision 0, or to one that is not reached.
fn transition(task: &Task, revision: u64) -> Option<Transition> {
    let place = usize::try_from(revision).ok()?.checked_sub(1)?;
    task.history.get(place).copied()
}
