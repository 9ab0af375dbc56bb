//! Waiting tasks read ahead. Those that were submitted together start one after the other, and lie side by side on disk,
//! where a row of them is read for little more than one.

use super::Map;
use crate::model::{Task, TaskId};

/// The most that is read at once.
const LONGEST: u32 = 128;
/// So many that have been read and not been asked for are too many.
const SPARE: usize = 512;

/// Tasks that may be asked for next, as they were when they were read.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    tasks: Map<TaskId, Task>,
    reach: u32,
    /// How many the last row had beyond the first, and how many have been asked for since.
    beyond: usize,
    asked: usize,
}

impl Ahead {
    /// Takes out a task that has come no further than this revision.
    pub(super) fn take(&mut self, id: TaskId, revision: u64) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        self.asked += 1;
        Some(task).filter(|task| task.revision() == revision)
    }

    /// How many to read next: more where all were asked for, fewer where none was.
    pub(super) fn reach(&mut self) -> u32 {
        if self.asked >= self.beyond {
            self.reach = (2 * self.reach).clamp(1, LONGEST);
        } else if self.asked == 0 {
            self.reach = (self.reach / 2).max(1);
        }
        if self.tasks.len() > SPARE {
            self.tasks = Map::default();
        }
        self.reach
    }

    /// Keeps the rest of a row until it is asked for.
    pub(super) fn put(&mut self, tasks: impl ExactSizeIterator<Item = Task>) {
        (self.beyond, self.asked) = (tasks.len(), 0);
        self.tasks.extend(tasks.map(|task| (task.id, task)));
    }
}

#[cfg(test)]
mod tests;
