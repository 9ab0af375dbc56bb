//! Where a hint waits for its watcher.
//!
//! `tests/loom` includes this very file and walks through the orders in which hints and the watcher can meet.

use std::{future::poll_fn, task::Poll};

use super::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicWaker, Ordering};

/// It is not known to which revision.
const ANY: u32 = u32::MAX;

/// All that a watcher costs while it does not read: whether there is something to look at. One watcher waits on it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    hinted: AtomicBool,
    waker: AtomicWaker,
    /// To which revision at least; 0 for none.
    moved: AtomicU32,
    progress: AtomicU8,
}

impl Slot {
    /// Hints that the record may have changed.
    pub(super) fn wake(&self) {
        self.moved.swap(ANY, Ordering::AcqRel);
        self.hint();
    }

    /// Hints that the record has come to a revision.
    pub(super) fn wake_for(&self, revision: u64) {
        let revision = u32::try_from(revision).unwrap_or(ANY);
        self.moved.fetch_max(revision, Ordering::AcqRel);
        self.hint();
    }

    /// Hints at progress, 0 to 100; the latest counts.
    pub(super) fn note(&self, progress: u8) {
        self.progress.swap(progress, Ordering::Relaxed);
        self.hint();
    }

    fn hint(&self) {
        self.hinted.swap(true, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Waits for a hint; one that came since the last wait counts. Nothing is lost when the wait is given up.
    pub(super) async fn news(&self) {
        poll_fn(|context| {
            if self.take_hint() {
                return Poll::Ready(());
            }
            self.waker.register(context.waker());
            // A hint that came before the waker was there has woken nobody.
            match self.take_hint() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The revision to which the record may have come since this was last asked: the highest of all where that is not
    /// known, none where it has not changed.
    pub(super) fn take_moved(&self) -> Option<u64> {
        match self.moved.swap(0, Ordering::AcqRel) {
            0 => None,
            ANY => Some(u64::MAX),
            revision => Some(revision.into()),
        }
    }

    /// Progress heard of since this was last asked, 1 to 100; 0 for none.
    pub(super) fn take_progress(&self) -> u8 {
        self.progress.swap(0, Ordering::Relaxed)
    }

    /// Whether there was a hint since this was last asked.
    pub(super) fn take_hint(&self) -> bool {
        self.hinted.swap(false, Ordering::AcqRel)
    }
}
