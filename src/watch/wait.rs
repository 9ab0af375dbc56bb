//! What a watched task waits for, as far as its watcher was told: it changes with time, and when the batch is held back
//! or let go on, without a transition of the task.

use std::sync::Arc;

use tokio::time::Instant;

use super::hub::{Hub, Place};
use crate::{
    clock::Timestamp,
    model::{BatchId, Due, Task, TaskId, WaitReason, Waiting},
    store::Error,
};

/// What one watcher knows.
pub(super) struct Wait {
    batch: BatchId,
    /// The model it asks for.
    model: Box<str>,
    /// None unless the task is queued.
    due: Option<Due>,
    /// Why the batch is held back, if it is; none where that has to be read.
    held: Option<Option<WaitReason>>,
    /// None where what its watcher believes is not known: it was told on another stream.
    told: Option<Option<Waiting>>,
    _place: Place<BatchId>,
}

impl Wait {
    /// Of a task of this batch. Hints at the batch go to the place from now on.
    pub(super) fn new(hub: &Arc<Hub>, place: &Place<TaskId>, batch: BatchId) -> Self {
        Wait {
            batch,
            model: Box::default(),
            due: None,
            held: None,
            told: None,
            _place: hub.watch_member(batch, &place.slot),
        }
    }

    /// The task has been read. Whether its batch is held back may have changed as well.
    pub(super) fn read(&mut self, task: &Task) {
        self.due = Due::of(task);
        if *self.model != *task.spec.model {
            self.model = task.spec.model.as_str().into();
        }
        self.held = None;
    }

    /// The watcher is told of the task, which was read before, and with it of its waiting as far as is known without
    /// looking at its batch: of this.
    pub(super) fn told(&mut self, hub: &Hub) -> Option<Waiting> {
        let due = self.due;
        let waiting = due.and_then(|due| hub.waiting(due, &self.model, None));
        self.told = Some(waiting);
        waiting
    }

    /// When there may be something to tell without a hint.
    pub(super) fn next_look(&self, now: Timestamp) -> Option<Instant> {
        let due = self.due?;
        let after = match self.held {
            None => return Some(Instant::now()),
            Some(Some(_)) => return None,
            Some(None) => due.changes(now).since(now),
        };
        Some(Instant::now() + after)
    }

    /// What it waits for, if that is not what was told last.
    pub(super) async fn look(&mut self, hub: &Hub) -> Result<Option<Option<Waiting>>, Error> {
        let Some(due) = self.due else {
            return Ok(None);
        };
        if self.held.is_none() {
            self.held = Some(hub.reader.held_back(self.batch).await?);
        }
        let waiting = hub.waiting(due, &self.model, self.held);
        let before = self.told.replace(waiting);
        Ok((before != Some(waiting)).then_some(waiting))
    }
}
