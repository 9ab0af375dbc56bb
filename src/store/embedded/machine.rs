//! What is in memory: the index of live tasks, the live batches, and the changes not yet written. Every request is a
//! method here or in `submit`, `acquire`, `commit` and `sweep`; each either changes nothing or is done whole. While a
//! group is written tasks are acquired, and nothing else is done.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;

use super::{
    Map, Progress,
    ahead::Ahead,
    begun::Begun,
    disk::{BatchRecord, Disk},
    expiry::Expiry,
    index::Index,
    output::Outputs,
    overlay::Overlay,
    read::View,
    recent::Recent,
    vigil::Vigil,
};
use crate::{
    clock::{Clock, Timestamp},
    model::{Batch, BatchId, Bill, Funds, Status, Task, TaskId},
    store::{Amendment, Capacity, Error, Moved, Note, Renewal, Stats},
};

/// What is in memory, behind one lock.
pub(super) struct Machine {
    pub(super) disk: Arc<Disk>,
    pub(super) index: Index,
    /// The changes of the group that fills.
    pub(super) overlay: Overlay,
    /// Those of the group that is being written.
    pub(super) flying: Option<Arc<Overlay>>,
    pub(super) begun: Begun,
    pub(super) ahead: Ahead,
    pub(super) vigil: Vigil,
    /// Batches that are not done, and those that the present group looked at.
    pub(super) batches: Map<BatchId, BatchRecord>,
    pub(super) progress: Progress,
    pub(super) outputs: Outputs,
    pub(super) recent: Arc<Recent>,
    pub(super) capacity: Capacity,
    /// The number of the last group that was completed.
    pub(super) commit_seq: u64,
    /// The number of the last group that is on disk.
    pub(super) landed_seq: u64,
    clock: Arc<dyn Clock>,
}

impl Machine {
    /// A machine that knows of nothing yet.
    pub(super) fn new(
        disk: Arc<Disk>,
        vigil: Vigil,
        begun: Begun,
        clock: Arc<dyn Clock>,
        capacity: Capacity,
    ) -> Result<Machine, Error> {
        let commit_seq = disk.commit_seq()?;
        Ok(Machine {
            index: Index::default(),
            overlay: Overlay::new(&disk),
            flying: None,
            begun,
            ahead: Ahead::default(),
            batches: Map::default(),
            commit_seq,
            landed_seq: commit_seq,
            disk,
            vigil,
            progress: Progress::default(),
            outputs: Outputs::default(),
            recent: Arc::default(),
            capacity,
            clock,
        })
    }

    /// The store's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A task as it now is; none when it is unknown.
    pub(super) fn task(&self, id: TaskId) -> Result<Option<Arc<Task>>, Error> {
        match self.in_memory(id) {
            Some(task) => Ok(Some(task)),
            None => Ok(View::new(&self.disk).task(id)?.map(Arc::new)),
        }
    }

    /// A task as it now is, if it need not be read from disk.
    pub(super) fn in_memory(&self, id: TaskId) -> Option<Arc<Task>> {
        let filling = self.overlay.tasks.get(&id);
        let flying = || self.flying.as_ref()?.tasks.get(&id);
        let changed = filling.or_else(flying).cloned();
        changed.or_else(|| self.recent.get(id))
    }

    /// The number that the group that fills will have.
    pub(super) fn group(&self) -> u64 {
        self.commit_seq + 1
    }

    /// A batch that is not past its retention, to change or to look at.
    pub(super) fn batch(&mut self, id: BatchId) -> Result<Option<&mut BatchRecord>, Error> {
        let now = self.now();
        match self.batches.entry(id) {
            Entry::Occupied(entry) => {
                let record = entry.into_mut();
                Ok((!record.is_expired(now)).then_some(record))
            }
            Entry::Vacant(entry) => match View::new(&self.disk).batch(id, now)? {
                Some(record) => {
                    // Names it for the end of the group, when done batches leave memory again.
                    self.overlay.batches.insert(id);
                    Ok(Some(entry.insert(record)))
                }
                None => Ok(None),
            },
        }
    }

    /// Takes note of a task's last transition: record, log, announcement and its batch's counters.
    /// The queues are the caller's part.
    pub(super) fn record(&mut self, task: Task, from: Option<Status>) -> Result<(), Error> {
        self.account(&task, from)?;
        self.keep(task);
        Ok(())
    }

    /// Puts a task as it now is where reads find it.
    pub(super) fn keep(&mut self, mut task: Task) {
        task.epoch = task.epoch.max(self.disk.epoch);
        self.overlay.tasks.insert(task.id, Arc::new(task));
    }

    /// As [`Machine::record`], but for the record itself.
    pub(super) fn account(&mut self, task: &Task, from: Option<Status>) -> Result<(), Error> {
        let missing = || Error::Corrupt(format!("the batch of task {} is missing", task.id));
        let status = task.status();
        let ended = self.ended(task, from)?;
        if !self.batches.contains_key(&task.batch_id) {
            self.batch(task.batch_id)?;
        }
        // Whatever the clock says, the batch of a task that moves is not past its retention.
        let record = self.batches.get_mut(&task.batch_id).ok_or_else(missing)?;
        if let Some(funds) = &mut record.batch.funds {
            charge(funds, task, from, ended);
        }
        let position = record.log_end;
        record.log_end += 1;
        record.batch.counts.shift(from, status);
        if let (Some(end), Some(expire)) = (task.end_time(), task.expire_time()) {
            record.batch.last_end_time = record.batch.last_end_time.max(Some(end));
            record.keep_until = record.keep_until.max(expire);
            if let Some(outcome) = &task.outcome {
                record.batch.usage.add(&outcome.usage);
            }
        }
        let moved = Moved {
            task: task.id,
            batch: task.batch_id,
            revision: task.revision(),
            status,
        };
        self.overlay.batches.insert(task.batch_id);
        self.overlay.log(moved, position);
        forget(&self.progress, task.id);
        forget(&self.outputs, task.id);
        if status.is_terminal() {
            self.schedule_removal(task.batch_id);
        }
        Ok(())
    }

    /// How the attempt stood that a task's last transition ended; looked up only where it is about money.
    fn ended(&self, task: &Task, from: Option<Status>) -> Result<Ended, Error> {
        if from != Some(Status::Processing) || task.spec.max_cost() == 0 {
            return Ok(Ended::default());
        }
        let before = self.task(task.id)?;
        Ok(before.map_or_else(Ended::default, |before| Ended {
            was_sent: before.sent,
            was_aside: before.aside,
        }))
    }

    /// Makes sure that a batch which may just have become done is removed one day.
    pub(super) fn schedule_removal(&mut self, id: BatchId) {
        let time = self.batches.get(&id).and_then(BatchRecord::expire_time);
        if let Some(time) = time {
            Expiry::Batch(id).put(&self.disk, &mut self.overlay.writes, time);
        }
    }

    /// Extends leases, remembers progress, and writes down which calls may have been sent. Leases and progress need
    /// not outlive the process: a restart ends every lease.
    pub(super) fn renew(
        &mut self,
        renewals: &[Renewal],
        lease: Duration,
    ) -> Result<Vec<bool>, Error> {
        let until = self.now() + lease;
        renewals
            .iter()
            .map(|renewal| self.renew_one(renewal, until))
            .collect()
    }

    fn renew_one(&mut self, renewal: &Renewal, until: Timestamp) -> Result<bool, Error> {
        let held = self
            .index
            .get(renewal.id)
            .filter(|live| renewal.fence.holds(live.fence) && live.status() == Status::Processing);
        let Some(live) = held else {
            return Ok(false);
        };
        if (renewal.sent || renewal.aside) && !self.mark(renewal)? {
            return Ok(false);
        }
        self.index.hold(renewal.id, live.fence, until);
        let noted = (renewal.fence.revision, renewal.progress.min(100));
        let before = self.progress.write().insert(renewal.id, noted);
        if before.map_or(0, |(_, progress)| progress) != noted.1 {
            self.overlay.notes.push(Note {
                task: renewal.id,
                progress: noted.1,
            });
        }
        Ok(true)
    }

    /// Writes down that a call may be sent, or that its task waits aside. False when the call does not fit into the
    /// budget any more.
    fn mark(&mut self, renewal: &Renewal) -> Result<bool, Error> {
        let mut task = Task::clone(&*self.stored(renewal.id)?);
        let (id, cost) = (task.batch_id, task.spec.max_cost());
        let record = if cost > 0 { self.batch(id)? } else { None };
        let before = (task.sent, task.aside);
        match record.and_then(|record| record.batch.funds.as_mut()) {
            Some(funds) if renewal.sent && task.aside => {
                if !funds.has_room(cost) {
                    return Ok(false);
                }
                funds.reserve(cost);
                task.aside = false;
            }
            Some(funds) if !renewal.sent && !task.sent && !task.aside => {
                funds.give_back(cost);
                task.aside = true;
            }
            _ => {}
        }
        task.sent |= renewal.sent;
        if before.1 != task.aside {
            self.overlay.batches.insert(id);
            self.let_go_on(id);
        }
        if before != (task.sent, task.aside) {
            self.keep(task);
        }
        Ok(true)
    }

    /// Changes a batch as a whole.
    pub(super) fn amend(
        &mut self,
        id: BatchId,
        amendment: Amendment,
    ) -> Result<Option<Batch>, Error> {
        let Some(record) = self.batch(id)? else {
            return Ok(None);
        };
        let batch = &mut record.batch;
        let changed = match amendment {
            Amendment::Resume { budget } => resume(batch, budget),
            Amendment::Close => std::mem::replace(&mut batch.open, false),
        };
        let batch = batch.clone();
        if changed {
            match amendment {
                Amendment::Resume { .. } => self.index.resume(id),
                Amendment::Close => self.schedule_removal(id),
            }
            self.overlay.batches.insert(id);
            self.overlay.amended.push(id);
        }
        Ok(Some(batch))
    }

    /// Counts.
    pub(super) fn stats(&mut self) -> Stats {
        self.index.promote(self.now());
        self.index.stats()
    }
}

/// How an attempt stood when it ended.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    was_sent: bool,
    was_aside: bool,
}

/// Takes note of what a task that came from `from` may cost, or of what it has cost.
fn charge(funds: &mut Funds, task: &Task, from: Option<Status>, ended: Ended) {
    let most = task.spec.max_cost();
    if task.status() == Status::Processing {
        funds.reserve(most);
    } else if from == Some(Status::Processing) {
        let reserved = if ended.was_aside { 0 } else { most };
        funds.settle(reserved, Bill::of(task).cost(most, ended.was_sent));
    }
}

/// Lets a batch go on, with another budget if one is given that can be. Answers whether anything has changed.
fn resume(batch: &mut Batch, budget: Option<u64>) -> bool {
    let before = batch.funds.map(|funds| funds.budget);
    if let Some(budget) = budget
        && !batch.funds.as_mut().is_some_and(|it| it.change(budget))
    {
        return false;
    }
    let was_changed = batch.funds.map(|funds| funds.budget) != before;
    let changed = batch.parked.take().is_some() || was_changed;
    if let Some(funds) = batch.funds.as_mut().filter(|_| changed) {
        funds.short = None;
    }
    changed
}

/// Mostly there is nothing.
fn forget<T>(known: &RwLock<HashMap<TaskId, T>>, id: TaskId) {
    let mut known = known.write();
    if !known.is_empty() {
        known.remove(&id);
    }
}
