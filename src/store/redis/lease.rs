//! Extending leases, and finding tasks whose time ran out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use redis::Value;

use super::{
    RedisStore,
    link::{Call, Order},
    reply,
    script::Script,
};
use crate::{
    model::{Fence, Task, TaskId},
    store::{Error, Lookup, Renewal},
};

/// Tasks in one script call: a few ms of the server's time.
pub(super) const CALL_TASKS: usize = 1_000;

impl RedisStore {
    pub(super) async fn renew_all(
        &self,
        renewals: &[Renewal],
        lease: Duration,
    ) -> Result<Vec<bool>, Error> {
        self.absences.lease_of(lease);
        let mut held = vec![false; renewals.len()];
        let mut groups: HashMap<u16, Vec<usize>> = HashMap::new();
        for (index, renewal) in renewals.iter().enumerate() {
            if let Some(partition) = self.partition_of(renewal.id.partition()) {
                groups.entry(partition).or_default().push(index);
            }
        }
        let (mut calls, mut members) = (Vec::new(), Vec::new());
        for (partition, indexes) in groups {
            for part in indexes.chunks(CALL_TASKS) {
                let mut args = vec![decimal(lease.as_millis())];
                args.extend(
                    part.iter()
                        .flat_map(|index| renewal_args(&renewals[*index])),
                );
                calls.push(Call {
                    order: Order::Run(Script::Renew),
                    partition,
                    args,
                });
                members.push(part.to_vec());
            }
        }
        if calls.is_empty() {
            return Ok(held);
        }
        let answers = self.router.run_each(&calls).await?;
        for ((call, answer), part) in calls.iter().zip(answers).zip(members) {
            let flags = self.flags(call.partition, &answer, part.len())?;
            for (index, flag) in part.into_iter().zip(flags) {
                held[index] = flag;
            }
        }
        Ok(held)
    }

    pub(super) async fn overdue_up_to(&self, max: usize) -> Result<Vec<Task>, Error> {
        let (named, mut overdue) = self.look_overdue(max).await?;
        // Nobody can move a task whose record is damaged, so it stays overdue; it must not hide those behind it.
        if overdue.is_empty() && named >= max && max < CALL_TASKS {
            (_, overdue) = self.look_overdue(CALL_TASKS).await?;
            overdue.truncate(max);
        }
        Ok(overdue)
    }

    /// How many tasks, up to `max`, are overdue by the timers, and those of them that can be read.
    async fn look_overdue(&self, max: usize) -> Result<(usize, Vec<Task>), Error> {
        let mut ids = BTreeSet::new();
        let mut partitions: Vec<u16> = self.round().collect();
        let (mut failed, mut answered) = (None, false);
        // Most timers have nothing left to time; a call looks at a bounded number of them.
        while !partitions.is_empty() && ids.len() < max {
            let calls: Vec<Call> = partitions
                .iter()
                .map(|partition| overdue_call(*partition, max))
                .collect();
            partitions.clear();
            for (call, answer) in calls.iter().zip(self.router.run_once(&calls).await) {
                match answer {
                    Ok(answer) => {
                        answered = true;
                        let more = self.note_overdue(call.partition, &answer, &mut ids)?;
                        partitions.extend(more.then_some(call.partition));
                    }
                    Err(error) => {
                        self.absences.is_away(call.partition);
                        failed.get_or_insert(error);
                    }
                }
            }
        }
        if let Some(error) = failed.filter(|_| !answered) {
            // Whoever asked knows that the store was away.
            return Err(error);
        }
        let ids: Vec<TaskId> = ids.into_iter().take(max).collect();
        let found = self.lookup_all(&ids).await?.into_iter();
        let overdue = found.filter_map(|lookup| match lookup {
            Lookup::Found(task) if !task.status().is_terminal() => Some(*task),
            _ => None,
        });
        Ok((ids.len(), overdue.collect()))
    }

    /// Takes note of what a partition named. Answers whether there may be more.
    fn note_overdue(
        &self,
        partition: u16,
        answer: &Value,
        ids: &mut BTreeSet<TaskId>,
    ) -> Result<bool, Error> {
        let odd = || reply::odd("overdue tasks");
        let [now, more, cut, named @ ..] = reply::array(answer).ok_or_else(odd)? else {
            return Err(odd());
        };
        let now = reply::int(now).ok_or_else(odd)?;
        self.router.common.clock.hear(now);
        if !self.absences.is_settled(partition, Instant::now()) {
            return Ok(false);
        }
        let before = ids.len();
        ids.extend(named.iter().filter_map(reply::id).map(TaskId::from_bytes));
        // Those that were named are named again until they are moved.
        let comes_on = ids.len() > before || reply::count(cut).ok_or_else(odd)? > 0;
        Ok(comes_on && reply::bytes(more) == Some(b"1"))
    }

    /// All partitions, each time from another one on, so that none is served first for ever.
    pub(super) fn round(&self) -> impl Iterator<Item = u16> + use<> {
        let count = self.partitions;
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        (0..count).map(move |step| (first + step) % count)
    }
}

fn overdue_call(partition: u16, max: usize) -> Call {
    Call {
        order: Order::Run(Script::Overdue),
        partition,
        args: vec![decimal(max.min(CALL_TASKS))],
    }
}

fn renewal_args(renewal: &Renewal) -> [Vec<u8>; 4] {
    [
        renewal.id.as_bytes().to_vec(),
        fence_bytes(renewal.fence),
        decimal(renewal.progress),
        decimal(mark(renewal)),
    ]
}

/// What a renewal says of its task's call, as the script takes it.
fn mark(renewal: &Renewal) -> u8 {
    match (renewal.sent, renewal.aside) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 0,
    }
}

/// A fence as a record begins with it.
pub(super) fn fence_bytes(fence: Fence) -> Vec<u8> {
    let (epoch, revision) = (fence.epoch.to_be_bytes(), fence.revision.to_be_bytes());
    [&epoch[..], &revision[..]].concat()
}

/// A number as a script's argument.
pub(super) fn decimal(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}
