//! Handing tasks to workers, extending their leases, and finding those whose time ran out.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use redis::Value;

use super::{RedisStore, link::Call, reply, script::Script};
use crate::{
    clock::Timestamp,
    model::{Event, Status, Task, TaskId, WorkerId},
    store::{Acquired, Error, Lookup, Renewal, record},
};

/// Tasks in one script call: a few ms of the server's time.
const CALL_TASKS: usize = 1_000;

impl RedisStore {
    pub(super) async fn acquire_up_to(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        let mut acquired = Acquired::default();
        for partition in self.round() {
            let room = max - acquired.tasks.len();
            if room == 0 {
                acquired.more = true;
                break;
            }
            match self.acquire_from(partition, worker, room, lease).await {
                Ok(part) => {
                    acquired.tasks.extend(part.tasks);
                    acquired.more |= part.more;
                    acquired.next_due = earlier(acquired.next_due, part.next_due);
                }
                // What was taken must reach the worker.
                Err(_) if !acquired.tasks.is_empty() => {
                    acquired.more = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(acquired)
    }

    async fn acquire_from(
        &self,
        partition: u16,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        let unanswered = self.unanswered.lock().remove(&(worker, partition));
        let request: u64 = unanswered.unwrap_or_else(rand::random);
        let answer = self.link.run_one(Call {
            script: Script::Acquire,
            partition,
            args: vec![
                worker.0.to_be_bytes().to_vec(),
                decimal(max.min(CALL_TASKS)),
                decimal(lease.as_millis()),
                request.to_be_bytes().to_vec(),
            ],
        });
        let answer = answer.await.inspect_err(|error| {
            // It may have been carried out: the next call asks for what this one was given.
            if matches!(error, Error::Unavailable(_)) {
                self.unanswered.lock().insert((worker, partition), request);
            }
        })?;
        let odd = || reply::odd("acquired tasks");
        let [now, more, next_due, epoch, taken @ ..] = reply::array(&answer).ok_or_else(odd)?
        else {
            return Err(odd());
        };
        let epoch = reply::epoch(epoch).ok_or_else(odd)?;
        let now = Timestamp(reply::int(now).ok_or_else(odd)?);
        self.link.hear_time(now.0);
        Ok(Acquired {
            tasks: taken
                .chunks_exact(2)
                .filter_map(|pair| started(&pair[0], &pair[1], epoch, worker, now))
                .collect(),
            more: reply::bytes(more) == Some(b"1"),
            next_due: reply::int(next_due).map(Timestamp),
        })
    }

    pub(super) async fn renew_all(
        &self,
        renewals: &[Renewal],
        lease: Duration,
    ) -> Result<Vec<bool>, Error> {
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
                    script: Script::Renew,
                    partition,
                    args,
                });
                members.push(part.to_vec());
            }
        }
        if calls.is_empty() {
            return Ok(held);
        }
        for (answer, part) in self.link.run(&calls).await?.into_iter().zip(members) {
            let flags = self.flags(&answer?, part.len())?;
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

    /// How many tasks, up to `max`, are overdue by the index, and those of them that can be read.
    async fn look_overdue(&self, max: usize) -> Result<(usize, Vec<Task>), Error> {
        let calls: Vec<Call> = self
            .round()
            .map(|partition| Call {
                script: Script::Overdue,
                partition,
                args: vec![decimal(max.min(CALL_TASKS))],
            })
            .collect();
        let mut ids: Vec<TaskId> = Vec::new();
        for answer in self.link.run(&calls).await? {
            let answer = answer?;
            let odd = || reply::odd("overdue tasks");
            let [now, part @ ..] = reply::array(&answer).ok_or_else(odd)? else {
                return Err(odd());
            };
            self.link.hear_time(reply::int(now).ok_or_else(odd)?);
            ids.extend(part.iter().filter_map(reply::id).map(TaskId::from_bytes));
        }
        ids.truncate(max);
        let found = self.lookup_all(&ids).await?.into_iter();
        let overdue = found.filter_map(|lookup| match lookup {
            Lookup::Found(task) if !task.status().is_terminal() => Some(*task),
            _ => None,
        });
        Ok((ids.len(), overdue.collect()))
    }

    /// All partitions, each time from another one on, so that none is served first for ever.
    fn round(&self) -> impl Iterator<Item = u16> + use<> {
        let count = self.info.partitions;
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        (0..count).map(move |step| (first + step) % count)
    }
}

/// The task that the script started: the same event on the same record.
fn started(
    id: &Value,
    before: &Value,
    epoch: u32,
    worker: WorkerId,
    now: Timestamp,
) -> Option<Task> {
    let id = TaskId::from_bytes(reply::id(id)?);
    let mut task = match record::decode(id, reply::bytes(before)?) {
        Ok(task) => task,
        Err(fault) => {
            tracing::error!(%id, %fault, "a queued task cannot be read");
            return None;
        }
    };
    if task.status() == Status::Processing {
        // Started by a call whose answer was lost.
        return Some(task);
    }
    task.epoch = epoch;
    match task.apply(Event::Acquired { worker }, now) {
        Ok(()) => Some(task),
        Err(illegal) => {
            tracing::error!(%id, %illegal, "a queued task cannot be started");
            None
        }
    }
}

fn renewal_args(renewal: &Renewal) -> [Vec<u8>; 4] {
    let fence = [
        &renewal.fence.epoch.to_be_bytes()[..],
        &renewal.fence.revision.to_be_bytes()[..],
    ];
    [
        renewal.id.as_bytes().to_vec(),
        fence.concat(),
        decimal(renewal.progress),
        decimal(u8::from(renewal.sent)),
    ]
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// A number as a script's argument.
pub(super) fn decimal(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}
