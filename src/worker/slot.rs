//! Room for tasks: how many run at once, how many are made ready for places that are about to come free, and how many
//! more may wait in hand for the call of an equal one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    appetite::{Appetite, Waiting},
    flow::Flow,
};

/// Tasks in hand that wait without running. They cost memory alone; beyond this they wait in the queue.
const MAX_ASIDE: usize = 4_096;

/// One in so many of the answers that may be awaited at once may wait for their commit besides, where they were paid for.
const PAID_SHARE: usize = 8;
/// One in so many of the tasks that run may be in hand besides, ready to run, at most. Where answers take seconds no place
/// comes free within the time that it takes to acquire a task, and none is taken ahead.
const READY_SHARE: usize = 8;
/// A task that was marked as sent so long ago, and had no place since, is marked anew before its call goes out: its lease
/// may have been lost meanwhile.
const FRESH: Duration = Duration::from_secs(1);

/// The room of one process.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Places>);

#[derive(Debug)]
struct Places {
    /// Tasks in hand, those that run and those that are made ready.
    taken: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// How many may be made ready besides those that run, at most.
    spare: usize,
    flow: Arc<Flow>,
    aside: Arc<Semaphore>,
    /// As many again as run may have ended at no cost and wait for their commit: others run meanwhile.
    ended: Arc<Semaphore>,
    /// Fewer of those that were paid for: if this process were lost, all of them would be paid for again.
    paid: Arc<Semaphore>,
    appetite: Arc<Appetite>,
}

impl Room {
    /// Room for so many running tasks.
    pub(super) fn new(concurrency: usize) -> Self {
        let spare = concurrency / READY_SHARE;
        Room(Arc::new(Places {
            taken: Arc::new(Semaphore::new(concurrency + spare)),
            spare,
            flow: Arc::default(),
            running: Arc::new(Semaphore::new(concurrency)),
            aside: Arc::new(Semaphore::new(MAX_ASIDE)),
            ended: Arc::new(Semaphore::new(concurrency)),
            paid: Arc::new(Semaphore::new(concurrency / PAID_SHARE)),
            appetite: Arc::default(),
        }))
    }

    /// Waits for free places, as many as are worth asking for; none when there never will be any.
    pub(super) async fn enter(&self) -> Option<Free> {
        let reserve = self.reserve();
        // The reserve is handed back: it is there when the rest is free.
        let all = u32::try_from(reserve + self.expected() + 1).ok()?;
        let mut places = self.0.taken.clone().acquire_many_owned(all).await.ok()?;
        drop(places.split(reserve));
        Some(Free {
            places,
            taken_at: self.0.flow.mark(),
            room: self.clone(),
        })
    }

    /// How many places will come free while a task is made ready.
    fn expected(&self) -> usize {
        self.0.flow.expected().min(self.0.spare / 2)
    }

    /// How many places are left for now. Those who wait in hand are asked for when only as many are there as will run
    /// meanwhile, and as many again at once: one by one each would cost a call to the store.
    fn reserve(&self) -> usize {
        self.0.spare - 2 * self.expected()
    }

    /// Waits until tasks may be taken where no more than `turns` may wait for theirs. Answers how many.
    pub(super) async fn wait(&self, turns: impl Fn() -> Option<usize>) -> usize {
        self.0.appetite.wait(turns).await
    }
}

/// Places for tasks that are about to be taken; those that are not used are free again when this is dropped.
#[derive(Debug)]
pub(super) struct Free {
    places: OwnedSemaphorePermit,
    /// Where the flow stood before the tasks were asked for.
    taken_at: usize,
    room: Room,
}

impl Free {
    /// Takes what else is free now, up to so many in all.
    pub(super) fn grow(&mut self, most: usize) {
        let taken = &self.room.0.taken;
        let more = most.saturating_sub(self.len());
        let free = taken.available_permits();
        let more = more.min(free.saturating_sub(self.room.reserve()));
        // What others were faster to take is not free.
        if let Ok(more) = u32::try_from(more)
            && let Ok(more) = taken.clone().try_acquire_many_owned(more)
        {
            self.places.merge(more);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.num_permits()
    }

    /// The slot of a task that was taken, which waits for its turn from now on; none when all are used.
    pub(super) fn fill(&mut self) -> Option<Slot> {
        let place = self.places.split(1)?;
        Some(Slot {
            place: Some(place),
            run: None,
            is_taken: true,
            freed: self.room.0.flow.since(self.taken_at),
            waiting: Some(self.room.0.appetite.take()),
            was_aside: false,
            room: self.room.clone(),
        })
    }
}

/// One of those that run.
#[derive(Debug)]
struct Run {
    _permit: OwnedSemaphorePermit,
    flow: Arc<Flow>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.flow.free();
    }
}

/// What one task takes of it.
#[derive(Debug)]
pub(super) struct Slot {
    /// Among those that run or are made ready, or that wait aside, or that have ended and wait for their commit.
    place: Option<OwnedSemaphorePermit>,
    /// It runs.
    run: Option<Run>,
    /// It runs or is made ready.
    is_taken: bool,
    /// Places that have come free while it was made ready.
    freed: usize,
    /// None unless the task waits for its turn at the upstream.
    waiting: Option<Waiting>,
    /// The task has stepped aside at some time.
    was_aside: bool,
    room: Room,
}

impl Slot {
    /// What the task holds as long as it waits for its turn, to be dropped when it begins.
    pub(super) fn waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// The task turned out to need a turn at the upstream.
    pub(super) fn needs_turn(&self) {
        self.waiting.iter().for_each(Waiting::needs_turn);
    }

    /// Whether so many tasks wait aside that there is no room for this one as well.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_taken && self.room.0.aside.available_permits() == 0
    }

    /// Lets another task run, and have its turn, while this one waits. Answers whether it does so for the first time.
    pub(super) fn step_aside(&mut self) -> bool {
        self.waiting = None;
        self.run = None;
        if std::mem::replace(&mut self.is_taken, false) {
            // None where others took the last places since it was looked: a few more do no harm.
            self.place = self.room.0.aside.clone().try_acquire_owned().ok();
        }
        !std::mem::replace(&mut self.was_aside, true)
    }

    /// The task has been answered: another may run while its commit is under way, unless as many as may wait for theirs
    /// do. Not for one that failed, since what its commit says may hold others back.
    pub(super) fn end(&mut self, was_paid: bool) {
        let room = &self.room.0;
        let ended = if was_paid { &room.paid } else { &room.ended };
        if let Ok(place) = ended.clone().try_acquire_owned() {
            self.place = Some(place);
            self.run = None;
            self.is_taken = false;
        }
    }

    /// Waits until the task may run. Until then it is in hand, and somebody else runs in its place.
    pub(super) async fn run(&mut self) {
        if self.run.is_some() {
            return;
        }
        let room = &self.room.0;
        room.flow.learn(self.freed);
        // The room is never closed.
        let permit = room.running.clone().acquire_owned().await.ok();
        self.run = permit.map(|permit| Run {
            _permit: permit,
            flow: room.flow.clone(),
        });
    }

    /// The task has had its turn at the upstream: has it marked as sent, and waits until it may run. False when it
    /// cannot be marked.
    pub(super) async fn send<F>(&mut self, mark: impl Fn() -> F) -> bool
    where
        F: Future<Output = bool>,
    {
        loop {
            let before = self.room.0.flow.mark();
            if !mark().await {
                return false;
            }
            self.freed += self.room.0.flow.since(before);
            self.waiting = None;
            let marked = Instant::now();
            self.run().await;
            if marked.elapsed() < FRESH {
                return true;
            }
        }
    }

    /// Whether the task has stepped aside at some time.
    pub(super) fn was_aside(&self) -> bool {
        self.was_aside
    }

    /// Waits until the task is in hand again, if it had stepped aside.
    pub(super) async fn step_in(&mut self) {
        if !self.is_taken {
            // The room is never closed.
            self.place = self.room.0.taken.clone().acquire_owned().await.ok();
            self.is_taken = true;
            // Not before: the pool holds a place while it waits for those that wait to begin.
            self.waiting = Some(self.room.0.appetite.take());
        }
    }
}

#[cfg(test)]
mod tests;
