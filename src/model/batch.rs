//! A batch: what one or more submits accepted together, and how far it is.

use super::{funds::Funds, id::BatchId, outcome::Usage, status::Status, wait::Reason};
use crate::clock::Timestamp;

/// What a batch holds and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Batch {
    /// Its id.
    #[n(0)]
    pub id: BatchId,
    /// How its tasks stand.
    #[n(1)]
    pub counts: Counts,
    /// Sum over the tasks answered so far.
    #[n(2)]
    pub usage: Usage,
    /// More submits may add to it.
    #[n(3)]
    pub open: bool,
    /// When the first submit was accepted.
    #[n(4)]
    pub create_time: Timestamp,
    /// When the latest task became terminal.
    #[n(5)]
    pub last_end_time: Option<Timestamp>,
    /// Set while the batch is held back.
    #[n(6)]
    pub parked: Option<Parked>,
    /// Its money; none where it has no budget.
    #[n(7)]
    pub funds: Option<Funds>,
}

impl Batch {
    /// A batch without tasks.
    pub fn new(id: BatchId, create_time: Timestamp) -> Self {
        Batch {
            id,
            counts: Counts::default(),
            usage: Usage::default(),
            open: true,
            create_time,
            last_end_time: None,
            parked: None,
            funds: None,
        }
    }

    /// Closed, with every task terminal.
    pub fn is_done(&self) -> bool {
        !self.open && self.counts.queued == 0 && self.counts.processing == 0
    }

    /// Why its tasks are held back, if they are.
    pub fn held_back(&self) -> Option<Reason> {
        match &self.parked {
            Some(parked) if parked.reason == ParkReason::Budget => Some(Reason::Budget),
            Some(_) => Some(Reason::Parked),
            None => {
                let is_short = self.funds.is_some_and(|funds| funds.short.is_some());
                is_short.then_some(Reason::Budget)
            }
        }
    }

    /// When the batch was done; none before.
    pub fn end_time(&self) -> Option<Timestamp> {
        self.last_end_time.filter(|_| self.is_done())
    }
}

/// How the tasks of a batch stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Counts {
    /// Waiting.
    #[n(0)]
    pub queued: u64,
    /// Held by workers.
    #[n(1)]
    pub processing: u64,
    /// Answered.
    #[n(2)]
    pub completed: u64,
    /// Failed.
    #[n(3)]
    pub error: u64,
    /// Cancelled.
    #[n(4)]
    pub cancelled: u64,
}

impl Counts {
    /// All tasks.
    pub fn total(&self) -> u64 {
        self.queued + self.processing + self.completed + self.error + self.cancelled
    }

    /// Counts a task that came to `to` from `from`, or that is new.
    pub fn shift(&mut self, from: Option<Status>, to: Status) {
        if let Some(from) = from {
            let count = self.of_mut(from);
            *count = count.saturating_sub(1);
        }
        *self.of_mut(to) += 1;
    }

    /// The counter of one status.
    pub fn of_mut(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Queued => &mut self.queued,
            Status::Processing => &mut self.processing,
            Status::Completed => &mut self.completed,
            Status::Error => &mut self.error,
            Status::Cancelled => &mut self.cancelled,
        }
    }
}

/// Why a batch is held back, and since when.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Parked {
    /// What has to be mended first.
    #[n(0)]
    pub reason: ParkReason,
    /// For people. Never holds a prompt or a key.
    #[n(1)]
    pub message: String,
    /// Since when.
    #[n(2)]
    pub time: Timestamp,
}

/// What has to be mended before a parked batch can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum ParkReason {
    /// The upstream refused the key.
    #[n(1)]
    AuthFailed = 1,
    /// The key may not use what the tasks ask for.
    #[n(2)]
    PermissionDenied = 2,
    /// No money or quota is left at the upstream.
    #[n(3)]
    QuotaExhausted = 3,
    /// What is left of the batch's budget is less than its next task may cost.
    #[n(4)]
    Budget = 4,
}
