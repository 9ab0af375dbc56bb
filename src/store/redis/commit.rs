//! Writing tasks that were moved by one transition.

use std::{collections::HashMap, time::Duration};

use redis::Value;

use super::{
    RedisStore,
    link::{Call, Order},
    message, reply,
    script::Script,
};
use crate::{
    model::{Bill, Cause, Status},
    store::{Commit, Error, Guard, TOMBSTONE_RETENTION, Verdict, record},
};

/// Tasks in one script call: a few ms of the server's time.
const CALL_TASKS: usize = 256;
/// Bytes of records in one script call.
const CALL_BYTES: usize = 2 << 20;
/// Arguments of one task.
const ARGS: usize = 4;

/// Bytes of the part of a packed move that is needed to compare: fence, guard, batch.
pub(super) const FIRST_PART_LEN: usize = record::FENCE_LEN + 1 + 16;
/// How a packed move asks that the lease has expired.
pub(super) const GUARD_LEASE_EXPIRED: u8 = 1;
/// Added to it where the attempt may have left output behind.
pub(super) const STREAMED: u8 = 2;

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    /// Nowhere: it is terminal.
    Done = 0,
    /// To the head of its batch's list.
    Head = 1,
    /// To the tail of its batch's list, once it is due.
    Tail = 2,
}

impl RedisStore {
    pub(super) async fn commit_all(&self, commits: &[Commit]) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = vec![Verdict::Conflict; commits.len()];
        let mut calls = Vec::new();
        let mut members = Vec::new();
        for (partition, indexes) in self.by_partition(commits) {
            for (args, part) in pack_all(commits, &indexes) {
                calls.push(Call {
                    order: Order::Run(Script::Commit),
                    partition,
                    args,
                });
                members.push(part);
            }
        }
        if calls.is_empty() {
            return Ok(verdicts);
        }
        let answers = self.router.run_each(&calls).await?;
        for ((call, answer), part) in calls.iter().zip(answers).zip(members) {
            let written = self.flags(call.partition, &answer, part.len())?;
            for (index, written) in part.into_iter().zip(written) {
                if written {
                    verdicts[index] = Verdict::Applied;
                }
            }
        }
        Ok(verdicts)
    }

    /// Indexes by partition, in order; tasks of partitions that are not there are left out.
    fn by_partition(&self, commits: &[Commit]) -> Vec<(u16, Vec<usize>)> {
        let mut groups: HashMap<u16, Vec<usize>> = HashMap::new();
        for (index, commit) in commits.iter().enumerate() {
            if let Some(partition) = self.partition_of(commit.task.id.partition()) {
                groups.entry(partition).or_default().push(index);
            }
        }
        groups.into_iter().collect()
    }

    /// Reads `[now, number of the announcement, string of '1' and '0']`.
    pub(super) fn flags(
        &self,
        partition: u16,
        answer: &Value,
        expected: usize,
    ) -> Result<Vec<bool>, Error> {
        let odd = || reply::odd("a commit or renewal");
        let [now, seq, flags] = reply::array(answer).ok_or_else(odd)? else {
            return Err(odd());
        };
        let now = reply::int(now).ok_or_else(odd)?;
        self.hear(partition, now, reply::count(seq).ok_or_else(odd)?);
        let flags = reply::bytes(flags).filter(|flags| flags.len() == expected);
        Ok(flags
            .ok_or_else(odd)?
            .iter()
            .map(|flag| *flag == b'1')
            .collect())
    }
}

/// The arguments of as many script calls as it takes, each with the indexes of its tasks.
pub(super) fn pack_all(commits: &[Commit], indexes: &[usize]) -> Vec<(Vec<Vec<u8>>, Vec<usize>)> {
    let mut calls: Vec<(Vec<Vec<u8>>, Vec<usize>)> = Vec::new();
    let mut bytes = 0;
    for index in indexes {
        let commit = &commits[*index];
        let record = record::encode(&commit.task);
        let full = calls
            .last()
            .is_none_or(|(_, part)| part.len() >= CALL_TASKS);
        if full || bytes + record.len() > CALL_BYTES {
            let room = ARGS * indexes.len().min(CALL_TASKS);
            calls.push((Vec::with_capacity(room), Vec::new()));
            bytes = 0;
        }
        bytes += record.len();
        if let Some((args, part)) = calls.last_mut() {
            let parked = commit.park.as_ref().map(record::cbor).unwrap_or_default();
            args.push(commit.task.id.as_bytes().to_vec());
            args.push(pack_move(commit));
            args.push(record);
            args.push(parked);
            part.push(*index);
        }
    }
    calls
}

/// `fence 12 | u8 guard | batch 16` and then
/// `u8 from | u8 to | u8 place | u8 priority | u32 revision | u8 status | i64 due, deadline, expiry, end | u64 × 5 usage
/// | u64 weight`,
/// then the expiry of record and tombstone once more as text, since a script's numbers cost it time to write, then
/// `u64 held ready | u8 1 where the cost is known | u64 cost`.
fn pack_move(commit: &Commit) -> Vec<u8> {
    let task = &commit.task;
    let mut bytes = Vec::with_capacity(176);
    bytes.extend(commit.fence.epoch.to_be_bytes());
    bytes.extend(commit.fence.revision.to_be_bytes());
    let leased = commit.guard == Guard::LeaseExpired;
    let guard = if leased { GUARD_LEASE_EXPIRED } else { 0 };
    let streamed = if task.spec.stream { STREAMED } else { 0 };
    bytes.push(guard + streamed);
    bytes.extend(task.batch_id.as_bytes());
    bytes.extend([
        commit.from as u8,
        task.status() as u8,
        place(commit) as u8,
        task.spec.priority as u8,
    ]);
    bytes.extend(message::tail(task.revision(), task.status()));
    bytes.extend(task.due.0.to_be_bytes());
    bytes.extend(task.spec.deadline.0.to_be_bytes());
    bytes.extend(task.expire_time().unwrap_or_default().0.to_be_bytes());
    bytes.extend(task.end_time().unwrap_or_default().0.to_be_bytes());
    let outcome = task.outcome.as_deref();
    let usage = outcome.map(|outcome| outcome.usage).unwrap_or_default();
    bytes.extend(usage.input_tokens.to_be_bytes());
    bytes.extend(usage.output_tokens.to_be_bytes());
    bytes.extend(usage.cached_input_tokens.to_be_bytes());
    bytes.extend(usage.reasoning_tokens.to_be_bytes());
    bytes.extend(usage.cost_nanos.to_be_bytes());
    bytes.extend(task.spec.weight().to_be_bytes());
    for retention in [Duration::ZERO, TOMBSTONE_RETENTION] {
        if let Some(expiry) = task.expire_time() {
            bytes.extend((expiry + retention).0.max(1).to_string().bytes());
        }
        bytes.push(0);
    }
    let (is_known, cost) = match Bill::of(task) {
        Bill::Known(cost) => (1, cost),
        Bill::Unknown => (0, 0),
    };
    bytes.extend(task.spec.max_cost().to_be_bytes());
    bytes.push(is_known);
    bytes.extend(cost.to_be_bytes());
    bytes
}

fn place(commit: &Commit) -> Place {
    let task = &commit.task;
    match (task.status(), task.last().cause) {
        (status, _) if status != Status::Queued => Place::Done,
        (_, Cause::Released | Cause::LeaseExpired | Cause::Parked) => Place::Head,
        _ => Place::Tail,
    }
}
