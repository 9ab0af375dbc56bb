//! Pauses between attempts to reach a store that is away.

use std::time::Duration;

use crate::chance;

/// The first pause is at most this long.
const FIRST: Duration = Duration::from_millis(50);
/// Long enough to spare a struggling store, short enough to be back within two seconds of its return.
const LONGEST: Duration = Duration::from_secs(1);

/// Growing, jittered pauses.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(FIRST)
    }
}

impl Backoff {
    /// Waits, longer each time.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(jittered(self.0)).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }

    /// Starts again from the shortest pause.
    pub(super) fn reset(&mut self) {
        self.0 = FIRST;
    }
}

/// Between half of `period` and all of it, so that many processes do not act in step.
pub(super) fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.5 + 0.5 * chance::unit())
}
