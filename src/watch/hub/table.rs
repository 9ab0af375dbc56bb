//! Who watches what, and who of them is to be woken.

use std::{
    collections::BTreeMap,
    mem,
    ops::Bound,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::task::yield_now;

use crate::watch::slot::Slot;

/// Watchers that are woken without a pause.
const WOKEN_AT_ONCE: usize = 512;
/// So many entries of a log apart, watchers can still be told what is encoded once: 2 MiB of the 8 that are kept, where
/// messages take 500 bytes.
const NEAR: u64 = 4_096;

/// Who watches what: by key, and by a number of its own, so that one of many who watch the same leaves as fast as any.
#[derive(Debug)]
pub(super) struct Table<K> {
    seats: Mutex<BTreeMap<(K, u64), Seat>>,
    next: AtomicU64,
}

/// One watcher.
#[derive(Debug)]
struct Seat {
    slot: Weak<Slot>,
    /// How far in a log it has come.
    at: u64,
    /// It is to look, and has not begun to. Of those who say where they have come to.
    hinted: bool,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Table {
            seats: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(0),
        }
    }
}

impl<K: Ord + Copy> Table<K> {
    /// Answers how many there were.
    pub(super) fn wake(&self, key: &K) -> usize {
        self.each(key, Slot::wake)
    }

    pub(super) fn wake_for(&self, key: &K, revision: u64) -> usize {
        self.each(key, |slot| slot.wake_for(revision))
    }

    /// Wakes those who have looked since they were last told to: of a hundred who do not read, a hint touches no slot.
    pub(super) fn hint(&self, key: &K) -> usize {
        let mut all = self.seats.lock();
        let seats = all.range_mut((*key, 0)..=(*key, u64::MAX));
        let slots = seats.filter_map(|(_, seat)| match mem::replace(&mut seat.hinted, true) {
            true => None,
            false => seat.slot.upgrade(),
        });
        slots.map(|slot| slot.wake()).count()
    }

    pub(super) fn note(&self, key: &K, progress: u8) -> usize {
        self.each(key, |slot| slot.note(progress))
    }

    fn each(&self, key: &K, act: impl Fn(&Slot)) -> usize {
        let all = self.seats.lock();
        let seats = all.range((*key, 0)..=(*key, u64::MAX));
        let slots = seats.filter_map(|(_, seat)| seat.slot.upgrade());
        slots.map(|slot| act(&slot)).count()
    }

    /// Those who come meanwhile have yet to read.
    pub(super) async fn wake_all(&self, pauses: &mut Pauses) {
        let mut last = None;
        while let Some((place, woken)) = self.wake_after(last) {
            last = Some(place);
            pauses.after(woken).await;
        }
    }

    /// Wakes some of those behind this place; answers the last one's, and how many there were.
    fn wake_after(&self, last: Option<(K, u64)>) -> Option<((K, u64), usize)> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.seats.lock();
        let behind = all.range((after, Bound::Unbounded)).take(WOKEN_AT_ONCE);
        let (mut reached, mut woken) = (None, 0);
        for (place, seat) in behind {
            (reached, woken) = (Some(*place), woken + 1);
            if let Some(slot) = seat.slot.upgrade() {
                slot.wake();
            }
        }
        reached.map(|place| (place, woken))
    }

    /// Takes note of how far a watcher has come, who looks now. Answers whether anybody else is within `NEAR` of that: a walk
    /// over those who watch the same, as every hint is.
    pub(super) fn come_to(&self, key: K, own: u64, at: u64) -> bool {
        let mut all = self.seats.lock();
        if let Some(seat) = all.get_mut(&(key, own)) {
            seat.at = at;
            seat.hinted = false;
        }
        let mut seats = all.range((key, 0)..=(key, u64::MAX));
        seats.any(|((_, number), seat)| *number != own && seat.at.abs_diff(at) <= NEAR)
    }

    pub(super) fn len(&self) -> usize {
        self.seats.lock().len()
    }

    /// Answers the number under which the slot is known.
    pub(super) fn insert(&self, key: K, slot: &Arc<Slot>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::downgrade(slot);
        let mut seats = self.seats.lock();
        let seat = Seat {
            slot,
            at: 0,
            hinted: false,
        };
        seats.insert((key, number), seat);
        number
    }

    pub(super) fn remove(&self, key: K, number: u64) {
        self.seats.lock().remove(&(key, number));
    }
}

/// Whoever is woken has its turn before anything that comes later, such as the store's answers to it: when many are, the
/// hub pauses now and then, so that the connection to the store is never given up for dead.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    woken: usize,
}

impl Pauses {
    pub(super) async fn after(&mut self, woken: usize) {
        self.woken += woken;
        if self.woken >= WOKEN_AT_ONCE {
            self.woken = 0;
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests;
