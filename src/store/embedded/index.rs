//! What the writer remembers of every live task: where it stands, in which queue, and until when. Pure.
//!
//! Queues are maps from a position to an id, so that a task anywhere in a queue can be taken out at once and
//! every count is exact. Positions grow at the tail and shrink at the head, over all queues together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    clock::Timestamp,
    model::{BatchId, Fence, Priority, Status, TaskId},
    store::{AGING_INTERVAL, Load, Stats},
};

/// One live task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) fence: Fence,
    pub(super) batch: BatchId,
    pub(super) priority: Priority,
    pub(super) due: Timestamp,
    pub(super) deadline: Timestamp,
    weight: u64,
    place: Place,
}

/// Where a live task is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// In its priority's queue, at this position.
    Ready(i64),
    /// Waiting for `due`.
    Delayed,
    /// In its batch's parked list, at this position.
    Parked(i64),
    /// Held by a worker whose lease ends then.
    Processing(Timestamp),
    /// In no queue: its deadline has passed, or its record cannot be read.
    Aside,
}

/// Where a task comes back to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seat {
    /// Behind all others.
    Tail,
    /// At a position from [`Index::reserve_head`].
    At(i64),
}

/// All live tasks.
#[derive(Debug, Default)]
pub(super) struct Index {
    live: HashMap<TaskId, Live>,
    /// By `Priority as usize - 1`.
    ready: [BTreeMap<i64, TaskId>; 3],
    delayed: BTreeSet<(Timestamp, TaskId)>,
    /// An entry, even an empty one, means that the batch is parked.
    parked: HashMap<BatchId, BTreeMap<i64, TaskId>>,
    parked_count: u64,
    processing: u64,
    /// The weight of all live tasks.
    bytes: u64,
    /// The next instant that ends something for each live task: its lease or its deadline.
    timers: BTreeSet<(Timestamp, TaskId)>,
    head: i64,
    tail: i64,
    starts: u64,
}

impl Live {
    /// A queued task, not yet in any queue.
    pub(super) fn new(
        fence: Fence,
        batch: BatchId,
        priority: Priority,
        due: Timestamp,
        deadline: Timestamp,
        weight: u64,
    ) -> Live {
        Live {
            fence,
            batch,
            priority,
            due,
            deadline,
            weight,
            place: Place::Aside,
        }
    }

    /// The task after a transition back to the queue, not yet in any.
    pub(super) fn moved(self, fence: Fence, due: Timestamp) -> Live {
        Live {
            fence,
            due,
            place: Place::Aside,
            ..self
        }
    }

    /// Where the task stands.
    pub(super) fn status(&self) -> Status {
        match self.place {
            Place::Processing(_) => Status::Processing,
            _ => Status::Queued,
        }
    }

    /// When the lease of a processing task ends.
    pub(super) fn lease(&self) -> Option<Timestamp> {
        match self.place {
            Place::Processing(lease) => Some(lease),
            _ => None,
        }
    }

    fn timer(&self) -> Timestamp {
        self.lease()
            .map_or(self.deadline, |lease| lease.min(self.deadline))
    }
}

impl Index {
    /// The live task of this id.
    pub(super) fn get(&self, id: TaskId) -> Option<Live> {
        self.live.get(&id).copied()
    }

    /// Puts a queued task, new or come back, where it belongs.
    pub(super) fn queue(&mut self, id: TaskId, mut live: Live, seat: Seat, now: Timestamp) {
        self.remove(id);
        live.place = self.place(id, &live, seat, now);
        self.insert(id, live);
    }

    /// Puts a task into a worker's hands until `lease`.
    pub(super) fn hold(&mut self, id: TaskId, fence: Fence, lease: Timestamp) {
        let Some(mut live) = self.remove(id) else {
            return;
        };
        live.fence = fence;
        live.place = Place::Processing(lease);
        self.processing += 1;
        self.insert(id, live);
    }

    fn insert(&mut self, id: TaskId, live: Live) {
        self.timers.insert((live.timer(), id));
        self.bytes += live.weight;
        self.live.insert(id, live);
    }

    /// Forgets a task.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Live> {
        let live = self.live.remove(&id)?;
        self.timers.remove(&(live.timer(), id));
        self.bytes -= live.weight;
        self.unplace(id, &live);
        Some(live)
    }

    /// `count` positions before every other; the first to be handed out is the one returned.
    pub(super) fn reserve_head(&mut self, count: usize) -> i64 {
        self.head -= i64::try_from(count).unwrap_or(i64::MAX);
        self.head
    }

    /// Takes the next task to start out of its queue; it must be held or queued again at once.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<TaskId> {
        loop {
            let aged = (self.starts + 1).is_multiple_of(AGING_INTERVAL);
            let queues = &mut self.ready;
            let (_, id) = if aged {
                queues.iter_mut().find_map(BTreeMap::pop_first)?
            } else {
                queues.iter_mut().rev().find_map(BTreeMap::pop_first)?
            };
            let Some(live) = self.live.get_mut(&id) else {
                continue;
            };
            live.place = Place::Aside;
            if live.deadline > now {
                self.starts += 1;
                return Some(id);
            }
        }
    }

    /// Moves delayed tasks that have become due to the tails of their queues.
    pub(super) fn promote(&mut self, now: Timestamp) {
        while let Some(&(due, id)) = self.delayed.first() {
            if due > now {
                break;
            }
            self.delayed.pop_first();
            let position = self.next_tail();
            if let Some(live) = self.live.get_mut(&id) {
                live.place = Place::Ready(position);
                self.ready[live.priority as usize - 1].insert(position, id);
            }
        }
    }

    /// Whether something could start at once.
    pub(super) fn has_ready(&self) -> bool {
        self.ready.iter().any(|queue| !queue.is_empty())
    }

    /// When the next delayed task becomes due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Up to `max` tasks whose lease or deadline has passed, the longest past first.
    pub(super) fn overdue(&self, now: Timestamp, max: usize) -> Vec<TaskId> {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now);
        due.take(max).map(|(_, id)| *id).collect()
    }

    /// Holds a batch's queued tasks back.
    ///
    /// Looks at every live task: somebody has to mend the cause before the batch goes on, so it happens rarely,
    /// and a list of tasks per batch would cost memory for every task all the time.
    pub(super) fn park(&mut self, batch: BatchId) {
        if self.parked.contains_key(&batch) {
            return;
        }
        self.parked.insert(batch, BTreeMap::new());
        let mut waiting: Vec<(i64, Timestamp, TaskId)> = Vec::new();
        for (id, live) in &self.live {
            match live.place {
                Place::Ready(position) if live.batch == batch => {
                    waiting.push((position, live.due, *id));
                }
                Place::Delayed if live.batch == batch => waiting.push((i64::MAX, live.due, *id)),
                _ => {}
            }
        }
        waiting.sort_unstable();
        for (position, _, id) in waiting {
            if let Some(live) = self.live.get(&id).copied() {
                self.unplace(id, &live);
                let seat = match position {
                    i64::MAX => Seat::Tail,
                    position => Seat::At(position),
                };
                self.put_parked(id, &live, seat);
            }
        }
    }

    /// Puts a parked batch's tasks back: at the head in their order, or to wait when they are not due.
    pub(super) fn resume(&mut self, batch: BatchId, now: Timestamp) {
        let Some(waiting) = self.parked.remove(&batch) else {
            return;
        };
        self.parked_count -= waiting.len() as u64;
        let first = self.reserve_head(waiting.len());
        for (seat, id) in (first..).zip(waiting.into_values()) {
            if let Some(live) = self.live.get(&id).copied() {
                let place = self.place(id, &live, Seat::At(seat), now);
                if let Some(live) = self.live.get_mut(&id) {
                    live.place = place;
                }
            }
        }
    }

    /// How many tasks stand where.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            ready: self.ready.iter().map(|queue| queue.len() as u64).sum(),
            delayed: self.delayed.len() as u64,
            parked: self.parked_count,
            processing: self.processing,
            bytes: self.bytes,
        }
    }

    /// All that is live.
    pub(super) fn load(&self) -> Load {
        Load {
            tasks: self.live.len() as u64,
            bytes: self.bytes,
        }
    }

    fn next_tail(&mut self) -> i64 {
        self.tail += 1;
        self.tail
    }

    fn seat(&mut self, seat: Seat) -> i64 {
        match seat {
            Seat::Tail => self.next_tail(),
            Seat::At(position) => position,
        }
    }

    fn place(&mut self, id: TaskId, live: &Live, seat: Seat, now: Timestamp) -> Place {
        if self.parked.contains_key(&live.batch) {
            let position = self.seat(seat);
            return self.enter_parked(id, live.batch, position);
        }
        if live.due > now {
            self.delayed.insert((live.due, id));
            return Place::Delayed;
        }
        let position = self.seat(seat);
        self.ready[live.priority as usize - 1].insert(position, id);
        Place::Ready(position)
    }

    fn put_parked(&mut self, id: TaskId, live: &Live, seat: Seat) {
        let position = self.seat(seat);
        let place = self.enter_parked(id, live.batch, position);
        if let Some(live) = self.live.get_mut(&id) {
            live.place = place;
        }
    }

    fn enter_parked(&mut self, id: TaskId, batch: BatchId, position: i64) -> Place {
        self.parked.entry(batch).or_default().insert(position, id);
        self.parked_count += 1;
        Place::Parked(position)
    }

    fn unplace(&mut self, id: TaskId, live: &Live) {
        match live.place {
            Place::Ready(position) => {
                self.ready[live.priority as usize - 1].remove(&position);
            }
            Place::Delayed => {
                self.delayed.remove(&(live.due, id));
            }
            Place::Parked(position) => {
                if let Some(list) = self.parked.get_mut(&live.batch) {
                    list.remove(&position);
                }
                self.parked_count -= 1;
            }
            Place::Processing(_) => self.processing -= 1,
            Place::Aside => {}
        }
    }
}

#[cfg(test)]
mod tests;
