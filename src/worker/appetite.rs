//! Counts the tasks that were taken and have not begun: those that wait for their turn at the upstream are better off in
//! the queue, where everybody sees them in their order and any worker may take them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// One task in so many begins before more are taken: taking each by itself would cost the store a call a task.
const SHARE: usize = 8;
/// The share of tasks that are calls is counted in these parts of one.
const WHOLE: usize = 1 << 16;
/// The share is taken for no less than this: what comes next may be calls.
const LEAST: usize = WHOLE / 32;
/// One task changes what is known of that share by one part in so many: what was taken last counts most.
const MEMORY: usize = 64;

/// The tasks of a pool that have not begun, and how many of them will have to wait for a turn: functions never do.
#[derive(Debug)]
pub(super) struct Appetite {
    waiting: AtomicUsize,
    /// Parts of [`WHOLE`].
    calls: AtomicUsize,
    begun: Notify,
}

impl Default for Appetite {
    fn default() -> Self {
        Appetite {
            waiting: AtomicUsize::new(0),
            // Until it is known better, every task waits for a turn.
            calls: AtomicUsize::new(WHOLE),
            begun: Notify::new(),
        }
    }
}

impl Appetite {
    /// A task was taken. It has begun when what this returns is dropped.
    pub(super) fn take(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Waits until tasks may be taken where no more than `room` may wait for turns. Answers how many.
    pub(super) async fn wait(&self, room: impl Fn() -> Option<usize>) -> usize {
        loop {
            let begun = self.begun.notified();
            let Some(room) = room() else {
                return usize::MAX;
            };
            let calls = self.calls.load(Ordering::Relaxed).max(LEAST);
            let room = room.saturating_mul(WHOLE) / calls;
            let free = room.saturating_sub(self.waiting.load(Ordering::Relaxed));
            if free > room / SHARE {
                return free;
            }
            begun.await;
        }
    }

    /// A task turned out to need a turn, or none. Two at once may be counted as one: it is an estimate.
    fn learn(&self, is_call: bool) {
        let before = self.calls.load(Ordering::Relaxed);
        let now = if is_call {
            before + (WHOLE - before).div_ceil(MEMORY)
        } else {
            before - before.div_ceil(MEMORY)
        };
        self.calls.store(now, Ordering::Relaxed);
    }
}

/// A task that has not begun.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Appetite>);

impl Waiting {
    /// It needs no turn and begins at once.
    pub(super) fn needs_none(self) {
        self.0.learn(false);
    }

    /// It has to wait for its turn.
    pub(super) fn needs_turn(&self) {
        self.0.learn(true);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.begun.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn no_more_are_taken_than_may_wait_until_some_have_begun() {
        let appetite = Arc::new(Appetite::default());
        let wait = || appetite.wait(|| Some(16)).now_or_never();
        assert_eq!(wait(), Some(16));
        let mut waiting: Vec<_> = (0..16).map(|_| appetite.take()).collect();
        assert_eq!(wait(), None);
        waiting.truncate(14);
        assert_eq!(wait(), None, "a few at a time");
        waiting.truncate(13);
        assert_eq!(wait(), Some(3));
        assert_eq!(appetite.wait(|| None).now_or_never(), Some(usize::MAX));
    }

    #[test]
    fn tasks_that_need_no_turn_are_taken_in_numbers_until_others_come() {
        let appetite = Arc::new(Appetite::default());
        let wait = || appetite.wait(|| Some(16)).now_or_never();
        for _ in 0..1_000 {
            appetite.take().needs_none();
        }
        assert_eq!(wait(), Some(512));
        let mut waiting = Vec::new();
        for _ in 0..1_000 {
            let one = appetite.take();
            one.needs_turn();
            waiting.push(one);
        }
        assert_eq!(wait(), None);
        waiting.clear();
        assert_eq!(wait(), Some(16));
    }

    #[tokio::test]
    async fn one_that_begins_wakes_who_waits_for_room() {
        let appetite = Arc::new(Appetite::default());
        let waiting = appetite.take();
        let room = tokio::spawn({
            let appetite = appetite.clone();
            async move { appetite.wait(|| Some(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        drop(waiting);
        assert_eq!(room.await.unwrap(), 1);
    }
}
