//! How fast places come free, seen from a task that is made ready to run.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Averages are kept in these parts of one.
const WHOLE: usize = 1 << 8;
/// One task changes the average by one part in so many.
const MEMORY: usize = 32;

/// Counts places as they come free. So many tasks as places come free while one is acquired and marked can be made
/// ready before there are places for them, and find them when they are: Little's law, without a clock.
#[derive(Debug, Default)]
pub(super) struct Flow {
    freed: AtomicUsize,
    /// Places that come free while a task is made ready, in parts of [`WHOLE`].
    meanwhile: AtomicUsize,
}

impl Flow {
    /// A place has come free.
    pub(super) fn free(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the count stands.
    pub(super) fn mark(&self) -> usize {
        self.freed.load(Ordering::Relaxed)
    }

    /// How many places have come free since the count stood there.
    pub(super) fn since(&self, mark: usize) -> usize {
        self.mark().wrapping_sub(mark)
    }

    /// A task was made ready, and so many places have come free meanwhile. Two at once may be counted as one: it is an
    /// estimate.
    pub(super) fn learn(&self, freed: usize) {
        let before = self.meanwhile.load(Ordering::Relaxed);
        let seen = freed.saturating_mul(WHOLE);
        let now = if seen > before {
            before + (seen - before).div_ceil(MEMORY)
        } else {
            before - (before - seen).div_ceil(MEMORY)
        };
        self.meanwhile.store(now, Ordering::Relaxed);
    }

    /// How many places will come free while a task is made ready.
    pub(super) fn expected(&self) -> usize {
        self.meanwhile.load(Ordering::Relaxed) / WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_what_was_seen() {
        let flow = Flow::default();
        assert_eq!(flow.expected(), 0);
        for _ in 0..500 {
            flow.learn(20);
        }
        assert_eq!(flow.expected(), 20);
        for _ in 0..500 {
            flow.learn(0);
        }
        assert_eq!(flow.expected(), 0, "calls have become slow");
    }

    #[test]
    fn one_burst_changes_little() {
        let flow = Flow::default();
        flow.learn(64);
        assert_eq!(flow.expected(), 2);
    }

    #[test]
    fn places_are_counted_from_a_mark() {
        let flow = Flow::default();
        flow.free();
        let mark = flow.mark();
        flow.free();
        flow.free();
        assert_eq!(flow.since(mark), 2);
    }
}
