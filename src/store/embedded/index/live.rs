//! One live task, and where it stands.

use crate::{
    clock::Timestamp,
    model::{BatchId, Fence, Priority, Status},
};

/// One live task.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::embedded) struct Live {
    pub(in crate::store::embedded) fence: Fence,
    pub(in crate::store::embedded) batch: BatchId,
    pub(in crate::store::embedded) priority: Priority,
    pub(in crate::store::embedded) due: Timestamp,
    pub(in crate::store::embedded) deadline: Timestamp,
    pub(super) weight: u64,
    /// What its call may cost.
    pub(super) cost: u64,
    /// The group of changes that put it into its queue: it is not on disk before that is.
    pub(in crate::store::embedded) since: u64,
    pub(super) place: Place,
}

/// Where a live task is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// In its batch's line.
    Ready,
    /// Waiting for `due`.
    Delayed,
    /// Held by a worker whose lease ends then.
    Processing(Timestamp),
    /// In no queue: its deadline has passed, or its record cannot be read.
    Aside,
}

/// Where in its batch a task joins, and, when nothing of the batch was ready, where the batch joins the others.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::embedded) enum Seat {
    /// Behind all others.
    Tail,
    /// At a position that was reserved before all others.
    At(i64),
    /// At such a position, but its batch joins behind the others.
    Due(i64),
}

impl Live {
    /// A queued task, not yet in any queue.
    pub(in crate::store::embedded) fn new(
        fence: Fence,
        batch: BatchId,
        priority: Priority,
        due: Timestamp,
        deadline: Timestamp,
        weight: u64,
    ) -> Live {
        Live {
            fence,
            batch,
            priority,
            due,
            deadline,
            weight,
            cost: 0,
            since: 0,
            place: Place::Aside,
        }
    }

    /// The same task, whose call may cost so much.
    pub(in crate::store::embedded) fn costing(self, cost: u64) -> Live {
        Live { cost, ..self }
    }

    /// The same task, queued by the group of this number.
    pub(in crate::store::embedded) fn since(self, since: u64) -> Live {
        Live { since, ..self }
    }

    /// The task after a transition back to the queue, not yet in any.
    pub(in crate::store::embedded) fn moved(self, fence: Fence, due: Timestamp) -> Live {
        Live {
            fence,
            due,
            place: Place::Aside,
            ..self
        }
    }

    /// Where the task stands.
    pub(in crate::store::embedded) fn status(&self) -> Status {
        match self.place {
            Place::Processing(_) => Status::Processing,
            _ => Status::Queued,
        }
    }

    /// When the lease of a processing task ends.
    pub(in crate::store::embedded) fn lease(&self) -> Option<Timestamp> {
        match self.place {
            Place::Processing(lease) => Some(lease),
            _ => None,
        }
    }

    /// When something ends for the task: its lease or its deadline.
    pub(super) fn timer(&self) -> Timestamp {
        self.lease()
            .map_or(self.deadline, |lease| lease.min(self.deadline))
    }
}
