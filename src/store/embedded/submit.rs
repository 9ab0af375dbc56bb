//! Accepting tasks.

use super::{
    disk::{BatchRecord, KeyRecord, placed_key},
    index::{Live, Seat},
    machine::Machine,
    read::View,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Funds, IdRange, Task},
    store::{
        Accepted, Append, Durability, Error, IDEMPOTENCY_WINDOW, Idempotency, Load, Submission,
        record::{cbor, encode_spec_in},
    },
};

/// A submission with its specs already in bytes: the callers share that work, the writer is alone.
pub(super) struct Prepared {
    submission: Submission,
    specs: Vec<fjall::Slice>,
}

impl Prepared {
    /// Encodes the specs.
    pub(super) fn new(submission: Submission) -> Prepared {
        let mut memory = Vec::new();
        let specs = submission.specs.iter();
        let specs = specs.map(|spec| encode_spec_in(spec, &mut memory).into());
        Prepared {
            specs: specs.collect(),
            submission,
        }
    }
}

impl Machine {
    /// Accepts tasks, or answers what the same call made before.
    pub(super) fn submit(&mut self, prepared: Prepared) -> Result<Accepted, Error> {
        let Prepared { submission, specs } = prepared;
        let now = self.now();
        if let Some(made) = self.repeated(&submission, now)? {
            return Ok(made);
        }
        self.check(&submission)?;
        self.admit(&submission)?;
        let Submission {
            batch_id,
            ids,
            idempotency,
            ..
        } = submission;
        let first = match self.batches.get(&batch_id) {
            Some(record) => record.batch.counts.total(),
            None => 0,
        };
        let writes = &mut self.overlay.writes;
        writes.insert(&self.disk.range, placed_key(batch_id, first), cbor(&ids));
        for (id, spec) in ids.iter().zip(specs) {
            writes.insert(&self.disk.spec, id.as_bytes(), spec);
        }
        for (id, spec) in ids.iter().zip(&submission.specs) {
            let task = Task::new(id, batch_id, spec.clone(), self.disk.epoch);
            let live = Live::new(
                task.fence(),
                batch_id,
                spec.priority,
                task.due,
                spec.deadline,
                spec.weight(),
            )
            .costing(spec.max_cost())
            .since(self.group());
            self.record(task, None)?;
            self.index.queue(id, live, Seat::Tail, now);
        }
        if let Some(Idempotency { key, hash }) = idempotency {
            let record = KeyRecord {
                hash,
                batch_id,
                ids,
                expire_time: now + IDEMPOTENCY_WINDOW,
            };
            self.overlay.keys.insert(key, Some(record));
        }
        Ok(accepted(batch_id, ids))
    }

    /// What the submission made when it was here before.
    fn repeated(
        &mut self,
        submission: &Submission,
        now: Timestamp,
    ) -> Result<Option<Accepted>, Error> {
        if let Some(Idempotency { key, hash }) = &submission.idempotency {
            let record = match self.overlay.keys.get(key) {
                Some(record) => record.clone(),
                None => View::new(&self.disk).key(key, now)?,
            };
            if let Some(record) = record {
                if record.hash != *hash {
                    return Err(Error::KeyReused);
                }
                return Ok(Some(accepted(record.batch_id, record.ids)));
            }
        }
        // Without a key, a repeat after a lost answer shows by its ids, which the caller drew at random.
        let Submission { batch_id, ids, .. } = *submission;
        let is_here = self.batch(batch_id)?.is_some() && self.task(ids.first)?.is_some();
        Ok(is_here.then_some(accepted(batch_id, ids)))
    }

    /// Refuses what there is no room for; first, what would not be taken even if there were.
    fn check(&mut self, submission: &Submission) -> Result<(), Error> {
        let id = submission.batch_id;
        let is_open = self.batch(id)?.map(|record| record.batch.open);
        match (submission.append, is_open) {
            (Append::Open | Append::Retry, None) => return Err(Error::NoSuchBatch(id)),
            (Append::New, Some(_)) | (Append::Open, Some(false)) => {
                return Err(Error::BatchClosed(id));
            }
            _ => {}
        }
        self.vigil.check_room()?;
        let more = Load::of(submission.specs.iter().map(AsRef::as_ref));
        self.capacity.check(1, self.index.load(), more)
    }

    /// Opens the batch for the submission, or refuses it; nothing fails after this.
    fn admit(&mut self, submission: &Submission) -> Result<(), Error> {
        let id = submission.batch_id;
        let mut closed = false;
        match (submission.append, self.batch(id)?) {
            (Append::New, None) => {
                let create_time = submission
                    .specs
                    .first()
                    .map_or(Timestamp::default(), |spec| spec.create_time);
                let mut batch = Batch::new(id, create_time);
                batch.open = submission.keep_open;
                batch.funds = submission.budget.map(Funds::new);
                let record = BatchRecord {
                    batch,
                    log_end: 0,
                    keep_until: create_time,
                };
                self.batches.insert(id, record);
            }
            (Append::Open | Append::Retry, None) => return Err(Error::NoSuchBatch(id)),
            (Append::Open, Some(record)) if record.batch.open => {
                record.batch.open = submission.keep_open;
                closed = !submission.keep_open;
            }
            (Append::New | Append::Open, Some(_)) => return Err(Error::BatchClosed(id)),
            (Append::Retry, Some(_)) => {}
        }
        if closed {
            self.overlay.amended.push(id);
        }
        self.overlay.batches.insert(id);
        Ok(())
    }
}

/// Every group of changes is on disk before it is answered.
fn accepted(batch_id: BatchId, ids: IdRange) -> Accepted {
    Accepted {
        batch_id,
        ids,
        durability: Durability::Fsync,
    }
}
