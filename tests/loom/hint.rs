//! A hub's slot: no hint is lost, whenever it comes.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

#[path = "../../src/watch/slot.rs"]
mod slot;

/// What stands in the place of `src/watch/sync.rs`.
mod sync {
    use std::task::Waker;

    use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

    /// Keeps to the contract of the one it stands for: a wake finds the waker registered before it, or happens before
    /// the registration that comes after it. Loom's own wakes more often than that, and would hide what is lost.
    #[derive(Debug, Default)]
    pub(super) struct AtomicWaker(Mutex<Option<Waker>>);

    impl AtomicWaker {
        pub(super) fn register(&self, waker: &Waker) {
            let before = self.0.lock().unwrap().replace(waker.clone());
            drop(before);
        }

        pub(super) fn wake(&self) {
            let waker = self.0.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

use slot::Slot;

/// A record that changes, and the slot of the one who watches it.
#[derive(Default)]
struct Watched {
    revision: AtomicUsize,
    slot: Slot,
}

impl Watched {
    fn change(&self) {
        let before = self.revision.fetch_add(1, Ordering::AcqRel);
        self.slot.wake_for(before as u64 + 1);
    }

    fn change_somehow(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
        self.slot.wake();
    }
}

/// A wake that is lost leaves the watcher waiting for ever, which loom calls a deadlock.
#[test]
fn a_watcher_comes_to_the_last_change_whenever_its_hints_come() {
    crate::explore(2, || {
        let watched = Arc::new(Watched::default());
        let writer = {
            let watched = watched.clone();
            thread::spawn(move || (0..2).for_each(|_| watched.change()))
        };
        block_on(async {
            let mut seen = 0;
            while seen < 2 {
                watched.slot.news().await;
                if let Some(revision) = watched.slot.take_moved() {
                    seen = watched.revision.load(Ordering::Acquire);
                    assert!(seen as u64 >= revision);
                }
            }
        });
        writer.join().unwrap();
    });
}

#[test]
fn changes_from_two_sides_are_both_seen() {
    crate::explore(2, || {
        let watched = Arc::new(Watched::default());
        let writers = [Watched::change, Watched::change_somehow].map(|change| {
            let watched = watched.clone();
            thread::spawn(move || change(&watched))
        });
        block_on(async {
            let mut seen = 0;
            while seen < 2 {
                watched.slot.news().await;
                if watched.slot.take_moved().is_some() {
                    seen = watched.revision.load(Ordering::Acquire);
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

/// A stream that is dropped and taken up again, or whose heartbeat comes first.
#[test]
fn a_wait_that_is_given_up_takes_no_hint_with_it() {
    crate::explore(2, || {
        let watched = Arc::new(Watched::default());
        let writer = {
            let watched = watched.clone();
            thread::spawn(move || watched.change())
        };
        let first = {
            let mut wait = pin!(watched.slot.news());
            let mut context = Context::from_waker(Waker::noop());
            wait.as_mut().poll(&mut context).is_ready()
        };
        if !first {
            block_on(watched.slot.news());
        }
        assert_eq!(watched.slot.take_moved(), Some(1));
        writer.join().unwrap();
    });
}

#[test]
fn the_latest_progress_is_what_a_watcher_comes_to() {
    crate::explore(2, || {
        let watched = Arc::new(Watched::default());
        let worker = {
            let watched = watched.clone();
            thread::spawn(move || {
                watched.slot.note(40);
                watched.slot.note(80);
            })
        };
        block_on(async {
            let mut seen = 0;
            while seen < 80 {
                watched.slot.news().await;
                let progress = watched.slot.take_progress();
                assert!(progress == 0 || progress > seen, "{progress} after {seen}");
                seen = seen.max(progress);
            }
        });
        worker.join().unwrap();
        assert_eq!(watched.slot.take_progress(), 0);
    });
}
