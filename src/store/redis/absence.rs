//! Partitions that were away while others were not. Leases that could not be renewed there meanwhile are not those of
//! lost workers: once a partition is back, they get the time to be renewed before anybody is told that they ran out.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// What renewals may take beyond a lease once they are possible again: a call's time-out and a new connection.
const SETTLING: Duration = Duration::from_secs(2);

/// Which partitions are away, or came back a short while ago.
#[derive(Debug, Default)]
pub(super) struct Absences {
    /// The longest lease asked for, ms.
    lease: AtomicU64,
    /// When each came back; none while it is away.
    back: Mutex<HashMap<u16, Option<Instant>>>,
}

impl Absences {
    /// Leases are as long as this.
    pub(super) fn lease_of(&self, lease: Duration) {
        let millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.lease.fetch_max(millis, Ordering::Relaxed);
    }

    /// The partition did not answer.
    pub(super) fn is_away(&self, partition: u16) {
        self.back.lock().insert(partition, None);
    }

    /// The partition answered: whether its leases mean something again.
    pub(super) fn is_settled(&self, partition: u16, now: Instant) -> bool {
        let mut back = self.back.lock();
        let Some(since) = back.get_mut(&partition) else {
            return true;
        };
        let since = *since.get_or_insert(now);
        let lease = Duration::from_millis(self.lease.load(Ordering::Relaxed));
        let settled = now.saturating_duration_since(since) >= lease + SETTLING;
        if settled {
            back.remove(&partition);
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_was_away_settles_some_time_after_it_came_back() {
        let absences = Absences::default();
        let (start, lease) = (Instant::now(), Duration::from_secs(2));
        absences.lease_of(lease);
        assert!(absences.is_settled(3, start));
        absences.is_away(3);
        assert!(!absences.is_settled(3, start));
        assert!(!absences.is_settled(3, start + lease));
        assert!(absences.is_settled(4, start));
        absences.is_away(3);
        assert!(!absences.is_settled(3, start + 3 * lease));
        assert!(absences.is_settled(3, start + 5 * lease));
        assert!(absences.is_settled(3, start + 5 * lease));
    }
}
