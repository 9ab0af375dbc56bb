//! Handing tasks to workers, and finding those that time has run out for.

use std::time::Duration;

use super::machine::Machine;
use crate::{
    clock::Timestamp,
    model::{Event, Status, Task, TaskId, WorkerId},
    store::{Acquired, Error},
};

impl Machine {
    /// Takes up to `max` tasks for a worker.
    pub(super) fn acquire(
        &mut self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        let now = self.now();
        self.index.promote(now);
        let mut acquired = Acquired::default();
        while acquired.tasks.len() < max
            && let Some(id) = self.index.take(now)
        {
            // One record that cannot be read must not keep the tasks behind it from starting; it stays out of the
            // queues, and reads of it say what is wrong.
            match self.start(id, worker, now, now + lease) {
                Ok(task) => acquired.tasks.push(task),
                Err(error) => {
                    tracing::error!(task = %id, "failed to {error}; the task is set aside")
                }
            }
        }
        acquired.more = self.index.has_ready();
        acquired.next_due = self.index.next_due();
        Ok(acquired)
    }

    fn start(
        &mut self,
        id: TaskId,
        worker: WorkerId,
        now: Timestamp,
        lease: Timestamp,
    ) -> Result<Task, Error> {
        let mut task = self.stored(id)?;
        task.apply(Event::Acquired { worker }, now)
            .map_err(|illegal| Error::Corrupt(illegal.to_string()))?;
        self.record(task.clone(), Some(Status::Queued))?;
        self.index.hold(id, task.fence(), lease);
        Ok(task)
    }

    /// A task that the index knows.
    pub(super) fn stored(&self, id: TaskId) -> Result<Task, Error> {
        self.task(id)?
            .ok_or_else(|| Error::Corrupt(format!("the record of task {id} is missing")))
    }

    /// Up to `max` tasks whose lease or deadline has passed.
    pub(super) fn overdue(&mut self, max: usize) -> Result<Vec<Task>, Error> {
        let ids = self.index.overdue(self.now(), max);
        let mut tasks = Vec::with_capacity(ids.len());
        for id in ids {
            match self.stored(id) {
                Ok(task) => tasks.push(task),
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
