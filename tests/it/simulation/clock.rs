//! The simulation's time: tokio's own, which stands still while anything can run and then jumps to the next timer.

use std::time::Duration;

use tidings::clock::{Clock, Timestamp};
use tokio::time::Instant;

/// When every run begins.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

/// A clock that follows tokio's.
#[derive(Debug)]
pub(super) struct VirtualClock(Instant);

impl VirtualClock {
    /// A clock that shows [`START`] now.
    pub(super) fn start() -> Self {
        VirtualClock(Instant::now())
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        START + self.0.elapsed()
    }
}

/// Milliseconds since the start, as spans and traces show them.
pub(super) fn since_start(now: Timestamp) -> u64 {
    millis(now.since(START))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
