//! Handing tasks to workers.

use std::time::Duration;

use redis::Value;

use super::{
    RedisStore,
    apart::Parts,
    echo::Expected,
    held,
    lease::{CALL_TASKS, decimal},
    link::{Call, Order},
    reply,
    script::Script,
};
use crate::{
    clock::Timestamp,
    model::{Task, TaskId, WorkerId, funds::out_of_budget},
    store::{Acquired, Error, Moment, prompt::Look, record::cbor},
};

/// What could be started in a partition.
struct Ready {
    partition: u16,
    tasks: usize,
}

impl RedisStore {
    pub(super) async fn acquire_up_to(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.absences.lease_of(lease);
        let mut acquired = Acquired::default();
        let shares = if self.partitions == 1 {
            vec![(0, max)]
        } else {
            let ready = self.ready(worker, &mut acquired).await?;
            share(&ready, max)
        };
        let began = self.feed.recent.moment();
        let look = self.feed.prompts.look();
        // What is heard of these calls is told once they are answered.
        let mut expected = Vec::new();
        let asked = shares.into_iter().filter(|(_, share)| *share > 0);
        let (calls, requests): (Vec<Call>, Vec<u64>) = asked
            .map(|(partition, share)| {
                let name = Expected::new(&self.feed);
                let (mut call, request) = self.acquire_call(partition, worker, share, lease);
                call.args.push(name.name());
                expected.push(name);
                (call, request)
            })
            .unzip();
        let mut failed = None;
        let answers = self.router.run_once(&calls).await;
        for ((call, request), answer) in calls.iter().zip(requests).zip(answers) {
            let taken = match answer {
                Ok(answer) => self.taken(call.partition, &answer, began, look).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(part) => {
                    acquired.tasks.extend(part.tasks);
                    acquired.more |= part.more;
                    acquired.next_due = earlier(acquired.next_due, part.next_due);
                }
                Err(error) => {
                    // It may have been carried out: the next call asks for what this one was given.
                    if matches!(error, Error::Unavailable(_)) {
                        let mut unanswered = self.unanswered.lock();
                        unanswered.insert((worker, call.partition), request);
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            // What was taken must reach the worker.
            Some(error) if acquired.tasks.is_empty() && calls.len() == 1 => Err(error),
            _ => Ok(acquired),
        }
    }

    /// Which partitions have something to start, each time from another one on, so that none is served first for ever.
    async fn ready(&self, worker: WorkerId, acquired: &mut Acquired) -> Result<Vec<Ready>, Error> {
        let calls: Vec<Call> = self
            .round()
            .map(|partition| Call {
                order: Order::Run(Script::Ready),
                partition,
                args: Vec::new(),
            })
            .collect();
        let mut ready = Vec::new();
        for (index, answer) in self.router.run_some(&calls).await? {
            let odd = || reply::odd("ready tasks");
            let [now, tasks, next_due] = reply::array(&answer).ok_or_else(odd)? else {
                return Err(odd());
            };
            self.router
                .common
                .clock
                .hear(reply::int(now).ok_or_else(odd)?);
            acquired.next_due = earlier(acquired.next_due, reply::int(next_due).map(Timestamp));
            let partition = calls[index].partition;
            let mut tasks = reply::count(tasks).ok_or_else(odd)? as usize;
            if self.unanswered.lock().contains_key(&(worker, partition)) {
                tasks = tasks.max(1);
            }
            if tasks > 0 {
                ready.push(Ready { partition, tasks });
            }
        }
        Ok(ready)
    }

    fn acquire_call(
        &self,
        partition: u16,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> (Call, u64) {
        let unanswered = self.unanswered.lock().remove(&(worker, partition));
        let request: u64 = unanswered.unwrap_or_else(rand::random);
        let call = Call {
            order: Order::Run(Script::Acquire),
            partition,
            args: vec![
                worker.0.to_be_bytes().to_vec(),
                decimal(max.min(CALL_TASKS)),
                decimal(lease.as_millis()),
                request.to_be_bytes().to_vec(),
                decimal(u8::from(unanswered.is_some())),
                cbor(&out_of_budget(self.router.common.clock.now())),
            ],
        };
        (call, request)
    }

    async fn taken(
        &self,
        partition: u16,
        answer: &Value,
        began: Moment,
        look: Look,
    ) -> Result<Acquired, Error> {
        let odd = || reply::odd("acquired tasks");
        let [now, seq, more, next_due, pieces, taken @ ..] =
            reply::array(answer).ok_or_else(odd)?
        else {
            return Err(odd());
        };
        let now = reply::int(now).ok_or_else(odd)?;
        let seq = reply::count(seq).ok_or_else(odd)?;
        self.hear(partition, now, seq);
        let more = reply::bytes(more) == Some(b"1");
        if !more {
            self.feed.prompts.looked(look, seq);
        }
        let taken: Vec<Taken<'_>> = taken.chunks_exact(3).filter_map(Taken::of).collect();
        let records: Vec<(TaskId, &[u8])> = taken.iter().map(|it| (it.id, it.record)).collect();
        let parts = self.parts_of(&records).await?;
        let begun = taken.iter().zip(&parts);
        let tasks: Vec<Task> = begun.filter_map(|(it, parts)| it.begin(parts)).collect();
        let recent = &self.feed.recent;
        recent.wrote(recent.chosen(tasks.iter()).into_iter().flatten());
        self.keep_pieces(pieces, began);
        Ok(Acquired {
            tasks,
            more,
            next_due: reply::int(next_due).map(Timestamp),
        })
    }
}

/// Splits `max` evenly over the partitions that have something to start.
fn share(ready: &[Ready], max: usize) -> Vec<(u16, usize)> {
    let mut shares: Vec<(u16, usize)> = ready.iter().map(|it| (it.partition, 0)).collect();
    let mut left = max.min(ready.iter().map(|it| it.tasks).sum());
    while left > 0 {
        let open = ready
            .iter()
            .zip(&shares)
            .filter(|(it, (_, share))| it.tasks > *share);
        let part = (left / open.count().max(1)).max(1);
        for (it, (_, share)) in ready.iter().zip(&mut shares) {
            let more = part.min(left).min(it.tasks - *share);
            *share += more;
            left -= more;
        }
    }
    shares
}

/// A task that the script started.
struct Taken<'a> {
    id: TaskId,
    record: &'a [u8],
    lease: &'a [u8],
}

impl<'a> Taken<'a> {
    fn of(told: &'a [Value]) -> Option<Self> {
        let [id, record, lease] = told else {
            return None;
        };
        Some(Taken {
            id: TaskId::from_bytes(reply::id(id)?),
            record: reply::bytes(record)?,
            lease: reply::bytes(lease).unwrap_or_default(),
        })
    }

    fn begin(&self, parts: &Parts) -> Option<Task> {
        let id = self.id;
        let task = parts
            .decode(id, self.record)
            .map_err(|fault| fault.to_string());
        let begun = task.and_then(|mut task| {
            held::begin(&mut task, self.lease)?;
            Ok(task)
        });
        begun
            .inspect_err(|fault| tracing::error!(%id, fault, "a queued task cannot be started"))
            .ok()
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_use_up_what_is_wanted_and_exceed_no_partition() {
        for (tasks, max) in [
            (vec![], 5),
            (vec![3], 5),
            (vec![1, 100, 2], 10),
            (vec![5, 5, 5], 2),
            (vec![7, 0, 9], 100),
        ] {
            let ready: Vec<Ready> = (0..)
                .zip(&tasks)
                .map(|(partition, tasks)| Ready {
                    partition,
                    tasks: *tasks,
                })
                .collect();
            let shares = share(&ready, max);
            let total: usize = shares.iter().map(|(_, share)| share).sum();
            assert_eq!(total, max.min(tasks.iter().sum()), "{tasks:?} {max}");
            let fits = |(share, tasks): (&(u16, usize), &usize)| share.1 <= *tasks;
            assert!(
                shares.iter().zip(&tasks).all(fits),
                "{tasks:?} {max}: {shares:?}"
            );
        }
    }
}
