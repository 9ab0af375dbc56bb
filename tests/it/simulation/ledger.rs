//! What really happened in a run, as somebody sees it who sees everything: the faults, who held what until when, what
//! ran, and what anybody was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tidings::{
    clock::{Clock, Timestamp},
    model::{BatchId, Cause, Status, Task, TaskId, WorkerId},
    store::{Commit, Verdict},
};

use super::{
    clock::since_start,
    plan::{Job, LEASE},
};

/// A ledger and the clock it is kept by.
#[derive(Debug)]
pub(super) struct Ledger {
    clock: Arc<dyn Clock>,
    is_traced: bool,
    book: Mutex<Book>,
}

/// Its entries. All times are milliseconds since the start.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) trace: Vec<String>,
    /// What must not happen, seen as it happened.
    pub(super) faults: Vec<String>,
    pub(super) links: BTreeMap<usize, Line>,
    pub(super) workers: BTreeMap<WorkerId, usize>,
    /// When the lease of each task ends, as the store granted it.
    pub(super) leases: BTreeMap<TaskId, Timestamp>,
    pub(super) starts: BTreeMap<TaskId, Vec<(u32, WorkerId)>>,
    /// Attempts whose function asked to be tried again.
    pub(super) failed: BTreeSet<(TaskId, u32)>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) cancels: BTreeMap<TaskId, Vec<Cancelled>>,
    pub(super) cancel_asked: BTreeSet<TaskId>,
    /// What anybody was told a task was at an epoch and a revision.
    pub(super) told: BTreeMap<(TaskId, u64, u64), (Status, u32)>,
    /// When the store wrote a revision.
    pub(super) written: BTreeMap<(TaskId, u64), u64>,
    /// When a snapshot was taken and when it was restored.
    pub(super) lost: Vec<(u64, u64)>,
}

/// A replica's line to the store.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) from: u64,
    pub(super) dead: Option<u64>,
    pub(super) drained: Option<u64>,
    /// What may cost its worker a lease.
    pub(super) troubles: Vec<(u64, u64)>,
    /// When anything last kept it from being prompt.
    pub(super) unrest: u64,
}

/// A batch that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) batch: BatchId,
    pub(super) tasks: Vec<(TaskId, Job)>,
    /// When the call that was answered had begun, and when it was.
    pub(super) asked: u64,
    pub(super) answered: u64,
}

/// What a canceller was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancelled {
    pub(super) status: Status,
    pub(super) asked: u64,
}

impl Ledger {
    pub(super) fn new(clock: Arc<dyn Clock>, is_traced: bool) -> Self {
        Ledger {
            clock,
            is_traced,
            book: Mutex::default(),
        }
    }

    /// Milliseconds since the start.
    pub(super) fn now(&self) -> u64 {
        since_start(self.clock.now())
    }

    /// Reads or writes the book.
    pub(super) fn book<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        act(&mut self.book.lock())
    }

    /// Adds a line to the trace, if there is to be one.
    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>6} {}", self.now(), line());
            self.book.lock().trace.push(line);
        }
    }

    /// Something that must not happen.
    pub(super) fn fault(&self, fault: String) {
        self.trace(|| format!("FAULT {fault}"));
        let now = self.now();
        self.book
            .lock()
            .faults
            .push(format!("at {now} ms: {fault}"));
    }

    /// A line did not do as asked, from then until now.
    pub(super) fn trouble(&self, link: usize, from: u64) {
        let now = self.now();
        self.book(|book| book.line(link).troubles.push((from, now)));
        self.unrest(link);
    }

    /// A line was slow, if no worse.
    pub(super) fn unrest(&self, link: usize) {
        let now = self.now();
        self.book(|book| book.line(link).unrest = now);
    }

    /// The store gave tasks to a worker.
    pub(super) fn acquired(&self, link: usize, worker: WorkerId, tasks: &[Task], lease: Duration) {
        let end = self.clock.now() + lease;
        let now = self.now();
        self.book(|book| {
            book.workers.insert(worker, link);
            let written = tasks.iter().map(|task| ((task.id, task.revision()), now));
            book.written.extend(written);
            book.leases.extend(tasks.iter().map(|task| (task.id, end)));
        });
    }

    /// The store kept a lease.
    pub(super) fn renewed(&self, task: TaskId, lease: Duration) {
        let end = self.clock.now() + lease;
        self.book(|book| book.leases.insert(task, end));
    }

    /// The store wrote, or did not. Whoever is declared lost must have been silent for the whole of a lease.
    pub(super) fn committed(&self, commits: &[Commit], verdicts: &[Verdict]) {
        let now = self.clock.now();
        for (commit, _) in commits
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Applied)
        {
            let (id, last) = (commit.task.id, commit.task.last());
            let is_first = commit.task.history.len() as u64 == commit.fence.revision + 1;
            let key = (id, commit.task.revision());
            self.book(|book| *book.written.entry(key).or_insert(since_start(now)));
            if !matches!(last.cause, Cause::LeaseExpired | Cause::Poisoned) || !is_first {
                continue;
            }
            let lease = self.book(|book| book.leases.remove(&id));
            if let Some(end) = lease.filter(|end| *end > now) {
                let left = end.since(now);
                self.fault(format!(
                    "task {} was taken from its worker {left:?} before the lease ended",
                    short(&id)
                ));
            }
        }
    }

    /// Somebody was told what a task was.
    pub(super) fn told(&self, who: &str, task: TaskId, at: (u64, u64), what: (Status, u32)) {
        let before = self.book(|book| *book.told.entry((task, at.0, at.1)).or_insert(what));
        if before != what {
            self.fault(format!(
                "{who} was told that task {} is {what:?} at epoch {} revision {}, which was {before:?}",
                short(&task),
                at.0,
                at.1
            ));
        }
    }
}

impl Book {
    pub(super) fn line(&mut self, link: usize) -> &mut Line {
        self.links.entry(link).or_default()
    }

    /// Whether what happened in this span may have been undone.
    pub(super) fn may_be_lost(&self, asked: u64, answered: u64) -> bool {
        let is_in = |(taken, restored): &(u64, u64)| answered >= *taken && asked <= *restored;
        self.lost.iter().any(is_in)
    }
}

impl Line {
    /// Whether its worker had a reason to lose a lease in this span.
    pub(super) fn had_trouble(&self, from: u64, to: u64) -> bool {
        let is_dead = self.dead.is_some_and(|dead| dead <= to);
        is_dead
            || self
                .troubles
                .iter()
                .any(|(start, end)| *start <= to && *end >= from)
    }

    /// Whether its reaper was there and could do its work all the time from a lease's grace before `from` until `to`.
    pub(super) fn was_well(&self, from: u64, to: u64) -> bool {
        let grace = 3 * u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        self.from <= from && !self.had_trouble(from.saturating_sub(grace), to)
    }
}

/// The part of an id that differs within a run.
pub(super) fn short(id: &impl ToString) -> String {
    id.to_string().split_off(28)
}
