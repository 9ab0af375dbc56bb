//! How commits are written as the arguments of a script call: what can be added up here does not cost the store time.
//!
//! A check is `u32 epoch | u64 revision`, the fence, and a byte after it where that is not all: 1 where the lease must have
//! expired, with 2 added where the attempt may have left output behind, and 4 where the outcome goes ahead of the call.

use std::{collections::BTreeMap, time::Duration};

use super::{
    apart, fields,
    lease::{decimal, fence_bytes},
    link::Call,
    message,
};
use crate::{
    clock::Timestamp,
    model::{BatchId, Bill, Cause, Parked, Status, Task, TaskId, Usage},
    store::{
        Commit, Guard, Moved,
        record::{self, Apart},
    },
};

/// Tasks in one script call: a few ms of the server's time.
const CALL_TASKS: usize = 256;
/// Bytes of records in one script call.
const CALL_BYTES: usize = 2 << 20;
/// Tasks that expire this close to each other are removed together, by the last of them.
const EXPIRE_TOGETHER: Duration = Duration::from_secs(1);

/// How a check asks that the lease has expired.
pub(super) const GUARD_LEASE_EXPIRED: u8 = 1;
/// Added to it where the attempt may have left output behind.
pub(super) const STREAMED: u8 = 2;
/// Added to it where the outcome goes ahead of the call.
pub(super) const WENT_AHEAD: u8 = 4;
/// First byte of an entry of tasks past their retention that may have parts beside their records.
pub(super) const OLD_WITH_PARTS: u8 = 1;

/// Where a task that goes on is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    /// To the head of its batch's list.
    Head = 1,
    /// To the tail of its batch's list, once it is due.
    Tail = 2,
}

/// One script call, and which commits it holds.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Their places in the list.
    pub(super) members: Vec<usize>,
    ahead: Vec<Call>,
    tasks: Vec<Vec<u8>>,
    bytes: usize,
    queued: i64,
    processing: i64,
    freed: u64,
    sums: BTreeMap<BatchId, Sums>,
    places: Vec<Vec<u8>>,
    /// By instant, and whether there are parts besides.
    old: BTreeMap<(i64, bool), Vec<u8>>,
    parks: Vec<Vec<u8>>,
    bills: Vec<Vec<u8>>,
}

/// As many script calls as it takes for these of the commits. `whole`: with every outcome in its record.
pub(super) fn pack_all(commits: &[Commit], indexes: &[usize], whole: bool) -> Vec<Packed> {
    let mut calls: Vec<Packed> = Vec::new();
    for index in indexes {
        let commit = &commits[*index];
        let mut apart = apart::of(&commit.task);
        apart.outcome &= !whole;
        let record = record::encode_without(&commit.task, apart);
        match calls.last_mut().filter(|call| call.takes(&record)) {
            Some(call) => call.add(*index, commit, apart, record),
            None => {
                let mut call = Packed::default();
                call.add(*index, commit, apart, record);
                calls.push(call);
            }
        }
    }
    calls
}

impl Packed {
    fn takes(&self, record: &[u8]) -> bool {
        self.members.len() < CALL_TASKS && self.bytes + record.len() <= CALL_BYTES
    }

    fn add(&mut self, index: usize, commit: &Commit, apart: Apart, record: Vec<u8>) {
        let task = &commit.task;
        self.members.push(index);
        self.bytes += record.len();
        let check = check(commit, apart);
        self.tasks
            .extend([task.id.as_bytes().to_vec(), check, record]);
        if let (true, Some(outcome)) = (apart.outcome, &task.outcome) {
            let outcome = record::encode_outcome(outcome);
            self.ahead
                .push(apart::ahead(task.id, commit.fence, outcome));
        }
        self.count(commit.from, -1);
        self.count(task.status(), 1);
        self.sums.entry(task.batch_id).or_default().add(commit);
        match task.expire_time() {
            Some(expiry) => {
                self.freed += task.spec.weight();
                self.expire(expiry, task.id, apart.is_any());
            }
            None => self.place(task),
        }
        if let Some(parked) = &commit.park {
            self.park(task.batch_id, parked);
        }
        self.bill(task);
    }

    fn count(&mut self, status: Status, one: i64) {
        match status {
            Status::Queued => self.queued += one,
            Status::Processing => self.processing += one,
            _ => {}
        }
    }

    fn expire(&mut self, expiry: Timestamp, id: TaskId, has_parts: bool) {
        let period = i64::try_from(EXPIRE_TOGETHER.as_millis()).unwrap_or(i64::MAX);
        // Rounded up: nothing is removed before its time.
        let at = (expiry.0.div_euclid(period) + 1) * period;
        let entry = self.old.entry((at, has_parts)).or_insert_with(|| {
            let mut entry = at.to_be_bytes().to_vec();
            if has_parts {
                entry[0] = OLD_WITH_PARTS;
            }
            entry
        });
        entry.extend(id.as_bytes());
    }

    fn place(&mut self, task: &Task) {
        self.places.extend([
            task.id.as_bytes().to_vec(),
            decimal(place(task) as u8),
            decimal(task.spec.priority as u8),
            decimal(task.due.0),
            task.batch_id.as_bytes().to_vec(),
        ]);
    }

    fn park(&mut self, batch: BatchId, why: &Parked) {
        let is_known = self
            .parks
            .chunks_exact(2)
            .any(|it| it[0] == batch.as_bytes());
        if !is_known {
            self.parks
                .extend([batch.as_bytes().to_vec(), record::cbor(why)]);
        }
    }

    fn bill(&mut self, task: &Task) {
        let (is_known, cost) = match Bill::of(task) {
            Bill::Known(cost) => (1, cost),
            Bill::Unknown => (0, 0),
        };
        let most = task.spec.max_cost();
        if most > 0 || cost > 0 {
            self.bills.extend([
                decimal(self.members.len()),
                task.batch_id.as_bytes().to_vec(),
                decimal(most),
                decimal(is_known),
                decimal(cost),
            ]);
        }
    }

    /// Which commits the call holds, what goes ahead of it, and its arguments in the order in which the script takes them.
    pub(super) fn into_parts(self) -> (Vec<usize>, Vec<Call>, Vec<Vec<u8>>) {
        let mut args = Vec::with_capacity(self.tasks.len() + 32 * self.sums.len());
        args.push(decimal(self.members.len()));
        args.extend([self.queued, self.processing].map(decimal));
        args.push(decimal(self.freed));
        args.extend(self.tasks);
        let sums: Vec<Vec<u8>> = self.sums.into_iter().flat_map(Sums::into_args).collect();
        let old = self.old.into_iter();
        let old = old
            .flat_map(|((at, _), entry)| [decimal(at), entry])
            .collect();
        for section in [sums, self.places, old, self.parks, self.bills] {
            args.push(decimal(section.len()));
            args.extend(section);
        }
        (self.members, self.ahead, args)
    }
}

/// What commits of one batch come to.
#[derive(Debug, Default)]
struct Sums {
    log: Vec<u8>,
    ended: i64,
    keep: i64,
    statuses: [i64; 5],
    usage: Usage,
}

impl Sums {
    fn add(&mut self, commit: &Commit) {
        let task = &commit.task;
        let moved = Moved {
            task: task.id,
            batch: task.batch_id,
            revision: task.revision(),
            status: task.status(),
        };
        self.log.extend(message::encode_log_entry(&moved));
        self.statuses[commit.from as usize - 1] -= 1;
        self.statuses[task.status() as usize - 1] += 1;
        self.ended = self.ended.max(task.end_time().unwrap_or_default().0);
        self.keep = self.keep.max(task.expire_time().unwrap_or_default().0);
        if let Some(outcome) = &task.outcome {
            self.usage.add(&outcome.usage);
        }
    }

    fn into_args((batch, sums): (BatchId, Sums)) -> Vec<Vec<u8>> {
        let usage = [
            ("ui", sums.usage.input_tokens),
            ("uo", sums.usage.output_tokens),
            ("uc", sums.usage.cached_input_tokens),
            ("ur", sums.usage.reasoning_tokens),
            ("um", sums.usage.cost_nanos),
        ];
        // By the numbers of the statuses.
        let statuses = ["q", "p", "c", "e", "x"].into_iter().zip(sums.statuses);
        let usage = usage.map(|(name, sum)| (name, i64::try_from(sum).unwrap_or(i64::MAX)));
        let changed = statuses.chain(usage).filter(|(_, sum)| *sum != 0);
        let changed: Vec<(&str, i64)> = changed.collect();
        let mut args = vec![batch.as_bytes().to_vec(), sums.log];
        args.extend([sums.ended, sums.keep].map(decimal));
        args.push(decimal(changed.len()));
        for (name, sum) in changed {
            args.extend([decimal(fields::place(name)), decimal(sum)]);
        }
        args
    }
}

fn check(commit: &Commit, apart: Apart) -> Vec<u8> {
    let leased = commit.guard == Guard::LeaseExpired;
    let guard = if leased { GUARD_LEASE_EXPIRED } else { 0 };
    let streamed = if commit.task.spec.stream { STREAMED } else { 0 };
    let ahead = if apart.outcome { WENT_AHEAD } else { 0 };
    let mut check = fence_bytes(commit.fence);
    if guard + streamed + ahead > 0 {
        check.push(guard + streamed + ahead);
    }
    check
}

fn place(task: &Task) -> Place {
    match task.last().cause {
        Cause::Released | Cause::LeaseExpired | Cause::Parked => Place::Head,
        _ => Place::Tail,
    }
}
