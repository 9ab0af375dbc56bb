//! All that can be read of a store, and what of it must be the same on another.

use tidings::{
    clock::Timestamp,
    model::{Batch, Task, TaskId},
    store::{Log, Lookup, Output},
};

use super::{
    command::World,
    side::{Reply, Side},
};

/// Small enough that listings take several pages.
const PAGE: usize = 7;

/// All that can be read.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    tasks: Vec<Lookup>,
    outputs: Vec<Option<Output>>,
    overdue: Vec<Task>,
    logs: Vec<Option<Log>>,
    batches: Vec<Option<Batch>>,
    listing: Vec<TaskId>,
    processing: u64,
    bytes: u64,
}

impl Side {
    /// Reads all there is.
    pub(super) async fn view(&self, world: &World) -> View {
        let (mut logs, mut batches) = (Vec::new(), Vec::new());
        for id in &world.batches {
            logs.push(self.store.log(*id, 0, 10_000).await.unwrap());
            batches.push(self.store.batch(*id).await.unwrap());
        }
        let (mut listing, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.list(None, cursor, PAGE).await.unwrap();
            listing.extend(page.ids);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let mut outputs = Vec::new();
        for id in &world.tasks {
            outputs.push(self.store.output(*id, 0).await.unwrap());
        }
        let stats = self.store.stats().await.unwrap();
        View {
            tasks: self.store.tasks(&world.tasks).await.unwrap(),
            outputs,
            overdue: self.overdue().await,
            logs,
            batches,
            listing,
            processing: stats.processing,
            bytes: stats.bytes,
        }
    }
}

impl View {
    /// Without what may differ.
    pub(super) fn plain(mut self, is_timed: bool) -> View {
        for lookup in &mut self.tasks {
            if let Lookup::Found(task) = lookup {
                plain_task(task, is_timed);
            }
        }
        self.overdue
            .iter_mut()
            .for_each(|task| plain_task(task, is_timed));
        for log in self.logs.iter_mut().flatten() {
            plain_batch(&mut log.batch, is_timed);
        }
        self.batches
            .iter_mut()
            .flatten()
            .for_each(|batch| plain_batch(batch, is_timed));
        if !is_timed {
            // Batches of one millisecond may stand either way round.
            self.listing.sort_unstable();
        }
        self
    }
}

/// A reply without what may differ.
pub(super) fn plain_reply(mut reply: Reply, is_timed: bool) -> Reply {
    match &mut reply {
        Reply::Acquired(tasks) => tasks.iter_mut().for_each(|task| plain_task(task, is_timed)),
        Reply::Amended(Some(batch)) => plain_batch(batch, is_timed),
        _ => {}
    }
    reply
}

fn plain_task(task: &mut Task, is_timed: bool) {
    task.epoch = 0;
    if !is_timed {
        task.due = Timestamp(0);
        task.history
            .iter_mut()
            .for_each(|transition| transition.at = Timestamp(0));
    }
}

fn plain_batch(batch: &mut Batch, is_timed: bool) {
    if !is_timed {
        batch.last_end_time = batch.last_end_time.map(|_| Timestamp(0));
        if let Some(parked) = &mut batch.parked {
            parked.time = Timestamp(0);
        }
    }
}
