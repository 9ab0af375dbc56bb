//! Which of the tasks that are ready starts next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidings::{
    model::{BatchId, Priority, Task, TaskId},
    store::{AGING_INTERVAL, LAST_TURN},
};

/// The tasks that are ready, and whose turn it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// A task that can never start stays until a turn comes to it.
    lines: BTreeMap<Line, VecDeque<TaskId>>,
    /// The batches whose line is not empty and that are not parked; the first has the next turn.
    turns: BTreeMap<Priority, VecDeque<BatchId>>,
    /// Held back, or short of budget.
    parked: BTreeSet<BatchId>,
    starts: u64,
}

type Line = (Priority, BatchId);

/// Where a task that has become ready goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// Behind the others of its batch.
    Tail,
    /// Before them: it had to wait for its time.
    Due,
    /// Before them, and its batch, if it had nothing ready, before other batches: it was given back.
    Head,
}

/// A task that has become ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comer {
    pub(super) id: TaskId,
    line: Line,
    seat: Seat,
}

impl Comer {
    /// A task that goes behind the others of its batch.
    pub(super) fn new(task: &Task) -> Self {
        Comer {
            id: task.id,
            line: (task.spec.priority, task.batch_id),
            seat: Seat::Tail,
        }
    }

    /// A task whose time has come.
    pub(super) fn due(task: &Task) -> Self {
        Comer {
            seat: Seat::Due,
            ..Comer::new(task)
        }
    }

    /// A task that goes before the others of its batch.
    pub(super) fn given_back(task: &Task) -> Self {
        Comer {
            seat: Seat::Head,
            ..Comer::new(task)
        }
    }
}

impl Queue {
    /// Lets tasks join that became ready together. A batch that had nothing ready joins as the first of its tasks does.
    pub(super) fn join(&mut self, comers: &[Comer]) {
        let mut joining: Vec<Comer> = Vec::new();
        for comer in comers {
            let is_named = joining.iter().any(|it| it.line == comer.line);
            if !is_named && self.line(comer.line).is_empty() {
                joining.push(*comer);
            }
        }
        let (heads, tails): (Vec<Comer>, Vec<Comer>) =
            comers.iter().partition(|it| it.seat != Seat::Tail);
        tails
            .iter()
            .for_each(|it| self.line(it.line).push_back(it.id));
        heads
            .iter()
            .rev()
            .for_each(|it| self.line(it.line).push_front(it.id));
        joining.retain(|it| !self.parked.contains(&it.line.1));
        let (heads, tails): (Vec<Comer>, Vec<Comer>) =
            joining.iter().partition(|it| it.seat == Seat::Head);
        for Comer { line, .. } in tails {
            self.turns(line.0).push_back(line.1);
        }
        for Comer { line, .. } in heads.into_iter().rev() {
            self.turns(line.0).push_front(line.1);
        }
    }

    /// Takes the task that is to start next, of those that `can_start`. `queued`: how many tasks of a batch are queued.
    /// Answers also those that would start if they `can_pay`; their batches take no turns any more.
    pub(super) fn take(
        &mut self,
        can_start: impl Fn(&TaskId) -> bool,
        can_pay: impl Fn(&TaskId) -> bool,
        queued: impl Fn(&BatchId) -> u64,
    ) -> (Option<TaskId>, Vec<TaskId>) {
        let mut short = Vec::new();
        let mut order = Priority::URGENT_FIRST;
        if (self.starts + 1).is_multiple_of(AGING_INTERVAL) {
            order.reverse();
        }
        for priority in order {
            while let Some(batch) = self.turns(priority).pop_front() {
                let goes_on = queued(&batch) <= LAST_TURN;
                let line = self.line((priority, batch));
                let taken = std::iter::from_fn(|| line.pop_front()).find(|id| can_start(id));
                if let Some(id) = taken.filter(|id| !can_pay(id)) {
                    line.push_front(id);
                    short.push(id);
                    self.park(batch);
                    continue;
                }
                let is_over = line.is_empty();
                match goes_on {
                    _ if is_over => {}
                    true => self.turns(priority).push_front(batch),
                    false => self.turns(priority).push_back(batch),
                }
                if taken.is_some() {
                    self.starts += 1;
                    return (taken, short);
                }
            }
        }
        (None, short)
    }

    /// Whether something may start.
    pub(super) fn has_next(&self) -> bool {
        self.turns.values().any(|turns| !turns.is_empty())
    }

    /// Holds a batch back.
    pub(super) fn park(&mut self, batch: BatchId) {
        self.parked.insert(batch);
        for turns in self.turns.values_mut() {
            turns.retain(|id| *id != batch);
        }
    }

    /// Has a batch that was held back take turns behind the others.
    pub(super) fn go_on(&mut self, batch: BatchId) {
        self.parked.remove(&batch);
        for priority in Priority::URGENT_FIRST {
            if !self.line((priority, batch)).is_empty() {
                self.turns(priority).push_back(batch);
            }
        }
    }

    /// Gives a batch that was held back the next turn.
    pub(super) fn resume(&mut self, batch: BatchId) {
        if !self.parked.remove(&batch) {
            return;
        }
        for priority in Priority::URGENT_FIRST {
            if !self.line((priority, batch)).is_empty() {
                self.turns(priority).push_front(batch);
            }
        }
    }

    fn line(&mut self, line: Line) -> &mut VecDeque<TaskId> {
        self.lines.entry(line).or_default()
    }

    fn turns(&mut self, priority: Priority) -> &mut VecDeque<BatchId> {
        self.turns.entry(priority).or_default()
    }
}
