//! The state machine: one table, and the events that drive it.

use super::{
    batch::Parked,
    failure::Failure,
    outcome::Outcome,
    status::Status,
    task::{Charges, WorkerId},
};
use crate::clock::Timestamp;

use Cause::{
    Acquired, CancelRequested, DeadlinePassed, Failed, LeaseExpired, Parked as ParkedCause,
    Poisoned, Released, Retried, Succeeded,
};
use Status::{Cancelled, Completed, Error, Processing, Queued};

/// Every legal transition; what is not here cannot happen. `docs/state-machine.md` shows the same table.
pub const TABLE: [(Status, Cause, Status); 12] = [
    (Queued, Acquired, Processing),
    (Queued, CancelRequested, Cancelled),
    (Queued, DeadlinePassed, Error),
    (Processing, Succeeded, Completed),
    (Processing, Failed, Error),
    (Processing, Retried, Queued),
    (Processing, Released, Queued),
    (Processing, LeaseExpired, Queued),
    (Processing, Poisoned, Error),
    (Processing, ParkedCause, Queued),
    (Processing, CancelRequested, Cancelled),
    (Processing, DeadlinePassed, Error),
];

/// Where `cause` leads from `from`; none when it cannot happen there.
pub fn next(from: Status, cause: Cause) -> Option<Status> {
    TABLE
        .iter()
        .find(|(at, why, _)| (*at, *why) == (from, cause))
        .map(|(_, _, to)| *to)
}

/// What moved a task. The numbers are those of the wire and of stored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// It was submitted.
    Submitted = 1,
    /// A worker took it up.
    Acquired = 2,
    /// It was answered.
    Succeeded = 3,
    /// It failed for good.
    Failed = 4,
    /// An attempt failed or was throttled; another follows.
    Retried = 5,
    /// Its worker shut down and gave it back uncharged.
    Released = 6,
    /// Its worker fell silent; another follows.
    LeaseExpired = 7,
    /// Its workers fell silent too often.
    Poisoned = 8,
    /// Its batch was held back.
    Parked = 9,
    /// Somebody cancelled it.
    CancelRequested = 10,
    /// Its deadline passed.
    DeadlinePassed = 11,
}

impl Cause {
    /// Every cause, in the order of the numbers.
    pub const ALL: [Cause; 11] = [
        Cause::Submitted,
        Acquired,
        Succeeded,
        Failed,
        Retried,
        Released,
        LeaseExpired,
        Poisoned,
        ParkedCause,
        CancelRequested,
        DeadlinePassed,
    ];

    /// The cause with this number, if there is one.
    pub fn from_code(code: u8) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| *cause as u8 == code)
    }
}

/// Something that happened to a task, with what it leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker took it up.
    Acquired {
        /// Which one.
        worker: WorkerId,
    },
    /// It was answered.
    Succeeded(Box<Outcome>),
    /// It failed for good.
    Failed(Failure),
    /// An attempt failed; another follows at `due`.
    Retried {
        /// What went wrong.
        failure: Failure,
        /// When the next attempt may start.
        due: Timestamp,
        /// The counters after this failure.
        charges: Charges,
    },
    /// Its worker gives it back uncharged.
    Released,
    /// Its worker fell silent.
    LeaseExpired(Failure),
    /// Its workers fell silent too often.
    Poisoned(Failure),
    /// Its batch is held back.
    Parked {
        /// What went wrong.
        failure: Failure,
        /// Why the batch is held back.
        parked: Parked,
    },
    /// Somebody cancelled it.
    CancelRequested,
    /// Its deadline passed.
    DeadlinePassed(Failure),
}

impl Event {
    /// The table's name for this event.
    pub fn cause(&self) -> Cause {
        match self {
            Event::Acquired { .. } => Acquired,
            Event::Succeeded(_) => Succeeded,
            Event::Failed(_) => Failed,
            Event::Retried { .. } => Retried,
            Event::Released => Released,
            Event::LeaseExpired(_) => LeaseExpired,
            Event::Poisoned(_) => Poisoned,
            Event::Parked { .. } => ParkedCause,
            Event::CancelRequested => CancelRequested,
            Event::DeadlinePassed(_) => DeadlinePassed,
        }
    }
}

/// A change of status, as the task's history keeps it. Its revision is its place in the history, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When it happened, by the store's clock; never before the one before it.
    pub at: Timestamp,
    /// The status it led to.
    pub status: Status,
    /// What caused it.
    pub cause: Cause,
    /// How often a worker had acquired the task by then.
    pub attempt: u32,
    /// The worker that acquired it; none unless `status` is processing.
    pub worker: Option<WorkerId>,
}

/// An event that cannot happen to a task in its present status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task in {from:?} cannot see {cause:?}")]
pub struct Illegal {
    /// The task's status.
    pub from: Status,
    /// The event.
    pub cause: Cause,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reads naturally, written out in full: the table must agree for every pair.
    fn expected(from: Status, cause: Cause) -> Option<Status> {
        if from.is_terminal() {
            return None;
        }
        match (from, cause) {
            (_, Cause::Submitted) => None,
            (_, CancelRequested) => Some(Cancelled),
            (_, DeadlinePassed) => Some(Error),
            (Queued, Acquired) => Some(Processing),
            (Queued, _) => None,
            (_, Acquired) => None,
            (_, Succeeded) => Some(Completed),
            (_, Failed | Poisoned) => Some(Error),
            (_, Retried | Released | LeaseExpired | ParkedCause) => Some(Queued),
        }
    }

    #[test]
    fn every_status_and_cause_leads_where_it_should_and_nowhere_else() {
        for from in Status::ALL {
            for cause in Cause::ALL {
                assert_eq!(
                    next(from, cause),
                    expected(from, cause),
                    "{from:?} {cause:?}"
                );
            }
        }
    }

    #[test]
    fn a_terminal_status_has_no_way_out() {
        assert!(TABLE.iter().all(|(from, _, _)| !from.is_terminal()));
    }

    #[test]
    fn codes_and_causes_match() {
        for cause in Cause::ALL {
            assert_eq!(Cause::from_code(cause as u8), Some(cause));
        }
        assert_eq!(Cause::from_code(0), None);
    }
}
