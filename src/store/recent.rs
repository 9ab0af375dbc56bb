//! What this process has itself written lately of batches that it is to tell about: whoever tells it need not read it.
//!
//! A log says which transitions there were, and in which epoch it was read; a task that was written in that epoch and
//! has come as far tells the rest. It carries the epoch in which its writer last knew the store to be, which is never
//! later than that of the write: where it is that of the log too, nothing was lost in between.

mod logs;

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::{Log, Moved, Renewal};
use crate::{
    clock::Timestamp,
    model::{BatchId, IdRange, Spec, Status, Task, TaskId, Work},
};

use logs::Logs;
pub use logs::{Moment, Part};

/// What all tasks may weigh. Twice so much is never held.
const ROOM: usize = 32 << 20;
/// A task up to this weight is kept before anybody follows its batch: most who submit follow at once.
const SMALL: usize = 4 << 10;
/// A spec with more input than this is kept without it.
const LIGHT: usize = 512;

/// Tasks as they were when this process last wrote or read them, and the ends of the logs of batches that are followed.
#[derive(Debug, Default)]
pub struct Recent {
    kept: Mutex<Kept>,
    logs: Mutex<Logs>,
    /// Every hint is told here first: how far logs go is known only so.
    hears: bool,
}

#[derive(Debug, Default)]
struct Kept {
    /// What is full becomes old, and what was old is forgotten.
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    tasks: HashMap<TaskId, Arc<Task>, RandomState>,
    weight: usize,
}

impl Recent {
    /// Of a store that tells it every hint before it tells anybody else.
    pub(super) fn hearing() -> Self {
        Recent {
            hears: true,
            ..Recent::default()
        }
    }

    /// Keeps what is written of the batch from now on, until as many have called [`Recent::leave`].
    pub fn follow(&self, batch: BatchId) {
        self.logs.lock().follow(batch);
    }

    /// One less follows the batch.
    pub fn leave(&self, batch: BatchId) {
        self.logs.lock().leave(batch);
    }

    /// To be asked before a call whose answer says how far a log goes.
    pub fn moment(&self) -> Moment {
        self.logs.lock().moment()
    }

    /// Up to `max` entries of a log from position `from` on, if they are known, or that there are none.
    pub fn part(&self, batch: BatchId, from: u64, max: usize) -> Option<Part> {
        self.logs.lock().part(batch, from, max)
    }

    /// A call that began at that moment has read these entries from position `from` on.
    pub fn read_log(&self, log: &Log, from: u64, began: Moment) {
        let mut logs = self.logs.lock();
        logs.reached(log.batch.id, log.epoch);
        if !self.hears {
            return;
        }
        if from + log.entries.len() as u64 == log.end {
            logs.add(log.clone(), began);
        } else {
            logs.heard(log.batch.id, log.end);
        }
    }

    /// Calls that began at that moment have added these entries to logs.
    pub(super) fn added(&self, pieces: impl Iterator<Item = Log>, began: Moment) {
        let mut logs = self.logs.lock();
        pieces.for_each(|piece| logs.add(piece, began));
    }

    /// Somebody hints that the log has come to so many entries.
    pub(super) fn heard(&self, batch: BatchId, reaches: u64) {
        self.logs.lock().heard(batch, reaches);
    }

    /// Somebody hints that the batch has changed as a whole.
    pub(super) fn amended(&self, batch: BatchId) {
        self.logs.lock().amended(batch);
    }

    /// Hints were lost.
    pub(super) fn missed_some(&self) {
        self.logs.lock().forget_all();
    }

    /// What is known of tasks that the entries of one log name, read in this epoch: only what has come as far as the
    /// entry says, and is not to be removed by now.
    pub fn recall(&self, entries: &[Moved], epoch: u32, now: Timestamp) -> Vec<Option<Arc<Task>>> {
        let kept = self.kept.lock();
        let serves =
            |task: &&Arc<Task>, entry: &Moved| task.epoch == epoch && has_told(task, entry, now);
        let found = entries.iter().map(|entry| {
            let task = kept.get(&entry.task)?;
            Some(task).filter(|task| serves(task, entry)).cloned()
        });
        found.collect()
    }

    /// A task that has come to that revision at least in that epoch, and is not to be removed by now.
    pub fn task(&self, id: TaskId, revision: u64, epoch: u32, now: Timestamp) -> Option<Arc<Task>> {
        let kept = self.kept.lock();
        let task = kept.get(&id)?;
        let serves = task.epoch == epoch && task.revision() >= revision && now < expiry(task);
        serves.then(|| task.clone())
    }

    /// Keeps tasks as they were read. What runs makes progress that no later read would be asked for.
    pub fn read<'a>(&self, tasks: impl Iterator<Item = &'a Arc<Task>>) {
        let settled = tasks.filter(|task| task.status() != Status::Processing);
        self.keep(|kept| settled.filter_map(|task| kept.put(task.clone())).collect());
    }

    /// Says of one task after the other whether it is worth keeping.
    pub(super) fn chooses(&self) -> impl FnMut(&Task) -> bool {
        // Mostly they are of one batch.
        let mut last: Option<(BatchId, bool)> = None;
        let mut is_followed = move |batch| match last {
            Some((same, followed)) if same == batch => followed,
            _ => last.insert((batch, self.epoch(batch).is_some())).1,
        };
        move |task| task.content() <= SMALL || is_followed(task.batch_id)
    }

    /// Those of these tasks that are worth keeping.
    pub fn chosen<'a>(&self, tasks: impl Iterator<Item = &'a Task>) -> Vec<Option<Task>> {
        let mut chooses = self.chooses();
        let chosen = tasks.map(|task| chooses(task).then(|| task.clone()));
        chosen.collect()
    }

    /// These tasks were written, or were as they are when this process was given them.
    pub fn wrote(&self, tasks: impl Iterator<Item = Task>) {
        self.keep(|kept| {
            let forgotten = tasks.filter_map(|mut task| {
                let before = kept.get(&task.id).map(|known| known.spec.clone());
                task.spec = before.unwrap_or_else(|| light(task.spec));
                kept.put(Arc::new(task))
            });
            forgotten.collect()
        });
    }

    /// These tasks were written. They are held by others as well, and copied only where they are large.
    pub(super) fn shares(&self, tasks: impl Iterator<Item = Arc<Task>>) {
        let mut chooses = self.chooses();
        self.keep(|kept| {
            let chosen = tasks.filter(|task| chooses(task));
            let forgotten = chosen.filter_map(|task| {
                let task = kept.lighten(task);
                kept.put(task)
            });
            forgotten.collect()
        });
    }

    /// Tasks were accepted in this epoch, or a later one.
    pub fn accepted(&self, batch: BatchId, ids: IdRange, specs: &[Arc<Spec>], epoch: u32) {
        self.keep(|kept| {
            let forgotten = ids.iter().zip(specs).filter_map(|(id, spec)| {
                // A worker may have been given it before whoever submitted it was answered.
                if kept.get(&id).is_some() {
                    return None;
                }
                kept.put(Arc::new(Task::new(id, batch, light(spec.clone()), epoch)))
            });
            forgotten.collect()
        });
    }

    /// Drops what is forgotten when others may go on.
    fn keep(&self, keep: impl FnOnce(&mut Kept) -> Vec<Generation>) {
        let forgotten = keep(&mut self.kept.lock());
        drop(forgotten);
    }

    /// The epoch in which the log of a followed batch was last read; none of others.
    pub fn epoch(&self, batch: BatchId) -> Option<u32> {
        self.logs.lock().epoch(batch)
    }

    /// These tasks may have made progress, without a transition.
    pub fn progressed(&self, renewals: &[Renewal]) {
        let mut progressed = renewals.iter().filter(|it| it.progress > 0).peekable();
        if progressed.peek().is_some() {
            let mut kept = self.kept.lock();
            progressed.for_each(|it| kept.forget(&it.id));
        }
    }
}

impl Kept {
    fn get(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.young.tasks.get(id).or_else(|| self.old.tasks.get(id))
    }

    /// The same task, without a large input.
    fn lighten(&self, mut task: Arc<Task>) -> Arc<Task> {
        if task.spec.weight() > LIGHT as u64 {
            let known = self.get(&task.id).map(|known| known.spec.clone());
            let own = Arc::make_mut(&mut task);
            own.spec = known.unwrap_or_else(|| light(own.spec.clone()));
        }
        task
    }

    fn forget(&mut self, id: &TaskId) {
        self.young.remove(id);
        self.old.remove(id);
    }

    /// Keeps a task, unless more is known of it. Answers what is forgotten for it, which takes its time to drop.
    fn put(&mut self, task: Arc<Task>) -> Option<Generation> {
        let has_more = |known: &Arc<Task>| known.fence() >= task.fence();
        let weight = task.size();
        match self.young.tasks.entry(task.id) {
            Entry::Occupied(known) if has_more(known.get()) => return None,
            Entry::Occupied(mut known) => {
                self.young.weight -= known.get().size();
                known.insert(task);
            }
            Entry::Vacant(_) if self.old.tasks.get(&task.id).is_some_and(has_more) => return None,
            Entry::Vacant(free) => {
                self.old.remove(&task.id);
                free.insert(task);
            }
        }
        self.young.weight += weight;
        let is_full = self.young.weight > ROOM / 2;
        is_full.then(|| mem::replace(&mut self.old, mem::take(&mut self.young)))
    }
}

impl Generation {
    fn remove(&mut self, id: &TaskId) {
        if let Some(task) = self.tasks.remove(id) {
            self.weight -= task.size();
        }
    }
}

/// Until when no part of it can be past its retention: others may have ended it since.
fn expiry(task: &Task) -> Timestamp {
    let keep = Duration::from_millis(task.spec.status_retention_ms);
    task.expire_time().unwrap_or(task.last().at + keep)
}

/// Whether the task has come to what the entry says, and is not to be removed by now.
fn has_told(task: &Task, entry: &Moved, now: Timestamp) -> bool {
    let index = usize::try_from(entry.revision).ok();
    let told = index.and_then(|revision| task.history.get(revision.checked_sub(1)?));
    told.is_some_and(|it| it.status == entry.status) && now < expiry(task)
}

/// A spec without a large input, which is not told.
fn light(spec: Arc<Spec>) -> Arc<Spec> {
    if spec.weight() <= LIGHT as u64 {
        return spec;
    }
    let text = String::new();
    Arc::new(Spec {
        work: Work::Prompt { text },
        custom_id: spec.custom_id.clone(),
        model: spec.model.clone(),
        labels: spec.labels.clone(),
        ..*spec
    })
}

#[cfg(test)]
mod tests;
