//! What this process has itself written lately of batches that it is to tell about: whoever tells it need not read it.
//!
//! A log says which transitions there were, and in which epoch it was read; a task that was written in that epoch and
//! has come as far tells the rest. It carries the epoch in which its writer last knew the store to be, which is never
//! later than that of the write: where it is that of the log too, nothing was lost in between.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::Moved;
use crate::{
    clock::Timestamp,
    model::{BatchId, IdRange, Spec, Status, Task, TaskId, Work},
};

/// What all of it may weigh. Twice so much is never held.
const ROOM: usize = 16 << 20;

/// Tasks as they were when this process last wrote or read them.
#[derive(Debug, Default)]
pub struct Recent {
    kept: Mutex<Kept>,
    /// How many batches are followed, so that nothing is asked of the rest where there are none.
    followed: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    followed: HashMap<BatchId, Followed>,
    /// What is full becomes old, and what was old is forgotten.
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    tasks: HashMap<TaskId, Arc<Task>>,
    weight: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    watchers: usize,
    /// The highest epoch its log was read in; 0 for unknown.
    epoch: u32,
}

impl Recent {
    /// Keeps what is written of the batch from now on, until as many have called [`Recent::leave`].
    pub fn follow(&self, batch: BatchId) {
        let mut kept = self.kept.lock();
        kept.followed.entry(batch).or_default().watchers += 1;
        self.followed.store(kept.followed.len(), Ordering::Relaxed);
    }

    /// One less follows the batch.
    pub fn leave(&self, batch: BatchId) {
        let mut kept = self.kept.lock();
        if let Entry::Occupied(mut followed) = kept.followed.entry(batch) {
            followed.get_mut().watchers -= 1;
            if followed.get().watchers == 0 {
                followed.remove();
            }
        }
        self.followed.store(kept.followed.len(), Ordering::Relaxed);
        if kept.followed.is_empty() {
            let forgotten = (mem::take(&mut kept.young), mem::take(&mut kept.old));
            drop(kept);
            drop(forgotten);
        }
    }

    /// The batch's log was read in this epoch.
    pub fn reached(&self, batch: BatchId, epoch: u32) {
        if let Some(followed) = self.kept.lock().followed.get_mut(&batch) {
            followed.epoch = followed.epoch.max(epoch);
        }
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

    /// Keeps tasks of followed batches as they were read. What runs makes progress that no later read would be asked
    /// for.
    pub fn read<'a>(&self, tasks: impl Iterator<Item = &'a Arc<Task>>) {
        let mut kept = self.kept.lock();
        for task in tasks {
            if task.status() != Status::Processing && kept.followed.contains_key(&task.batch_id) {
                kept.put(task.clone());
            }
        }
    }

    /// Those of these tasks whose batches are followed.
    pub(super) fn chosen<'a>(&self, tasks: impl Iterator<Item = &'a Task>) -> Vec<Option<Task>> {
        if self.is_idle() {
            return Vec::new();
        }
        // Mostly they are of one batch.
        let mut last: Option<(BatchId, bool)> = None;
        let mut is_followed = |batch| match last {
            Some((same, followed)) if same == batch => followed,
            _ => last.insert((batch, self.epoch(batch).is_some())).1,
        };
        let chosen = tasks.map(|task| is_followed(task.batch_id).then(|| task.clone()));
        chosen.collect()
    }

    /// These tasks were written, or were as they are when this process was given them.
    pub(super) fn wrote(&self, tasks: impl Iterator<Item = Task>) {
        let mut kept = self.kept.lock();
        for mut task in tasks {
            // The last who followed it may have left meanwhile.
            if !kept.followed.contains_key(&task.batch_id) {
                continue;
            }
            let before = kept.get(&task.id).map(|known| known.spec.clone());
            task.spec = before.unwrap_or_else(|| Arc::new(light(&task.spec)));
            kept.put(Arc::new(task));
        }
    }

    /// Tasks were accepted into a followed batch, whose log was read in this epoch before.
    pub(super) fn accepted(&self, batch: BatchId, ids: IdRange, specs: &[Arc<Spec>], epoch: u32) {
        let mut kept = self.kept.lock();
        if !kept.followed.contains_key(&batch) {
            return;
        }
        for (id, spec) in ids.iter().zip(specs) {
            // A worker may have been given it before whoever submitted it was answered.
            if kept.get(&id).is_none() {
                let spec = Arc::new(light(spec));
                kept.put(Arc::new(Task::new(id, batch, spec, epoch)));
            }
        }
    }

    /// The epoch in which the log of a followed batch was last read; none of others.
    pub(super) fn epoch(&self, batch: BatchId) -> Option<u32> {
        let kept = self.kept.lock();
        kept.followed.get(&batch).map(|followed| followed.epoch)
    }

    /// These tasks have become other than they were without a transition.
    pub(super) fn changed(&self, ids: impl Iterator<Item = TaskId>) {
        let mut kept = self.kept.lock();
        ids.for_each(|id| kept.forget(&id));
    }

    /// Whether nothing is followed.
    pub(super) fn is_idle(&self) -> bool {
        self.followed.load(Ordering::Relaxed) == 0
    }
}

impl Kept {
    fn get(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.young.tasks.get(id).or_else(|| self.old.tasks.get(id))
    }

    fn forget(&mut self, id: &TaskId) {
        self.young.remove(id);
        self.old.remove(id);
    }

    /// Keeps a task, unless more is known of it.
    fn put(&mut self, task: Arc<Task>) {
        let known = self.get(&task.id).map(|known| known.fence());
        if known.is_some_and(|known| known >= task.fence()) {
            return;
        }
        self.forget(&task.id);
        self.young.weight += task.size();
        self.young.tasks.insert(task.id, task);
        if self.young.weight > ROOM / 2 {
            self.old = mem::take(&mut self.young);
        }
    }
}

impl Generation {
    fn remove(&mut self, id: &TaskId) {
        if let Some(task) = self.tasks.remove(id) {
            self.weight -= task.size();
        }
    }
}

/// Whether the task has come to what the entry says, and no part of it can be past its retention by now: others may have
/// ended it since.
fn has_told(task: &Task, entry: &Moved, now: Timestamp) -> bool {
    let index = usize::try_from(entry.revision).ok();
    let told = index.and_then(|revision| task.history.get(revision.checked_sub(1)?));
    let keep = Duration::from_millis(task.spec.status_retention_ms);
    let expiry = task.expire_time().unwrap_or(task.last().at + keep);
    told.is_some_and(|it| it.status == entry.status) && now < expiry
}

/// A spec without its input, which is not told and may be large.
fn light(spec: &Spec) -> Spec {
    Spec {
        work: Work::Prompt {
            text: String::new(),
        },
        custom_id: spec.custom_id.clone(),
        model: spec.model.clone(),
        labels: spec.labels.clone(),
        ..*spec
    }
}

#[cfg(test)]
mod tests;
