//! Rebuilding the writer's memory from disk.

use super::{
    begun::Lost,
    disk::{BatchRecord, corrupt, read_error},
    index::{Live, Seat},
    machine::Machine,
    promise::Promise,
};
use crate::{
    model::{Event, Fence, Illegal, Priority, Status, Task, TaskId, retry},
    store::{
        Error,
        record::{Fault, Head, from_cbor},
    },
};

/// Tasks moved by one write while the store opens; bounds memory.
const RECOVERY_GROUP: usize = 1_024;

impl Machine {
    /// Reads all live tasks and batches. A task found processing has lost its worker for certain: it is moved on,
    /// durably, before anybody can ask.
    ///
    /// `lost` says of which attempts it is known although they are not in the database.
    pub(super) fn boot(&mut self, promise: &mut Promise, lost: &Lost) -> Result<(), Error> {
        self.boot_batches()?;
        let held = self.boot_tasks(lost)?;
        // Last to first, each to the head: they come out in order.
        for group in held.rchunks(RECOVERY_GROUP) {
            for id in group.iter().rev() {
                self.recover(*id, lost)?;
            }
            let flight = self.take_off();
            let landing = flight.write(&self.disk, promise).map_err(write_error)?;
            landing.end(self);
        }
        Ok(())
    }

    fn boot_batches(&mut self) -> Result<(), Error> {
        for entry in self.disk.batch.iter() {
            let bytes = entry.value().map_err(read_error)?;
            let record: BatchRecord = from_cbor(&bytes, "batch").map_err(corrupt)?;
            // A done batch as well: a retry may add to it.
            if record.batch.parked.is_some() {
                self.index.park(record.batch.id);
            }
            if record.batch.funds.is_some_and(|it| it.short.is_some()) {
                self.index.hold_short(record.batch.id);
            }
            if record.batch.is_done() {
                continue;
            }
            self.batches.insert(record.batch.id, record);
        }
        Ok(())
    }

    /// Queues what is queued, in order of submission as the ids tell it; answers what was processing.
    fn boot_tasks(&mut self, lost: &Lost) -> Result<Vec<TaskId>, Error> {
        let disk = self.disk.clone();
        let now = self.now();
        let mut held = Vec::new();
        for entry in disk.state.iter() {
            let (key, bytes) = entry.into_inner().map_err(read_error)?;
            let id = <[u8; 16]>::try_from(&key[..])
                .map(TaskId::from_bytes)
                .map_err(|_| Error::Corrupt("a task's key does not have 16 bytes".into()))?;
            // The head alone: most tasks of a long-lived store are terminal, and need not be decoded.
            let head = Head::decode(&bytes).map_err(|fault| unreadable(id, &fault))?;
            if head.status.is_terminal() {
                continue;
            }
            let live = live(id, &head)?;
            let was_begun = lost
                .get(&id)
                .is_some_and(|(it, _)| *it == head.revision + 1);
            if head.status == Status::Processing || was_begun {
                self.index.add_held(id, live, now);
                held.push(id);
            } else {
                self.index.queue(id, live, Seat::Tail, now);
            }
        }
        Ok(held)
    }

    fn recover(&mut self, id: TaskId, lost: &Lost) -> Result<(), Error> {
        let now = self.now();
        let mut task = Task::clone(&*self.stored(id)?);
        let Some(live) = self.index.get(id) else {
            return Ok(());
        };
        let illegal = |illegal: Illegal| Error::Corrupt(illegal.to_string());
        if task.status() == Status::Queued
            && let Some((_, worker)) = lost.get(&id)
        {
            let event = Event::Acquired { worker: *worker };
            task.apply(event, now).map_err(illegal)?;
            self.record(task.clone(), Some(Status::Queued))?;
        }
        task.apply(retry::after_lost_worker(&task), now)
            .map_err(illegal)?;
        let head = self.index.reserve_head(1);
        self.record(task.clone(), Some(Status::Processing))?;
        self.requeue_or_end(&task, live, head, now);
        self.let_go_on(task.batch_id);
        Ok(())
    }
}

fn live(id: TaskId, head: &Head) -> Result<Live, Error> {
    let priority = Priority::from_code(head.priority)
        .ok_or_else(|| Error::Corrupt(format!("the priority of task {id} is not known")))?;
    let fence = Fence {
        epoch: head.epoch,
        revision: head.revision,
    };
    Ok(Live::new(
        fence,
        head.batch_id,
        priority,
        head.due,
        head.deadline,
        u64::from(head.weight),
    )
    .costing(u64::from(head.max_cost_micros) * 1_000))
}

fn unreadable(id: TaskId, fault: &Fault) -> Error {
    Error::Corrupt(format!("the record of task {id}: {fault}"))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "fits `map_err`, which gives values"
)]
fn write_error(error: fjall::Error) -> Error {
    Error::Unavailable(format!("the database cannot be written: {error}"))
}
