//! When the next call may be sent: as fast as the upstream's quota permits, and no faster.
//!
//! Pure: time is a parameter, in seconds since the Unix epoch, and nothing waits. [`Bucket`] is the schedule that all
//! processes which share a key agree on; [`control`] decides its rates, from the limits that the upstream tells, from
//! those configured, or by searching ([`cubic`]) where there are neither; [`estimate`] guesses what a call will cost.
//! [`Line`] puts them together for one process. Beside them stands [`Ceiling`], for servers that tell nothing, refuse
//! nothing and only get slower.

mod bucket;
mod ceiling;
mod control;
mod cubic;
mod estimate;
mod line;
mod meter;
mod reply;

pub(super) use bucket::Bucket;
pub(super) use ceiling::Ceiling;
pub(super) use control::Settings;
pub(super) use line::{Cost, Line, Sent, Step};
pub(super) use reply::{Answer, Reply, Room};

/// An instant or a length of time.
pub(super) type Seconds = f64;

/// So much of the time gone by may be made up for at once: less than the second over which upstreams enforce a limit
/// of a minute.
pub(super) const BURST: Seconds = 0.25;

/// A count of calls, tokens or bytes.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53, and need not be exact"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod quota_tests;
