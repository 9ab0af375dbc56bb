//! The store's clock, as well as this process knows it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::{Clock, SystemClock, Timestamp};

/// The store's clock minus this machine's, ms.
#[derive(Debug, Default)]
pub(super) struct StoreClock(AtomicI64);

impl StoreClock {
    /// The time there.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }

    /// Takes note of the time that a call's answer has. The answer took a while to come, so the clock is never behind
    /// what it says, but may be ahead of it.
    pub(super) fn hear(&self, now: i64) {
        let offset = now - SystemClock.now().0;
        self.0.fetch_max(offset, Ordering::Relaxed);
    }

    /// Sets the clock by an answer that came at once: the two machines' clocks may drift either way.
    pub(super) fn set(&self, now: i64) {
        let offset = now - SystemClock.now().0;
        self.0.store(offset, Ordering::Relaxed);
    }
}
