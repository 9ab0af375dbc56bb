//! What a store's feed says: hints, never the truth.

use std::sync::Arc;

use crate::model::{BatchId, Status, TaskId};

/// A hint that something changed. May be lost, may repeat.
#[derive(Clone, Debug)]
pub enum Change {
    /// Tasks moved, in this order.
    Moved(Arc<[Moved]>),
    /// Running tasks made progress, or put something out.
    Noted(Arc<[Note]>),
    /// A batch changed as a whole: parked, resumed or closed.
    Amended(BatchId),
    /// Changes were lost; whoever relies on them must look again.
    Gap,
}

/// One transition of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The task.
    pub task: TaskId,
    /// Its batch.
    pub batch: BatchId,
    /// The revision it came to.
    pub revision: u64,
    /// The status it came to.
    pub status: Status,
}

/// Progress of one task; the same as before where it put something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The task.
    pub task: TaskId,
    /// 0 to 100.
    pub progress: u8,
}
