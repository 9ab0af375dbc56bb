//! Room for tasks: how many run at once, how many are made ready for places that are about to come free, and how many
//! more may wait in hand for the call of an equal one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    appetite::{Appetite, Waiting},
    flow::Flow,
};

/// Tasks in hand that wait for the call of an equal one. They cost memory alone; beyond this they wait in the queue.
const MAX_ASIDE: usize = 4_096;

/// One in so many of the answers that may be awaited at once may wait for their commit besides, where they were paid for.
const PAID_SHARE: usize = 8;
/// One in so many of the tasks that run may be in hand besides, ready to run, at most. How many are follows from how many
/// places come free while a task is made ready: hardly one where answers take seconds.
const READY_SHARE: usize = 8;
/// A task in hand that has no place so soon goes back to the queue: another replica may have one. It was marked as sent no
/// longer ago, within the shortest lease.
const SOON: Duration = Duration::from_millis(500);

/// The room of one process.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Places>);

#[derive(Debug)]
struct Places {
    /// Tasks in hand, those that run and those that are made ready.
    taken: Arc<Semaphore>,
    /// Those of them that run.
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
        // The reserve is acquired only to see that it is free, and given back.
        let all = u32::try_from(reserve + self.expected() + 1).ok()?;
        let mut places = self.0.taken.clone().acquire_many_owned(all).await.ok()?;
        drop(places.split(reserve));
        Some(Free {
            places,
            asked_at: self.0.flow.mark(),
            room: self.clone(),
        })
    }

    /// How many places will come free while a task is made ready.
    fn expected(&self) -> usize {
        self.0.flow.expected().min(self.0.spare / 2)
    }

    /// How many places are left free for now. Twice as many tasks are made ready as are expected to find a place meanwhile;
    /// when half of them are left, as many again are asked for: one by one each would cost a call to the store.
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
    /// Where the flow stood when the tasks were asked for.
    asked_at: usize,
    room: Room,
}

impl Free {
    /// Takes what else is free now, or gives back what is too much, so that there are up to so many, and at least one.
    /// They are asked for next.
    pub(super) fn fit(&mut self, most: usize) {
        self.asked_at = self.room.0.flow.mark();
        let over = self.len().saturating_sub(most.max(1));
        drop(self.places.split(over));
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
            freed: self.room.0.flow.since(self.asked_at),
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
        let running = room.running.clone();
        // Without a wait where it can be: whoever waits uses up some of what its task of the runtime may do at a time.
        let permit = match running.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            // The room is never closed.
            Err(_) => running.acquire_owned().await.ok(),
        };
        self.run = permit.map(|permit| Run {
            _permit: permit,
            flow: room.flow.clone(),
        });
    }

    /// The same, for a task that has been made ready: false when it has to wait so long that it is better off in the
    /// queue.
    pub(super) async fn run_soon(&mut self) -> bool {
        if self.run.is_some() {
            return true;
        }
        let began = Instant::now();
        let is_in_time = timeout(SOON, self.run()).await.is_ok();
        // A process that was stopped meanwhile may find a place, and have lost the lease.
        if !is_in_time || began.elapsed() >= SOON {
            self.run = None;
            self.room.0.flow.learn(0);
            return false;
        }
        self.room.0.flow.learn(self.freed);
        true
    }

    /// Does what makes the task ready; how many places come free meanwhile is counted.
    pub(super) async fn ready<T>(&mut self, act: impl Future<Output = T>) -> T {
        let before = self.room.0.flow.mark();
        let done = act.await;
        self.freed += self.room.0.flow.since(before);
        done
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
            // Not before: the pool holds places while it waits for those that wait to begin.
            self.waiting = Some(self.room.0.appetite.take());
        }
    }
}

#[cfg(test)]
mod tests;
