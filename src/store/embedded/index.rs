//! What the writer remembers of every live task: where it stands, in which queue, and until when. Pure.
//!
//! Every batch has a line of its own; at each priority, the batches with a line take turns. Positions in rows grow at the
//! tail and shrink at the head, over all rows together.

mod line;
mod live;

use std::collections::BTreeSet;

use line::{Line, Row};
use live::Place;

use super::{Map, Set};
use crate::{
    clock::Timestamp,
    model::{BatchId, Fence, Priority, TaskId},
    store::{AGING_INTERVAL, LAST_TURN, Load, Stats},
};

pub(super) use live::{Live, Seat};

/// All live tasks.
#[derive(Debug, Default)]
pub(super) struct Index {
    live: Map<TaskId, Live>,
    /// Of every batch of which something is queued.
    lines: Map<BatchId, Line>,
    /// The batches with a row of this priority that are not parked, by `Priority as usize - 1`. The first has the next turn.
    turns: [Row<BatchId>; 3],
    delayed: BTreeSet<(Timestamp, TaskId)>,
    parked: Set<BatchId>,
    /// Batches whose next task does not fit into their budgets for now.
    short: Set<BatchId>,
    /// Those of parked batches too.
    ready: u64,
    processing: u64,
    /// The weight of all live tasks.
    bytes: u64,
    /// The next instant that ends something for each live task: its lease or its deadline.
    timers: BTreeSet<(Timestamp, TaskId)>,
    head: i64,
    tail: i64,
    starts: u64,
}

impl Index {
    /// The live task of this id.
    pub(super) fn get(&self, id: TaskId) -> Option<Live> {
        self.live.get(&id).copied()
    }

    /// Puts a queued task, new or come back, where it belongs.
    pub(super) fn queue(&mut self, id: TaskId, mut live: Live, seat: Seat, now: Timestamp) {
        self.remove(id);
        if live.due > now {
            live.place = Place::Delayed;
            self.delayed.insert((live.due, id));
            self.line(live.batch).delayed += 1;
        } else {
            live.place = Place::Ready;
            self.line_up(id, live.batch, live.priority, seat);
        }
        self.insert(id, live);
    }

    /// Puts a task that is here already into a worker's hands until `lease`. Answers how it was before.
    pub(super) fn hold(&mut self, id: TaskId, fence: Fence, lease: Timestamp) -> Option<Live> {
        let live = self.live.get_mut(&id)?;
        let before = *live;
        live.fence = fence;
        live.place = Place::Processing(lease);
        let timer = live.timer();
        if timer != before.timer() {
            self.timers.remove(&(before.timer(), id));
            self.timers.insert((timer, id));
        }
        self.unplace(id, &before);
        self.processing += 1;
        Some(before)
    }

    /// Adds a task that is in a worker's hands until `lease`.
    pub(super) fn add_held(&mut self, id: TaskId, live: Live, lease: Timestamp) {
        let place = Place::Processing(lease);
        self.processing += 1;
        self.insert(id, Live { place, ..live });
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

    /// Takes the next task to start out of its line; it must be held or queued again at once. A batch that cannot
    /// `afford` its next one takes no turns from then on.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        afford: &mut dyn FnMut(BatchId, u64) -> bool,
    ) -> Option<TaskId> {
        let mut priorities = [2, 1, 0];
        if (self.starts + 1).is_multiple_of(AGING_INTERVAL) {
            priorities.reverse();
        }
        let taken = priorities
            .into_iter()
            .find_map(|it| self.take_turn(it, now, afford));
        self.starts += u64::from(taken.is_some());
        taken
    }

    /// The next task of the batch whose turn it is. A batch of which nothing is left leaves without a turn.
    fn take_turn(
        &mut self,
        priority: usize,
        now: Timestamp,
        afford: &mut dyn FnMut(BatchId, u64) -> bool,
    ) -> Option<TaskId> {
        while let Some(batch) = self.turns[priority].first() {
            let goes_on = self.line(batch).queued() <= LAST_TURN;
            let taken = match self.take_from(batch, priority, now, afford) {
                Taken::Task(id) => Some(id),
                Taken::Nothing => None,
                Taken::Short => {
                    self.hold_short(batch);
                    continue;
                }
            };
            let is_over = self.line(batch).rows[priority].is_empty();
            if is_over || !goes_on {
                self.turns[priority].pop();
            }
            if !is_over && !goes_on {
                let position = self.next_tail();
                self.turns[priority].insert(position, batch);
            }
            self.tidy(batch);
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// The first task in a row that can start. What cannot is passed over for good.
    fn take_from(
        &mut self,
        batch: BatchId,
        priority: usize,
        now: Timestamp,
        afford: &mut dyn FnMut(BatchId, u64) -> bool,
    ) -> Taken {
        let Some(line) = self.lines.get_mut(&batch) else {
            return Taken::Nothing;
        };
        while let Some(id) = line.rows[priority].first() {
            let live = self.live.get_mut(&id).filter(|it| it.place == Place::Ready);
            let Some(live) = live else {
                line.rows[priority].pop();
                continue;
            };
            if live.deadline > now && !afford(batch, live.cost) {
                return Taken::Short;
            }
            line.rows[priority].pop();
            live.place = Place::Aside;
            line.ready -= 1;
            line.aside += 1;
            self.ready -= 1;
            if live.deadline > now {
                return Taken::Task(id);
            }
        }
        Taken::Nothing
    }

    /// Moves delayed tasks that have become due to the heads of their lines, in the order in which they did.
    pub(super) fn promote(&mut self, now: Timestamp) {
        let mut due = Vec::new();
        while let Some(&(at, id)) = self.delayed.first()
            && at <= now
        {
            self.delayed.pop_first();
            due.push(id);
        }
        let head = self.reserve_head(due.len());
        for (position, id) in (head..).zip(due) {
            let Some(live) = self.live.get_mut(&id) else {
                continue;
            };
            live.place = Place::Ready;
            let (batch, priority) = (live.batch, live.priority);
            self.line(batch).delayed -= 1;
            self.line_up(id, batch, priority, Seat::Due(position));
        }
    }

    /// Whether something could start at once.
    pub(super) fn has_ready(&self) -> bool {
        self.turns.iter().any(|turns| !turns.is_empty())
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
    pub(super) fn park(&mut self, batch: BatchId) {
        if !self.parked.insert(batch) {
            return;
        }
        for priority in self.rows_of(batch) {
            self.turns[priority].remove(batch);
        }
    }

    /// Keeps a batch from taking turns until there is room in its budget.
    pub(super) fn hold_short(&mut self, batch: BatchId) {
        self.short.insert(batch);
        for priority in self.rows_of(batch) {
            self.turns[priority].remove(batch);
        }
    }

    /// There may be room in a batch's budget again: it joins behind the others, unless it is parked.
    pub(super) fn let_go_on(&mut self, batch: BatchId) {
        if !self.short.remove(&batch) || self.parked.contains(&batch) {
            return;
        }
        let position = self.next_tail();
        for priority in self.rows_of(batch) {
            self.turns[priority].insert(position, batch);
        }
    }

    /// Lets a parked batch, or one short of budget, go on: the next turn is its.
    pub(super) fn resume(&mut self, batch: BatchId) {
        let was_short = self.short.remove(&batch);
        if !self.parked.remove(&batch) && !was_short {
            return;
        }
        let first = self.reserve_head(1);
        for priority in self.rows_of(batch) {
            self.turns[priority].insert(first, batch);
        }
    }

    /// Forgets a batch that has been removed.
    pub(super) fn forget(&mut self, batch: BatchId) {
        if self.parked.remove(&batch) | self.short.remove(&batch) {
            self.lines.remove(&batch);
        }
    }

    /// How many tasks stand where.
    pub(super) fn stats(&self) -> Stats {
        let lines = self.parked.iter().filter_map(|id| self.lines.get(id));
        let (ready, delayed) = lines.fold((0, 0), |(ready, delayed), line| {
            let more = (u64::from(line.ready), u64::from(line.delayed));
            (ready + more.0, delayed + more.1)
        });
        Stats {
            ready: self.ready - ready,
            delayed: self.delayed.len() as u64 - delayed,
            parked: ready + delayed,
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

    fn line(&mut self, batch: BatchId) -> &mut Line {
        self.lines.entry(batch).or_default()
    }

    /// The priorities at which a batch has a row.
    fn rows_of(&self, batch: BatchId) -> impl Iterator<Item = usize> + use<> {
        let rows = self.lines.get(&batch).map(|line| &line.rows);
        let has_row = |priority: usize| rows.is_some_and(|rows| !rows[priority].is_empty());
        [0, 1, 2]
            .map(|it| has_row(it).then_some(it))
            .into_iter()
            .flatten()
    }

    fn line_up(&mut self, id: TaskId, batch: BatchId, priority: Priority, seat: Seat) {
        let (position, turn) = match seat {
            Seat::Tail => {
                let tail = self.next_tail();
                (tail, tail)
            }
            Seat::At(position) => (position, position),
            Seat::Due(position) => (position, self.next_tail()),
        };
        let priority = priority as usize - 1;
        let line = self.lines.entry(batch).or_default();
        let row = &mut line.rows[priority];
        let waits = self.parked.contains(&batch) || self.short.contains(&batch);
        let joins = row.is_empty() && !waits;
        row.insert(position, id);
        line.ready += 1;
        self.ready += 1;
        if joins {
            self.turns[priority].insert(turn, batch);
        }
    }

    fn unplace(&mut self, id: TaskId, live: &Live) {
        if let Place::Processing(_) = live.place {
            self.processing -= 1;
            return;
        }
        let line = self.lines.entry(live.batch).or_default();
        match live.place {
            Place::Delayed => {
                self.delayed.remove(&(live.due, id));
                line.delayed -= 1;
            }
            Place::Ready => {
                line.ready -= 1;
                self.ready -= 1;
            }
            _ => line.aside -= 1,
        }
        self.tidy(live.batch);
    }

    /// Removes a line of which nothing is left.
    fn tidy(&mut self, batch: BatchId) {
        if self.lines.get(&batch).is_some_and(Line::is_idle) {
            self.lines.remove(&batch);
        }
    }
}

/// What a batch's turn came to.
enum Taken {
    /// A task that starts.
    Task(TaskId),
    /// Nothing was left.
    Nothing,
    /// The next task does not fit into the batch's budget.
    Short,
}

#[cfg(test)]
mod tests;
