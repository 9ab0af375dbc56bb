//! What the model keeps, and the steps on it. An instant is reached when the clock shows it or more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tidings::{
    clock::Timestamp,
    model::{
        Batch, BatchId, Bill, CacheKey, Cause, Event, Funds, Status, Task, TaskId, WorkerId,
        funds::out_of_budget,
    },
    store::{
        Accepted, Amendment, Append, Bid, Capacity, Commit, Cursor, Durability, Error, Extension,
        Guard, IDEMPOTENCY_WINDOW, Lead, Load, Lookup, Moved, Note, OUTPUT_MAX, Over, Renewal,
        Submission, TOMBSTONE_RETENTION, Verdict,
    },
};

use super::{
    Kept,
    queue::{Comer, Queue},
};

/// Everything, and what has not been announced yet.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    capacity: Capacity,
    pub(super) epoch: u32,
    pub(super) tasks: BTreeMap<TaskId, Kept>,
    pub(super) batches: BTreeMap<BatchId, Group>,
    pub(super) delayed: BTreeSet<(Timestamp, TaskId)>,
    pub(super) moved: Vec<Moved>,
    pub(super) noted: Vec<Note>,
    pub(super) amended: Vec<BatchId>,
    /// Batches of which the present call has written something, in order.
    touched: Vec<BatchId>,
    /// Of running attempts: the revision they began with, and the text.
    pub(super) outputs: BTreeMap<TaskId, (u64, String)>,
    /// Tasks that are due.
    pub(super) queue: Queue,
    keys: BTreeMap<String, Used>,
    /// Who leads for a key, and until when that is remembered.
    leads: BTreeMap<CacheKey, (Lead, Timestamp)>,
}

/// A batch, its tasks in order of submission, and its log.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) batch: Batch,
    pub(super) log: Vec<Moved>,
    members: Vec<TaskId>,
    /// When the last of its tasks is to be removed, as far as they are finished.
    last_expiry: Timestamp,
}

/// What an idempotency key answers, and until when.
#[derive(Clone, Debug)]
struct Used {
    hash: [u8; 32],
    accepted: Accepted,
    until: Timestamp,
}

impl State {
    /// Nothing, in this epoch, and room for so much.
    pub(super) fn new(epoch: u32, capacity: Capacity) -> Self {
        State {
            capacity,
            epoch,
            ..State::default()
        }
    }

    /// Accepts tasks, or answers what the key first made.
    pub(super) fn submit(
        &mut self,
        submission: Submission,
        now: Timestamp,
    ) -> Result<Accepted, Error> {
        let Submission { batch_id, ids, .. } = submission;
        let accepted = Accepted {
            batch_id,
            ids,
            durability: Durability::Memory,
        };
        if let Some(wanted) = &submission.idempotency {
            match self.keys.get(&wanted.key).filter(|used| used.until > now) {
                Some(used) if used.hash == wanted.hash => return Ok(used.accepted),
                Some(_) => return Err(Error::KeyReused),
                None => {}
            }
        }
        // The same call again, after a reply that was lost.
        if self.tasks.contains_key(&ids.first) {
            return Ok(accepted);
        }
        self.find_room(&submission)?;
        self.open_for(&submission)?;
        if let Some(key) = submission.idempotency {
            let until = now + IDEMPOTENCY_WINDOW;
            let hash = key.hash;
            self.keys.insert(
                key.key,
                Used {
                    hash,
                    accepted,
                    until,
                },
            );
        }
        let mut comers = Vec::new();
        for (id, spec) in ids.iter().zip(submission.specs) {
            let task = Task::new(id, batch_id, Arc::clone(&spec), self.epoch);
            self.group(batch_id).members.push(id);
            self.wait(&task, now, &mut comers);
            self.record(None, task, now);
        }
        self.queue.join(&comers);
        Ok(accepted)
    }

    /// Refuses what would not be taken anyway, then what there is no room for.
    fn find_room(&self, submission: &Submission) -> Result<(), Error> {
        let id = submission.batch_id;
        let group = self.batches.get(&id);
        match submission.append {
            Append::New => {}
            Append::Open if group.is_some_and(|it| !it.batch.open) => {
                return Err(Error::BatchClosed(id));
            }
            _ if group.is_none() => return Err(Error::NoSuchBatch(id)),
            _ => {}
        }
        let more = Load::of(submission.specs.iter().map(AsRef::as_ref));
        self.capacity.check(1, self.load(), more)
    }

    /// What has not ended.
    pub(super) fn load(&self) -> Load {
        let tasks = self.tasks.values().map(|kept| &kept.task);
        let unfinished = tasks.filter(|task| !task.status().is_terminal());
        Load::of(unfinished.map(|task| task.spec.as_ref()))
    }

    /// Finds or makes the batch of a submission.
    fn open_for(&mut self, submission: &Submission) -> Result<(), Error> {
        let id = submission.batch_id;
        if submission.append == Append::New {
            let group = Group {
                batch: Batch {
                    funds: submission.budget.map(Funds::new),
                    ..Batch::new(id, submission.specs[0].create_time)
                },
                log: Vec::new(),
                members: Vec::new(),
                last_expiry: Timestamp::default(),
            };
            self.batches.insert(id, group);
        }
        let group = self.batches.get_mut(&id).ok_or(Error::NoSuchBatch(id))?;
        match submission.append {
            Append::Retry => return Ok(()),
            Append::Open if !submission.keep_open => self.amended.push(id),
            Append::Open | Append::New => {}
        }
        group.batch.open = submission.keep_open;
        Ok(())
    }

    /// Puts a queued task where it waits: apart until it is due, else behind the others.
    fn wait(&mut self, task: &Task, now: Timestamp, comers: &mut Vec<Comer>) {
        if task.due > now {
            self.delayed.insert((task.due, task.id));
        } else {
            comers.push(Comer::new(task));
        }
    }

    /// Writes a task that came to its present status from `from`, with counters, log and announcement.
    fn record(&mut self, from: Option<Status>, task: Task, lease_end: Timestamp) {
        let moved = Moved {
            task: task.id,
            batch: task.batch_id,
            revision: task.revision(),
            status: task.status(),
        };
        let before = self
            .tasks
            .get(&task.id)
            .map(|it| (it.task.sent, it.task.aside));
        let (was_sent, was_aside) = before.unwrap_or_default();
        let group = self.group(task.batch_id);
        group.batch.counts.shift(from, moved.status);
        if let Some(funds) = &mut group.batch.funds {
            let most = task.spec.max_cost();
            match (from, moved.status) {
                (_, Status::Processing) => funds.reserve(most),
                (Some(Status::Processing), _) => {
                    let reserved = if was_aside { 0 } else { most };
                    funds.settle(reserved, Bill::of(&task).cost(most, was_sent));
                }
                _ => {}
            }
        }
        if let Some(outcome) = &task.outcome {
            group.batch.usage.add(&outcome.usage);
        }
        if let (Some(end), Some(expiry)) = (task.end_time(), task.expire_time()) {
            group.batch.last_end_time = group.batch.last_end_time.max(Some(end));
            group.last_expiry = group.last_expiry.max(expiry);
        }
        group.log.push(moved);
        self.moved.push(moved);
        self.outputs.remove(&moved.task);
        self.tasks.insert(task.id, Kept { task, lease_end });
    }

    /// Moves tasks that have become due before those already waiting.
    pub(super) fn promote(&mut self, now: Timestamp) {
        let mut comers = Vec::new();
        while let Some((due, id)) = self.delayed.first().copied().filter(|(due, _)| *due <= now) {
            self.delayed.remove(&(due, id));
            comers.push(Comer::due(&self.tasks[&id].task));
        }
        self.queue.join(&comers);
    }

    /// Takes the task that is to start next out of its queue.
    pub(super) fn take_next(&mut self, now: Timestamp) -> Option<TaskId> {
        let (tasks, batches) = (&self.tasks, &self.batches);
        let can_start = |id: &TaskId| {
            let task = tasks.get(id).map(|kept| &kept.task);
            task.is_some_and(|it| it.status() == Status::Queued && it.spec.deadline > now)
        };
        let queued = |id: &BatchId| batches.get(id).map_or(0, |it| it.batch.counts.queued);
        let can_pay = |id: &TaskId| {
            let task = &tasks[id].task;
            let funds = batches[&task.batch_id].batch.funds;
            funds.is_none_or(|funds| funds.has_room(task.spec.max_cost()))
        };
        let (taken, short) = self.queue.take(can_start, can_pay, queued);
        for id in short {
            self.fall_short(id, now);
        }
        taken
    }

    /// A task cannot be paid for: its batch waits for what is under way or, if nothing is, for people.
    fn fall_short(&mut self, id: TaskId, now: Timestamp) {
        let task = &self.tasks[&id].task;
        let (batch_id, cost) = (task.batch_id, task.spec.max_cost());
        let batch = &mut self.group(batch_id).batch;
        let funds = batch.funds.as_mut().expect("only a budget falls short");
        if funds.reserved > 0 {
            funds.short = Some(cost);
        } else {
            batch.parked = Some(out_of_budget(now));
        }
        self.amended.push(batch_id);
    }

    /// Lets batches take turns again that may be able to pay now.
    pub(super) fn let_go_on(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let batch = &mut self.group(id).batch;
            let is_parked = batch.parked.is_some();
            let Some(funds) = batch.funds.as_mut().filter(|it| it.may_go_on()) else {
                continue;
            };
            funds.short = None;
            self.amended.push(id);
            if !is_parked {
                self.queue.go_on(id);
            }
        }
    }

    /// Hands a task to a worker.
    pub(super) fn start(
        &mut self,
        id: TaskId,
        worker: WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Task {
        let mut task = self.tasks[&id].read(self.epoch);
        task.apply(Event::Acquired { worker }, now)
            .expect("a task in a queue is queued");
        self.record(Some(Status::Queued), task.clone(), now + lease);
        task
    }

    /// Writes one task if nothing came between. Those that are ready again are left in `comers`.
    pub(super) fn commit(
        &mut self,
        commit: Commit,
        now: Timestamp,
        comers: &mut Vec<Comer>,
    ) -> Verdict {
        let Commit {
            task,
            fence,
            from,
            guard,
            park,
        } = commit;
        let Some(stored) = self.tasks.get(&task.id) else {
            return Verdict::Conflict;
        };
        if stored.task == task {
            return Verdict::Applied;
        }
        let is_guarded = guard == Guard::LeaseExpired && stored.lease_end > now;
        if !fence.holds(stored.task.fence()) || is_guarded {
            return Verdict::Conflict;
        }
        self.delayed.retain(|(_, waiting)| *waiting != task.id);
        comers.retain(|comer| comer.id != task.id);
        match (task.status(), task.last().cause) {
            (Status::Queued, Cause::Retried) => self.wait(&task, now, comers),
            (Status::Queued, _) => comers.push(Comer::given_back(&task)),
            _ => {}
        }
        let batch_id = task.batch_id;
        if let Some(parked) = park.filter(|_| !self.is_parked(batch_id)) {
            self.group(batch_id).batch.parked = Some(parked);
            self.queue.park(batch_id);
            self.amended.push(batch_id);
        }
        self.record(Some(from), task, now);
        if !self.touched.contains(&batch_id) {
            self.touched.push(batch_id);
        }
        Verdict::Applied
    }

    /// Extends one lease, if it is still held: nobody else has moved the task since.
    pub(super) fn renew(&mut self, renewal: &Renewal, lease_end: Timestamp) -> bool {
        let Some(kept) = self.tasks.get_mut(&renewal.id) else {
            return false;
        };
        let task = &mut kept.task;
        if !renewal.fence.holds(task.fence()) || task.status() != Status::Processing {
            return false;
        }
        let cost = task.spec.max_cost();
        let batch = self
            .batches
            .get_mut(&task.batch_id)
            .expect("a task has a batch");
        if let Some(funds) = batch.batch.funds.as_mut().filter(|_| cost > 0) {
            if renewal.sent && task.aside {
                if !funds.has_room(cost) {
                    return false;
                }
                funds.reserve(cost);
                task.aside = false;
            } else if renewal.aside && !renewal.sent && !task.sent && !task.aside {
                funds.give_back(cost);
                task.aside = true;
                self.touched.push(task.batch_id);
            }
        }
        kept.lease_end = lease_end;
        task.sent |= renewal.sent;
        if task.progress != renewal.progress {
            task.progress = renewal.progress;
            let Renewal {
                id: task, progress, ..
            } = *renewal;
            self.noted.push(Note { task, progress });
        }
        true
    }

    /// Appends to the output of an attempt, if it is still the task's present one and no piece is missing.
    pub(super) fn extend(&mut self, extension: &Extension) -> bool {
        let Some(task) = self.tasks.get(&extension.id).map(|kept| &kept.task) else {
            return false;
        };
        if !extension.fence.holds(task.fence()) || task.status() != Status::Processing {
            return false;
        }
        let before = self.outputs.get(&task.id).map_or("", |(_, text)| text);
        let offset = extension.offset as usize;
        if offset > before.len() || offset + extension.text.len() > OUTPUT_MAX {
            return false;
        }
        let more = extension.text.get(before.len() - offset..).unwrap_or("");
        if !more.is_empty() {
            let text = [before, more].concat();
            self.outputs.insert(task.id, (task.revision(), text));
            let progress = task.progress;
            self.noted.push(Note {
                task: task.id,
                progress,
            });
        }
        true
    }

    /// Changes a batch as a whole; says so only if something changed.
    pub(super) fn amend(&mut self, id: BatchId, amendment: Amendment) -> Option<Batch> {
        let group = self.batches.get_mut(&id)?;
        let has_changed = match amendment {
            Amendment::Close => std::mem::replace(&mut group.batch.open, false),
            Amendment::Resume { budget } => {
                let funds = &mut group.batch.funds;
                let before = funds.map(|it| it.budget);
                match budget {
                    Some(more) if !funds.as_mut().is_some_and(|it| it.change(more)) => false,
                    _ => {
                        let differs = funds.map(|it| it.budget) != before;
                        group.batch.parked.take().is_some() || differs
                    }
                }
            }
        };
        if has_changed {
            self.amended.push(id);
        }
        let resumes = has_changed && amendment != Amendment::Close;
        if let Some(funds) = group.batch.funds.as_mut().filter(|_| resumes) {
            funds.short = None;
        }
        let batch = group.batch.clone();
        if resumes {
            self.queue.resume(id);
        }
        Some(batch)
    }

    /// Every place of a listing from `cursor` on: newest batch first, then in order of submission.
    pub(super) fn places(
        &self,
        only: Option<BatchId>,
        cursor: Option<Cursor>,
    ) -> impl Iterator<Item = (Cursor, TaskId)> {
        let groups = self.batches.iter().rev();
        let is_wanted = move |id: &BatchId| {
            only.is_none_or(|only| only == *id) && cursor.is_none_or(|from| *id <= from.batch)
        };
        let wanted = groups.filter(move |(id, _)| is_wanted(id));
        wanted.flat_map(move |(id, group)| {
            let offset = cursor
                .filter(|from| from.batch == *id)
                .map_or(0, |from| from.offset);
            let members = (0_u64..).zip(group.members.iter().copied());
            let batch = *id;
            members
                .skip(offset as usize)
                .map(move |(offset, id)| (Cursor { batch, offset }, id))
        })
    }

    /// Makes a task the lead of a key, unless somebody else is who may stay so.
    pub(super) fn bid(&mut self, bid: Bid, now: Timestamp) -> Lead {
        let present = self.leads.get(&bid.key).filter(|(_, until)| *until > now);
        if let Some((present, _)) = present {
            let is_same = present.task == bid.lead.task;
            let may_go = match bid.over {
                Over::Nobody => false,
                Over::This(lead) => lead == *present,
                Over::Anybody => true,
            };
            let follows = is_same && bid.lead.fence >= present.fence;
            if !(may_go || follows) {
                return *present;
            }
        }
        self.leads.insert(bid.key, (bid.lead, bid.until));
        bid.lead
    }

    /// Forgets leads.
    pub(super) fn forget(&mut self, keys: &[CacheKey], now: Timestamp) -> usize {
        let gone = keys.iter().filter_map(|key| self.leads.remove(key));
        gone.filter(|(_, until)| *until > now).count()
    }

    /// Forgets what is past its retention and what remembers it.
    pub(super) fn sweep(&mut self, now: Timestamp) -> usize {
        self.leads.retain(|_, (_, until)| *until > now);
        let before = self.tasks.len() + self.batches.len() + self.keys.len();
        self.tasks
            .retain(|_, kept| kept.lookup(self.epoch, now) != Lookup::Missing);
        self.batches.retain(|_, group| {
            !group.batch.is_done() || group.last_expiry + TOMBSTONE_RETENTION > now
        });
        self.keys.retain(|_, used| used.until > now);
        before - self.tasks.len() - self.batches.len() - self.keys.len()
    }

    pub(super) fn is_parked(&self, id: BatchId) -> bool {
        self.batches
            .get(&id)
            .is_some_and(|group| group.batch.parked.is_some())
    }

    fn group(&mut self, id: BatchId) -> &mut Group {
        self.batches.get_mut(&id).expect("a task has a batch")
    }
}
