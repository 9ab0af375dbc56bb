//! Room for tasks: how many run at once, and how many more may wait in hand for the call of an equal one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::appetite::{Appetite, Waiting};

/// Tasks in hand that wait without running. They cost memory alone; beyond this they wait in the queue.
const MAX_ASIDE: usize = 4_096;

/// The room of one process.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Places>);

#[derive(Debug)]
struct Places {
    running: Arc<Semaphore>,
    /// As many again may have ended and wait for their commit: others run meanwhile.
    ended: Arc<Semaphore>,
    in_hand: Arc<Semaphore>,
    appetite: Arc<Appetite>,
}

impl Room {
    /// Room for so many running tasks.
    pub(super) fn new(concurrency: usize) -> Self {
        Room(Arc::new(Places {
            running: Arc::new(Semaphore::new(concurrency)),
            ended: Arc::new(Semaphore::new(concurrency)),
            in_hand: Arc::new(Semaphore::new(concurrency + MAX_ASIDE)),
            appetite: Arc::default(),
        }))
    }

    /// Waits for a free slot; none when there never will be one.
    pub(super) async fn enter(&self) -> Option<Slot> {
        let in_hand = self.0.in_hand.clone().acquire_owned().await.ok()?;
        let running = self.0.running.clone().acquire_owned().await.ok()?;
        Some(self.slot(in_hand, running))
    }

    /// A slot that is free now.
    pub(super) fn try_enter(&self) -> Option<Slot> {
        let in_hand = self.0.in_hand.clone().try_acquire_owned().ok()?;
        let running = self.0.running.clone().try_acquire_owned().ok()?;
        Some(self.slot(in_hand, running))
    }

    /// Waits until tasks may be taken where no more than `turns` may wait for theirs. Answers how many.
    pub(super) async fn wait(&self, turns: impl Fn() -> Option<usize>) -> usize {
        self.0.appetite.wait(turns).await
    }

    fn slot(&self, in_hand: OwnedSemaphorePermit, running: OwnedSemaphorePermit) -> Slot {
        Slot {
            running: Some(running),
            waiting: None,
            was_aside: false,
            room: self.clone(),
            in_hand: Some(in_hand),
            ended: None,
        }
    }
}

/// What one task takes of it.
#[derive(Debug)]
pub(super) struct Slot {
    /// None while the task waits aside.
    running: Option<OwnedSemaphorePermit>,
    /// None unless the task waits for its turn at the upstream.
    waiting: Option<Waiting>,
    /// The task has stepped aside at some time.
    was_aside: bool,
    room: Room,
    in_hand: Option<OwnedSemaphorePermit>,
    /// None unless the task has ended and left its place to another one.
    ended: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// A task was taken for it, which waits for its turn from now on.
    pub(super) fn fill(&mut self) {
        self.waiting = Some(self.room.0.appetite.take());
    }

    /// What the task holds as long as it waits for its turn, to be dropped when it begins.
    pub(super) fn waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// Whether so many tasks wait aside that there is no room for this one as well.
    pub(super) fn is_stuck(&self) -> bool {
        // As many as run leave as much of what may be in hand free: what is missing stands aside.
        let (in_hand, running) = (&self.room.0.in_hand, &self.room.0.running);
        self.running.is_some() && in_hand.available_permits() <= running.available_permits()
    }

    /// Lets another task run, and have its turn, while this one waits. Answers whether it does so for the first time.
    pub(super) fn step_aside(&mut self) -> bool {
        self.waiting = None;
        self.running = None;
        !std::mem::replace(&mut self.was_aside, true)
    }

    /// The task has been answered: another may run while its commit is under way, unless as many as may run wait for theirs.
    /// Not for one that failed, since what its commit says may hold others back.
    pub(super) fn end(&mut self) {
        if let Ok(ended) = self.room.0.ended.clone().try_acquire_owned() {
            self.ended = Some(ended);
            self.running = None;
            self.in_hand = None;
        }
    }

    /// Whether the task has stepped aside at some time.
    pub(super) fn was_aside(&self) -> bool {
        self.was_aside
    }

    /// Waits until the task may run again, if it had stepped aside.
    pub(super) async fn step_in(&mut self) {
        if self.running.is_none() {
            // The room is never closed.
            self.running = self.room.0.running.clone().acquire_owned().await.ok();
            // Not before: the pool holds a slot while it waits for those that wait to begin.
            self.fill();
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
    async fn a_task_aside_waits_for_no_turn_until_it_is_back() {
        let room = Room::new(1);
        let free = || room.wait(|| Some(1)).now_or_never();
        let mut slot = room.enter().await.unwrap();
        assert_eq!(free(), Some(1));
        slot.fill();
        assert_eq!(free(), None);
        slot.step_aside();
        assert_eq!(free(), Some(1));
        let other = room.try_enter().unwrap();
        assert!(slot.step_in().now_or_never().is_none());
        assert_eq!(free(), Some(1), "it has no place yet");
        drop(other);
        slot.step_in().await;
        assert_eq!(free(), None);
        drop(slot.waiting());
        assert_eq!(free(), Some(1));
    }

    #[tokio::test]
    async fn as_many_as_may_run_may_wait_for_their_commit_besides() {
        let room = Room::new(1);
        let mut first = room.try_enter().unwrap();
        assert!(room.try_enter().is_none());
        first.end();
        let mut second = room.try_enter().unwrap();
        second.end();
        assert!(room.try_enter().is_none());
        drop(first);
        assert!(room.try_enter().is_none(), "the second kept its place");
        drop(second);
        assert!(room.try_enter().is_some());
    }

    #[tokio::test]
    async fn no_more_tasks_stand_aside_than_there_is_room_for() {
        let room = Room::new(2);
        let mut aside = Vec::new();
        let _busy = room.try_enter().unwrap();
        loop {
            let mut slot = room.try_enter().unwrap();
            if slot.is_stuck() {
                break;
            }
            slot.step_aside();
            aside.push(slot);
        }
        assert_eq!(aside.len(), MAX_ASIDE);
        assert!(!aside[0].is_stuck(), "it stands aside already");
        assert!(room.try_enter().is_some(), "others may still run");
        aside.pop();
        assert!(!room.try_enter().unwrap().is_stuck());
    }
}
