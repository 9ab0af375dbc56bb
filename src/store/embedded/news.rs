//! What a group tells those who watch from this process: they read nothing that it has just written.

use std::sync::Arc;

use crate::{
    model::{BatchId, Task},
    store::{Log, Recent},
};

/// What is known once a group is on disk.
#[derive(Debug, Default)]
pub(super) struct News {
    /// How far logs go that it added to.
    pub(super) ends: Vec<(BatchId, u64)>,
    /// What it added to them.
    pub(super) pieces: Vec<Log>,
    /// Batches that changed in another way: what was known of them is no longer so.
    pub(super) changed: Vec<BatchId>,
}

impl News {
    /// Tells it, with the tasks of the group. It is on disk, and nobody has been told yet that there is something to see.
    pub(super) fn tell(self, recent: &Recent, tasks: impl Iterator<Item = Arc<Task>>) {
        recent.shares(tasks);
        for id in self.changed {
            recent.amended(id);
        }
        for (id, end) in self.ends {
            recent.heard(id, end);
        }
        // Nobody else writes here: what is in memory by now is all there is.
        let now = recent.moment();
        recent.added(self.pieces.into_iter(), now);
    }
}
