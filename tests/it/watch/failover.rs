//! A store that fails over: from then on another one answers, under a later epoch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings::{
    clock::Timestamp,
    model::{Batch, BatchId, CacheKey, Task, TaskId, WorkerId},
    store::{
        Accepted, Acquired, Amendment, Bid, Change, Commit, Cursor, Error, Extension, Info, Lead,
        Listing, Log, Lookup, Output, Renewal, Slot, Stats, Store, Submission, Swap, Verdict,
    },
};
use tokio::sync::{broadcast, watch};

/// A store before those that take its place one after the other.
#[derive(Debug)]
pub(super) struct Failover {
    present: Mutex<(Arc<dyn Store>, u32)>,
    next: Mutex<Option<(Arc<dyn Store>, u32)>>,
    reads: AtomicUsize,
    task_reads: AtomicUsize,
    hides_beginnings: AtomicBool,
    holds_logs: watch::Sender<bool>,
}

impl Failover {
    /// A store in its first epoch.
    pub(super) fn before(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Failover {
            present: Mutex::new((store, 1)),
            next: Mutex::new(None),
            reads: AtomicUsize::new(0),
            task_reads: AtomicUsize::new(0),
            hides_beginnings: AtomicBool::new(false),
            holds_logs: watch::Sender::new(false),
        })
    }

    /// From now on `other` answers, in this epoch. Nobody is told.
    pub(super) fn to(&self, other: Arc<dyn Store>, epoch: u32) {
        *self.present.lock() = (other, epoch);
    }

    /// As [`Failover::to`], once a log has been read.
    pub(super) fn to_after_a_log(&self, other: Arc<dyn Store>, epoch: u32) {
        *self.next.lock() = Some((other, epoch));
    }

    /// The next epoch begins, and nothing is lost.
    pub(super) fn lose_nothing(&self) {
        self.present.lock().1 += 1;
    }

    /// Whether the first entries of a batch's log cannot be read.
    pub(super) fn hide_beginnings(&self, hides: bool) {
        self.hides_beginnings.store(hides, Ordering::SeqCst);
    }

    /// The store that answers now.
    pub(super) fn present(&self) -> Arc<dyn Store> {
        self.present.lock().0.clone()
    }

    /// How often a batch's log was read.
    pub(super) fn log_reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many tasks were read.
    pub(super) fn task_reads(&self) -> usize {
        self.task_reads.load(Ordering::SeqCst)
    }

    /// Whether reads of logs, once they are counted, wait.
    pub(super) fn hold_logs(&self, holds: bool) {
        self.holds_logs.send_replace(holds);
    }

    fn epoch(&self) -> u32 {
        self.present.lock().1
    }
}

#[async_trait]
impl Store for Failover {
    fn info(&self) -> Info {
        Info {
            epoch: self.epoch(),
            ..self.present().info()
        }
    }

    fn now(&self) -> Timestamp {
        self.present().now()
    }

    /// Those of the first store.
    fn changes(&self) -> broadcast::Receiver<Change> {
        self.present().changes()
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        self.present().submit(submission).await
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.present().acquire(worker, max, lease).await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        self.present().commit(commits).await
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        self.present().renew(renewals, lease).await
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        self.present().extend(extensions).await
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.present().output(id, from).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.present().overdue(max).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.task_reads.fetch_add(ids.len(), Ordering::SeqCst);
        let epoch = self.epoch();
        let mut lookups = self.present().tasks(ids).await?;
        for lookup in &mut lookups {
            if let Lookup::Found(task) = lookup {
                task.epoch = epoch;
            }
        }
        Ok(lookups)
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.present().batch(id).await
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if from == 0 && self.hides_beginnings.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("told to be away".into()));
        }
        let mut holds = self.holds_logs.subscribe();
        holds.wait_for(|holds| !holds).await.unwrap();
        let epoch = self.epoch();
        let log = self.present().log(id, from, max).await?;
        if let Some(next) = self.next.lock().take() {
            *self.present.lock() = next;
        }
        Ok(log.map(|log| Log { epoch, ..log }))
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.present().list(batch, cursor, max).await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.present().amend(id, amendment).await
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.present().bid(bid).await
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        self.present().forget(keys).await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.present().sweep().await
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        self.present().swap(swap).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.present().stats().await
    }
}
