//! Where a task stands.

/// Where a task stands. The numbers are those of the wire and of stored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// Accepted; waits for a worker.
    Queued = 1,
    /// A worker holds it.
    Processing = 2,
    /// Ended with an outcome.
    Completed = 3,
    /// Ended with a failure.
    Error = 4,
    /// Ended by request.
    Cancelled = 5,
}

impl Status {
    /// Every status, in the order of the numbers.
    pub const ALL: [Status; 5] = [
        Status::Queued,
        Status::Processing,
        Status::Completed,
        Status::Error,
        Status::Cancelled,
    ];

    /// A terminal task never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Error | Status::Cancelled)
    }

    /// The status with this number, if there is one.
    pub fn from_code(code: u8) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as u8 == code)
    }

    /// The word used in logs, metrics and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Processing => "processing",
            Status::Completed => "completed",
            Status::Error => "error",
            Status::Cancelled => "cancelled",
        }
    }
}
