//! Accepting tasks: one script call for all of a submission.

use std::sync::Arc;

use redis::Value;

use super::{
    RedisStore, apart,
    echo::Expected,
    error,
    keys::Keys,
    lease::decimal,
    link::{Call, Order},
    message, reply,
    script::Script,
};
use crate::{
    clock::Timestamp,
    model::{BatchId, IdRange, Priority, Spec, Status, Task, TaskId},
    store::{
        Accepted, Append, Durability, Error, IDEMPOTENCY_WINDOW, Idempotency, Load, Moment, Moved,
        Submission, record,
    },
};

impl RedisStore {
    pub(super) async fn accept(&self, mut submission: Submission) -> Result<Accepted, Error> {
        let Some(key) = submission.idempotency.clone() else {
            return self.submit_once(&submission).await;
        };
        let own = submission.batch_id.partition();
        let bound = if self.home_of(&key).0 == own {
            // Here the script sees key and batch together.
            let accepted = self.submit_once(&submission).await?;
            if accepted.batch_id.partition() == own {
                return Ok(accepted);
            }
            // Claimed for a batch elsewhere, and maybe not accepted there yet.
            accepted
        } else {
            self.claim_key(&key, &submission).await?
        };
        (submission.batch_id, submission.ids) = (bound.batch_id, bound.ids);
        let result = self.submit_once(&submission).await;
        if let Err(Error::NoSuchBatch(_) | Error::BatchClosed(_) | Error::Full(_)) = result {
            // Should the same call be accepted meanwhile, the key that the script leaves with the batch tells of it.
            self.free_key(&key).await?;
        }
        result
    }

    async fn submit_once(&self, submission: &Submission) -> Result<Accepted, Error> {
        let batch_id = submission.batch_id;
        let partition = self
            .partition_of(batch_id.partition())
            .ok_or(Error::NoSuchBatch(batch_id))?;
        let began = self.feed.recent.moment();
        let expected = Expected::new(&self.feed);
        let (ahead, mut args) = self.arguments(submission);
        args.push(expected.name());
        let script = Call {
            order: Order::Run(Script::Submit),
            partition,
            args,
        };
        let take_back = apart::take_back(&ahead);
        // Polled first, the call is sent by the time somebody is told.
        let (answered, ()) = tokio::join!(biased; self.run_submit(ahead, script), async {
            self.feed.prompts.say();
        });
        let accepted = answered.and_then(|answered| self.verdict(submission, &answered, began));
        if !matches!(accepted, Ok(_) | Err(Error::Unavailable(_))) {
            // What stays expires.
            self.router.run(&take_back).await;
        }
        accepted
    }

    /// What the script says of a submission.
    fn verdict(
        &self,
        submission: &Submission,
        answered: &Answered,
        began: Moment,
    ) -> Result<Accepted, Error> {
        let (answer, durability) = (&answered.answer, answered.durability);
        let batch_id = submission.batch_id;
        let odd = || reply::odd("a submit");
        let [now, seq, verdict, rest @ ..] = reply::array(answer).ok_or_else(odd)? else {
            return Err(odd());
        };
        let now = reply::int(now).ok_or_else(odd)?;
        let seq = reply::count(seq).ok_or_else(odd)?;
        self.hear(batch_id.partition(), now, seq);
        match (reply::bytes(verdict).unwrap_or_default(), rest) {
            (b"ok", [made, pieces @ ..]) => {
                if let Some(epoch) = pieces.first().and_then(|it| self.keep_pieces(it, began)) {
                    let recent = &self.feed.recent;
                    recent.accepted(batch_id, submission.ids, &submission.specs, epoch);
                }
                let made = self.accepted(reply::bytes(made).unwrap_or_default());
                let made = made.ok_or_else(odd)?;
                Ok(Accepted { durability, ..made })
            }
            (b"reused", _) => Err(Error::KeyReused),
            (b"nobatch", _) => Err(Error::NoSuchBatch(batch_id)),
            (b"closed", _) => Err(Error::BatchClosed(batch_id)),
            (b"full", [tasks, bytes]) => {
                let held = Load {
                    tasks: reply::count(tasks).ok_or_else(odd)?,
                    bytes: reply::count(bytes).ok_or_else(odd)?,
                };
                Err(self.full(held, load(submission)))
            }
            (b"lacking", _) if answered.is_full => Err(error::full()),
            (b"lacking", _) => {
                let cause = "a part of a task did not arrive; submit it again";
                Err(Error::Unavailable(cause.into()))
            }
            (b"taken", _) => Err(Error::Corrupt("a new id is in use already".into())),
            _ => Err(odd()),
        }
    }

    /// Runs the script, and waits for replicas or disks if that is wanted. A repeated call waits as well: what it finds
    /// may not have reached them when it was accepted.
    async fn run_submit(&self, ahead: Vec<Call>, script: Call) -> Result<Answered, Error> {
        let Some(wait) = self.router.common.wait else {
            let mut calls = ahead;
            calls.push(script);
            let mut answers = self.router.run(&calls).await;
            let answer = answers.pop().unwrap_or_else(|| Err(reply::odd("a submit")));
            return Ok(Answered {
                answer: answer?,
                durability: self.durability,
                is_full: is_full(&answers),
            });
        };
        let is_full = is_full(&self.router.run(&ahead).await);
        let (answer, waited) = self.router.run_durably(script).await?;
        let waited = error::answered(waited)?;
        Ok(Answered {
            answer,
            durability: wait.reached(&waited, self.durability)?,
            is_full,
        })
    }

    fn full(&self, held: Load, more: Load) -> Error {
        match self.capacity.check(self.partitions, held, more) {
            Err(full) => full,
            Ok(()) => reply::odd("a submit"),
        }
    }

    /// What goes ahead of the script, and its arguments.
    fn arguments(&self, submission: &Submission) -> (Vec<Call>, Vec<Vec<u8>>) {
        let batch_id = submission.batch_id;
        let now = self.router.common.clock.now();
        let parts = self.parts(submission, now);
        let key = submission.idempotency.as_ref();
        let created = submission.specs.first().map(|spec| spec.create_time);
        let mut args = vec![
            batch_id.as_bytes().to_vec(),
            expected(submission.append).to_vec(),
            decimal(u8::from(submission.keep_open)),
            decimal(created.unwrap_or(now).0),
            key.map(|key| key.key.clone().into_bytes())
                .unwrap_or_default(),
            key.map(|key| key.hash.to_vec()).unwrap_or_default(),
            reply::encode_range(submission.ids).to_vec(),
            submission.ids.first.as_bytes().to_vec(),
        ];
        let (more, share) = (load(submission), self.capacity.share(self.partitions));
        args.push(parts.log);
        args.extend([more.tasks, more.bytes, share.tasks, share.bytes].map(decimal));
        args.push(submission.budget.map(decimal).unwrap_or_default());
        let [high, normal, low] = parts.ready;
        let timers = parts.timers.into_iter();
        let timers = timers.flat_map(|(deadline, range)| {
            [decimal(deadline.0), reply::encode_range(range).to_vec()]
        });
        for section in [
            parts.specs,
            parts.records,
            timers.collect(),
            high,
            normal,
            low,
            parts.waiting,
        ] {
            args.push(decimal(section.len()));
            args.extend(section);
        }
        (parts.ahead, args)
    }

    fn parts(&self, submission: &Submission, now: Timestamp) -> Parts {
        let batch_id = submission.batch_id;
        let keys = Keys::of(batch_id.partition());
        let epoch = self.router.common.ledger.epoch(batch_id.partition());
        let mut parts = Parts::default();
        for (id, spec) in submission.ids.iter().zip(&submission.specs) {
            let task = Task::new(id, batch_id, Arc::clone(spec), epoch);
            parts.records.push(keys.task(id));
            let apart = apart::of(&task);
            if apart.spec {
                let (fence, spec) = (task.fence(), record::encode_spec(spec));
                parts.specs.push(apart::name(id, fence));
                parts.ahead.push(apart::ahead(id, fence, spec));
            }
            parts.records.push(record::encode_without(&task, apart));
            parts.time(id, spec.deadline);
            parts.place(id, spec, spec.not_before.is_some_and(|time| time > now));
            parts.announce(id, batch_id);
        }
        parts
    }

    /// Binds a key to what this call is about to make, or finds what an earlier one bound it to. The key has a
    /// home of its own, since a later call with it may have drawn a batch in another partition.
    async fn claim_key(
        &self,
        idempotency: &Idempotency,
        submission: &Submission,
    ) -> Result<Accepted, Error> {
        let (partition, key) = self.home_of(idempotency);
        let mut value = idempotency.hash.to_vec();
        value.extend(submission.batch_id.as_bytes());
        value.extend(reply::encode_range(submission.ids));
        let window = decimal(IDEMPOTENCY_WINDOW.as_millis());
        let command = |name, args| Call {
            order: Order::Command(name),
            partition,
            args,
        };
        let bind = vec![key.clone(), value, b"NX".to_vec(), b"PX".to_vec(), window];
        let calls = [command("SET", bind), command("GET", vec![key])];
        let answers = self.router.run_each(&calls).await?;
        let odd = || reply::odd("an idempotency key");
        let bound = answers.last().and_then(reply::bytes).ok_or_else(odd)?;
        let (hash, made) = bound
            .split_at_checked(idempotency.hash.len())
            .ok_or_else(odd)?;
        let made = self.accepted(made).ok_or_else(odd)?;
        if hash != idempotency.hash || made.ids.count as usize != submission.specs.len() {
            return Err(Error::KeyReused);
        }
        Ok(made)
    }

    /// A refused call leaves its key free for a better one.
    async fn free_key(&self, idempotency: &Idempotency) -> Result<(), Error> {
        let (partition, key) = self.home_of(idempotency);
        let call = Call {
            order: Order::Command("DEL"),
            partition,
            args: vec![key],
        };
        self.router.run_each(&[call]).await.map(|_| ())
    }

    fn accepted(&self, bytes: &[u8]) -> Option<Accepted> {
        let (batch, range) = bytes.split_first_chunk::<16>()?;
        Some(Accepted {
            batch_id: BatchId::from_bytes(*batch),
            ids: reply::decode_range(range)?,
            durability: self.durability,
        })
    }

    fn home_of(&self, idempotency: &Idempotency) -> (u16, Vec<u8>) {
        let hash = blake3::hash(idempotency.key.as_bytes());
        let place = u64::from_be_bytes(std::array::from_fn(|byte| hash.as_bytes()[byte]));
        // As the service chooses it for a new batch: then one call does for both.
        let partition = u16::try_from(place % u64::from(self.partitions)).unwrap_or_default();
        (partition, Keys::of(partition).idempotency(&idempotency.key))
    }
}

/// What was answered to a submission.
struct Answered {
    answer: Value,
    durability: Durability,
    /// The server had no room for what goes ahead of the script, which sees what has come of it.
    is_full: bool,
}

fn is_full(ahead: &[Result<Value, Error>]) -> bool {
    ahead.iter().any(|it| matches!(it, Err(Error::Full(_))))
}

/// The parts of a submission as the script takes them.
#[derive(Default)]
struct Parts {
    /// Large specs, and what the script calls them.
    ahead: Vec<Call>,
    specs: Vec<Vec<u8>>,
    records: Vec<Vec<u8>>,
    /// Runs of tasks with the same deadline.
    timers: Vec<(Timestamp, IdRange)>,
    /// Most urgent first.
    ready: [Vec<Vec<u8>>; 3],
    waiting: Vec<Vec<u8>>,
    log: Vec<u8>,
}

impl Parts {
    /// The script compares those that seem to have to wait with the server's clock.
    fn place(&mut self, id: TaskId, spec: &Spec, waits: bool) {
        let id = id.as_bytes().to_vec();
        if waits {
            let due = spec.not_before.unwrap_or(spec.create_time);
            let priority = decimal(spec.priority as u8);
            self.waiting.extend([decimal(due.0), priority, id]);
            return;
        }
        self.ready[match spec.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        }]
        .push(id);
    }

    fn time(&mut self, id: TaskId, deadline: Timestamp) {
        match self.timers.last_mut() {
            Some((of, range)) if *of == deadline => range.count += 1,
            _ => self.timers.push((
                deadline,
                IdRange {
                    first: id,
                    count: 1,
                },
            )),
        }
    }

    fn announce(&mut self, task: TaskId, batch: BatchId) {
        let moved = Moved {
            task,
            batch,
            revision: 1,
            status: Status::Queued,
        };
        self.log.extend(message::encode_log_entry(&moved));
    }
}

fn load(submission: &Submission) -> Load {
    Load::of(submission.specs.iter().map(AsRef::as_ref))
}

fn expected(append: Append) -> &'static [u8] {
    match append {
        Append::New => b"new",
        Append::Open => b"open",
        Append::Retry => b"retry",
    }
}
