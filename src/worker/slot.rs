//! Room for tasks: how many run at once, and how many more may wait in hand for the call of an equal one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tasks in hand that wait without running. They cost memory alone; beyond this no more are taken.
const MAX_ASIDE: usize = 4_096;

/// The room of one process.
#[derive(Clone, Debug)]
pub(super) struct Room {
    running: Arc<Semaphore>,
    in_hand: Arc<Semaphore>,
}

impl Room {
    /// Room for so many running tasks.
    pub(super) fn new(concurrency: usize) -> Self {
        Room {
            running: Arc::new(Semaphore::new(concurrency)),
            in_hand: Arc::new(Semaphore::new(concurrency + MAX_ASIDE)),
        }
    }

    /// Waits for a free slot; none when there never will be one.
    pub(super) async fn enter(&self) -> Option<Slot> {
        let in_hand = self.in_hand.clone().acquire_owned().await.ok()?;
        let running = self.running.clone().acquire_owned().await.ok()?;
        Some(self.slot(in_hand, running))
    }

    /// A slot that is free now.
    pub(super) fn try_enter(&self) -> Option<Slot> {
        let in_hand = self.in_hand.clone().try_acquire_owned().ok()?;
        let running = self.running.clone().try_acquire_owned().ok()?;
        Some(self.slot(in_hand, running))
    }

    fn slot(&self, in_hand: OwnedSemaphorePermit, running: OwnedSemaphorePermit) -> Slot {
        Slot {
            running: Some(running),
            room: self.running.clone(),
            _in_hand: in_hand,
        }
    }
}

/// What one task takes of it.
#[derive(Debug)]
pub(super) struct Slot {
    /// None while the task waits aside.
    running: Option<OwnedSemaphorePermit>,
    room: Arc<Semaphore>,
    _in_hand: OwnedSemaphorePermit,
}

impl Slot {
    /// Lets another task run while this one waits.
    pub(super) fn step_aside(&mut self) {
        self.running = None;
    }

    /// Waits until the task may run again, if it had stepped aside.
    pub(super) async fn step_in(&mut self) {
        if self.running.is_none() {
            // The room is never closed.
            self.running = self.room.clone().acquire_owned().await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_task_aside_leaves_its_place_to_others_and_waits_to_have_it_back() {
        let room = Room::new(1);
        let mut first = room.enter().await.unwrap();
        assert!(room.try_enter().is_none());
        first.step_aside();
        let second = room.try_enter().unwrap();
        assert!(first.step_in().now_or_never().is_none());
        drop(second);
        first.step_in().await;
        assert!(room.try_enter().is_none());
        drop(first);
        assert!(room.try_enter().is_some());
    }

    #[tokio::test]
    async fn no_more_tasks_are_taken_in_hand_than_there_is_room_for() {
        let room = Room::new(2);
        let mut aside = Vec::new();
        while let Some(mut slot) = room.try_enter() {
            slot.step_aside();
            aside.push(slot);
        }
        assert_eq!(aside.len(), 2 + MAX_ASIDE);
        aside.pop();
        assert!(room.try_enter().is_some());
    }
}
