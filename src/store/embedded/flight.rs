//! A group of changes on its way to the disk, while the next one fills.

use std::sync::Arc;

use fjall::{OwnedWriteBatch, PersistMode};

use super::{
    disk::{Disk, has_little},
    machine::Machine,
    news::News,
    overlay::{Overlay, batch},
    promise::Promise,
    recent::Recent,
};
use crate::{
    clock::Timestamp,
    model::Task,
    store::{
        Change, Recent as Told,
        record::{encode_ended, encode_state},
    },
};

/// A group that is complete.
pub(super) struct Flight {
    /// The number of its commit; none when there is nothing to write.
    seq: Option<u64>,
    writes: OwnedWriteBatch,
    /// What the machine reads through until the group has landed.
    overlay: Arc<Overlay>,
    changes: Vec<Change>,
    news: News,
    at: Timestamp,
}

impl Machine {
    /// Completes the group: what changes from now on belongs to the next one, and is read through this one.
    pub(super) fn take_off(&mut self) -> Flight {
        let next = Overlay::after(&self.disk, &self.overlay);
        let mut overlay = std::mem::replace(&mut self.overlay, next);
        let news = overlay.news(&self.batches, self.disk.epoch);
        let changes = overlay.changes();
        let is_dirty = overlay.is_dirty();
        let mut writes = std::mem::replace(&mut overlay.writes, batch(&self.disk, 0));
        if is_dirty {
            self.commit_seq += 1;
            self.recent.forget(overlay.tasks.keys());
            overlay.pack(&mut writes, &self.disk, &self.batches, self.commit_seq);
        }
        self.begun.take_off();
        let overlay = Arc::new(overlay);
        self.flying = Some(overlay.clone());
        Flight {
            seq: is_dirty.then_some(self.commit_seq),
            writes,
            overlay,
            changes,
            news,
            at: self.now(),
        }
    }

    /// What took off is on disk.
    fn land(&mut self) {
        let Some(landed) = self.flying.take() else {
            return;
        };
        self.landed_seq = self.commit_seq;
        for id in &landed.batches {
            let is_done = self.batches.get(id).is_some_and(|it| it.batch.is_done());
            // One that has changed since is newer here than on disk.
            if is_done && !self.overlay.batches.contains(id) {
                self.batches.remove(id);
            }
        }
    }
}

impl Flight {
    /// Writes the group, durably, and promises it. Answers whether there was anything to write.
    pub(super) fn write(
        mut self,
        disk: &Disk,
        promise: &mut Promise,
    ) -> Result<Landing, fjall::Error> {
        let Some(seq) = self.seq else {
            promise.sync_in_time()?;
            return Ok(self.landing());
        };
        let mut tasks: Vec<&Arc<Task>> = self.overlay.tasks.values().collect();
        // Side by side they find their places faster.
        tasks.sort_unstable_by_key(|task| task.id);
        let mut memory = Vec::new();
        for task in tasks {
            let bytes = match has_little(task) {
                true => encode_ended(task, &mut memory),
                false => encode_state(task, &mut memory),
            };
            self.writes.insert(&disk.state, task.id.as_bytes(), bytes);
        }
        let empty = batch(disk, 0);
        let writes = std::mem::replace(&mut self.writes, empty);
        writes.durability(Some(PersistMode::SyncData)).commit()?;
        promise.keep(seq)?;
        Ok(self.landing())
    }

    fn landing(self) -> Landing {
        Landing {
            wrote: self.seq.is_some(),
            overlay: self.overlay,
            changes: self.changes,
            news: self.news,
            at: self.at,
        }
    }
}

/// A group that is on disk.
pub(super) struct Landing {
    /// Whether there was anything to write.
    pub(super) wrote: bool,
    overlay: Arc<Overlay>,
    changes: Vec<Change>,
    news: News,
    at: Timestamp,
}

impl Landing {
    /// Keeps its tasks in mind, as long as the machine still reads through it.
    pub(super) fn keep(&self, recent: &Recent) {
        recent.keep(self.overlay.tasks.values().cloned(), self.at);
    }

    /// Tells those who watch from this process.
    pub(super) fn tell(&mut self, told: &Told) {
        let tasks = self.overlay.tasks.values().cloned();
        std::mem::take(&mut self.news).tell(told, tasks);
    }

    /// Answers what to announce, now that the machine reads the group from where everybody does.
    pub(super) fn end(self, machine: &mut Machine) -> Vec<Change> {
        machine.land();
        self.changes
    }
}
