//! Counts the tasks that were taken and have not begun: those that wait for their turn at the upstream are better off in
//! the queue, where everybody sees them in their order and any worker may take them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// One task in so many begins before more are taken: taking each by itself would cost the store a call a task.
const SHARE: usize = 8;

/// The tasks of a pool that have not begun.
#[derive(Debug, Default)]
pub(super) struct Appetite {
    waiting: AtomicUsize,
    begun: Notify,
}

impl Appetite {
    /// A task was taken. It has begun when what this returns is dropped.
    pub(super) fn take(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Waits until tasks may be taken where no more than `room` may wait. Answers how many.
    pub(super) async fn wait(&self, room: impl Fn() -> Option<usize>) -> usize {
        loop {
            let begun = self.begun.notified();
            let Some(room) = room() else {
                return usize::MAX;
            };
            let free = room.saturating_sub(self.waiting.load(Ordering::Relaxed));
            if free > room / SHARE {
                return free;
            }
            begun.await;
        }
    }
}

/// A task that has not begun.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Appetite>);

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
