//! Handing tasks to workers, and finding those that time has run out for.

use std::{sync::Arc, time::Duration};

use super::{machine::Machine, read::View};
use crate::{
    clock::Timestamp,
    model::{BatchId, Event, Status, Task, TaskId, WorkerId, funds::out_of_budget},
    store::{Acquired, Error},
};

/// What one acquire reads from disk at most, so that the others are not kept waiting: tasks, and bytes of their inputs.
const MOST_READ: usize = 256;
const HEAVIEST_READ: u64 = 256 << 10;

/// What was taken.
pub(super) struct Taken {
    pub(super) acquired: Acquired,
    /// It may be told only once the present group is on disk.
    pub(super) must_wait: bool,
    /// Nobody has told the writer yet that there is something to write.
    pub(super) is_news: bool,
}

/// What a call has read from disk so far.
#[derive(Default)]
struct Read {
    tasks: usize,
    bytes: u64,
}

impl Read {
    fn is_enough(&self) -> bool {
        self.tasks >= MOST_READ || self.bytes >= HEAVIEST_READ
    }
}

impl Machine {
    /// Takes up to `max` tasks for a worker, who may begin before that is on disk: nobody else is
    /// told until it is, and what the death of the machine forgets of it is a lease. That they are queued is on disk before, and
    /// so is whatever else the call changes: a batch that is held back, for one.
    pub(super) fn acquire(
        &mut self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Taken, Error> {
        let now = self.now();
        let amended = self.overlay.amended.len();
        self.index.promote(now);
        let mut acquired = Acquired::default();
        let (mut read, mut since) = (Read::default(), 0);
        while acquired.tasks.len() < max
            && !read.is_enough()
            && let Some(id) = self.next(now)?
        {
            // One record that cannot be read must not keep the tasks behind it from starting; it stays out of the
            // queues, and reads of it say what is wrong.
            match self.start(id, worker, now, now + lease, &mut read) {
                Ok((task, queued)) => {
                    since = since.max(queued);
                    acquired.tasks.push(task);
                }
                Err(error) => {
                    tracing::error!(task = %id, "failed to {error}; the task is set aside")
                }
            }
        }
        acquired.more = self.index.has_ready();
        acquired.next_due = self.index.next_due();
        let is_news = !self.overlay.is_known && self.overlay.is_dirty();
        self.overlay.is_known |= is_news;
        let must_wait = since > self.landed_seq
            || self.overlay.amended.len() > amended
            || !self.begun.note(&acquired.tasks);
        Ok(Taken {
            must_wait,
            is_news,
            acquired,
        })
    }

    /// Takes the next task to start out of its line. Batches that it would cost too much are held back.
    fn next(&mut self, now: Timestamp) -> Result<Option<TaskId>, Error> {
        let batches = &self.batches;
        let mut short = Vec::new();
        let taken = self.index.take(now, &mut |batch, cost| {
            // A batch of which something is queued is in memory.
            let funds = batches.get(&batch).and_then(|record| record.batch.funds);
            let fits = funds.is_none_or(|funds| funds.has_room(cost));
            if !fits {
                short.push((batch, cost));
            }
            fits
        });
        for (batch, cost) in short {
            self.fall_short(batch, cost, now)?;
        }
        Ok(taken)
    }

    /// The next task of a batch does not fit: the batch waits for its calls under way, or, if there are none, for people.
    fn fall_short(&mut self, id: BatchId, cost: u64, now: Timestamp) -> Result<(), Error> {
        let Some(record) = self.batch(id)? else {
            return Ok(());
        };
        match &mut record.batch.funds {
            Some(funds) if funds.reserved > 0 => {
                funds.short = Some(cost);
                self.overlay.batches.insert(id);
                self.overlay.amended.push(id);
            }
            _ => {
                self.park(id, out_of_budget(now))?;
                self.index.let_go_on(id);
            }
        }
        Ok(())
    }

    /// Lets a batch take turns again for which there may be room in its budget now.
    pub(super) fn let_go_on(&mut self, id: BatchId) {
        let funds = self.batches.get_mut(&id);
        let funds = funds.and_then(|record| record.batch.funds.as_mut());
        if let Some(funds) = funds.filter(|funds| funds.may_go_on()) {
            funds.short = None;
            self.index.let_go_on(id);
            self.overlay.batches.insert(id);
            self.overlay.amended.push(id);
        }
    }

    fn start(
        &mut self,
        id: TaskId,
        worker: WorkerId,
        now: Timestamp,
        lease: Timestamp,
        read: &mut Read,
    ) -> Result<(Task, u64), Error> {
        let mut task = match self.in_memory(id) {
            Some(task) => Task::clone(&task),
            None => self.fetch(id, read)?,
        };
        task.apply(Event::Acquired { worker }, now)
            .map_err(|illegal| Error::Corrupt(illegal.to_string()))?;
        self.record(task.clone(), Some(Status::Queued))?;
        let before = self.index.hold(id, task.fence(), lease);
        Ok((task, before.map_or(0, |live| live.since)))
    }

    /// A queued task that is on disk alone, and has perhaps been read already.
    fn fetch(&mut self, id: TaskId, read: &mut Read) -> Result<Task, Error> {
        let revision = self.index.get(id).map_or(0, |live| live.fence.revision);
        if let Some(task) = self.ahead.take(id, revision) {
            return Ok(task);
        }
        let row = View::new(&self.disk).row(id, self.ahead.reach());
        read.tasks += row.len();
        read.bytes += row.iter().map(|task| task.spec.weight()).sum::<u64>();
        let mut row = row.into_iter();
        let task = row.next();
        self.ahead.put(row);
        match task {
            Some(task) => Ok(task),
            // It says what is wrong with it.
            None => self.stored(id).map(Arc::unwrap_or_clone),
        }
    }

    /// A task that the index knows.
    pub(super) fn stored(&self, id: TaskId) -> Result<Arc<Task>, Error> {
        self.task(id)?
            .ok_or_else(|| Error::Corrupt(format!("the record of task {id} is missing")))
    }

    /// Up to `max` tasks whose lease or deadline has passed.
    pub(super) fn overdue(&mut self, max: usize) -> Result<Vec<Task>, Error> {
        let ids = self.index.overdue(self.now(), max);
        let mut tasks = Vec::with_capacity(ids.len());
        for id in ids {
            match self.stored(id) {
                Ok(task) => tasks.push(Task::clone(&task)),
                Err(error @ Error::Corrupt(_)) => {
                    // Nobody can commit a task that cannot be read: left here, it would fill every answer.
                    tracing::error!(task = %id, "failed to {error}; the task is set aside");
                    self.index.remove(id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }
}

#[cfg(test)]
pub(super) mod tests;
