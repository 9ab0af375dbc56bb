//! Small tasks as they were last written, so that whoever starts them, or tells of them, need not fetch and decode what
//! has just been encoded. Bounded; what is not here is on disk.
//!
//! What is about to be written leaves before the write and comes back after it: a task found here is never older than
//! anything that was read from disk before, and nothing is found here that is not written.

use std::sync::Arc;

use parking_lot::RwLock;

use super::Map;
use crate::{
    clock::Timestamp,
    model::{Status, Task, TaskId},
};

/// Heavier tasks stay on disk: fetching them is what takes time then, and they would soon fill all the room.
const HEAVIEST: usize = 4 << 10;
/// What one half of the shelf of queued tasks holds, some 50,000 small ones: where many are submitted faster than they are
/// worked off, to read them back is a tenth of the CPU time.
const QUEUED_ROOM: usize = 32 << 20;
/// What one half of the shelf of the others holds.
const MOVED_ROOM: usize = 6 << 20;
/// After so many queued tasks that found no room, those that have it longest lose it: they do not seem to start.
const PATIENCE: usize = 1 << 16;

/// The tasks written last.
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<Shelves>);

/// Queued tasks and others do not drive each other out: of the former the oldest are needed first, of the latter the newest.
#[derive(Debug)]
struct Shelves {
    queued: Shelf,
    moved: Shelf,
    refused: usize,
}

/// What came last, and what came before that.
#[derive(Debug)]
struct Shelf {
    young: Half,
    old: Half,
    /// Bytes that either of them holds.
    room: usize,
}

#[derive(Debug, Default)]
struct Half {
    tasks: Map<TaskId, Arc<Task>>,
    bytes: usize,
}

impl Recent {
    /// What `look` makes of each of these that is here, in order.
    pub(super) fn look<T>(
        &self,
        ids: &[TaskId],
        mut look: impl FnMut(&Task) -> T,
    ) -> Vec<Option<T>> {
        let shelves = self.0.read();
        let found = ids.iter().map(|id| shelves.get(*id).map(|task| look(task)));
        found.collect()
    }

    /// A task, if it is here.
    pub(super) fn get(&self, id: TaskId) -> Option<Arc<Task>> {
        self.0.read().get(id).cloned()
    }

    /// Takes out those that are about to be written.
    pub(super) fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a TaskId>) {
        let mut shelves = self.0.write();
        for id in ids {
            shelves.take(*id);
        }
    }

    /// Keeps those that have been written, as far as there is room and they may be wanted soon.
    pub(super) fn keep(&self, tasks: impl IntoIterator<Item = Arc<Task>>, now: Timestamp) {
        let mut shelves = self.0.write();
        for task in tasks {
            let waits = task.status() == Status::Queued && task.due > now;
            if !waits && task.weight() <= HEAVIEST {
                shelves.put(task);
            }
        }
    }
}

impl Shelf {
    fn new(room: usize) -> Self {
        Shelf {
            young: Half::default(),
            old: Half::default(),
            room,
        }
    }
}

impl Default for Shelves {
    fn default() -> Self {
        Shelves {
            queued: Shelf::new(QUEUED_ROOM),
            moved: Shelf::new(MOVED_ROOM),
            refused: 0,
        }
    }
}

impl Shelves {
    fn get(&self, id: TaskId) -> Option<&Arc<Task>> {
        let [moved, queued] = [&self.moved, &self.queued];
        let mut halves = [&moved.young, &moved.old, &queued.young, &queued.old].into_iter();
        halves.find_map(|half| half.tasks.get(&id))
    }

    fn take(&mut self, id: TaskId) {
        let (moved, queued) = (&mut self.moved, &mut self.queued);
        for half in [
            &mut queued.young,
            &mut queued.old,
            &mut moved.young,
            &mut moved.old,
        ] {
            if let Some(task) = half.tasks.remove(&id) {
                half.bytes -= task.size();
                return;
            }
        }
    }

    fn put(&mut self, task: Arc<Task>) {
        let is_queued = task.status() == Status::Queued;
        let shelf = match is_queued {
            true => &mut self.queued,
            false => &mut self.moved,
        };
        if shelf.young.bytes >= shelf.room {
            if is_queued && shelf.old.bytes > shelf.room / 4 && self.refused < PATIENCE {
                self.refused += 1;
                return;
            }
            self.refused = 0;
            shelf.old = std::mem::take(&mut shelf.young);
        }
        shelf.young.bytes += task.size();
        shelf.young.tasks.insert(task.id, task);
    }
}

#[cfg(test)]
mod tests;
