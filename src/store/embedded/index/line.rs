//! What of a batch waits to start, and rows of ids that are taken from the front.

use std::collections::VecDeque;

use crate::model::TaskId;

/// Ids by position, the lowest first.
///
/// Cheap at its ends, where ids join and leave; elsewhere an insertion moves those between it and the nearer end.
#[derive(Debug)]
pub(super) struct Row<T>(VecDeque<(i64, T)>);

/// The tasks of one batch that are queued.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those that are ready, by `Priority as usize - 1`. The id of one that has left stays until a turn comes to it.
    pub(super) rows: [Row<TaskId>; 3],
    /// How many are ready.
    pub(super) ready: u32,
    /// How many wait for an instant.
    pub(super) delayed: u32,
    /// How many are queued and can never start.
    pub(super) aside: u32,
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Row(VecDeque::new())
    }
}

impl<T: Copy + PartialEq> Row<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<T> {
        self.0.front().map(|(_, id)| *id)
    }

    pub(super) fn insert(&mut self, position: i64, id: T) {
        let place = self.0.partition_point(|(other, _)| *other < position);
        self.0.insert(place, (position, id));
    }

    /// Takes the first out.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, id) = self.0.pop_front()?;
        if self.0.is_empty() {
            // What was once long shall not hold its memory.
            self.0 = VecDeque::new();
        }
        Some(id)
    }

    /// Takes an id out wherever it is.
    pub(super) fn remove(&mut self, id: T) {
        self.0.retain(|(_, other)| *other != id);
    }
}

impl Line {
    /// How many tasks of the batch are queued.
    pub(super) fn queued(&self) -> u64 {
        u64::from(self.ready) + u64::from(self.delayed) + u64::from(self.aside)
    }

    /// Nothing is left of it.
    pub(super) fn is_idle(&self) -> bool {
        self.queued() == 0 && self.rows.iter().all(Row::is_empty)
    }
}
