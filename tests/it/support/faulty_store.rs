//! A store whose feed and whose reads fail, and whose commits wait, as a test says.

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

/// More than any test has under way.
const CHANGES: usize = 4_096;

/// A store before another one.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    heard: Mutex<broadcast::Receiver<Change>>,
    changes: broadcast::Sender<Change>,
    copies: AtomicUsize,
    fails_reads: AtomicBool,
    holds_commits: watch::Sender<bool>,
    renewals: AtomicUsize,
}

impl FaultyStore {
    /// A store without fault, for now.
    pub(crate) fn before(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(FaultyStore {
            heard: Mutex::new(inner.changes()),
            inner,
            changes: broadcast::channel(CHANGES).0,
            copies: AtomicUsize::new(1),
            fails_reads: AtomicBool::new(false),
            holds_commits: watch::Sender::new(false),
            renewals: AtomicUsize::new(0),
        })
    }

    /// How often each hint from now on arrives; 0 loses them all.
    pub(crate) fn repeat_hints(&self, copies: usize) {
        self.copies.store(copies, Ordering::SeqCst);
    }

    /// Announces that hints were lost.
    pub(crate) fn tell_gap(&self) {
        self.send(Change::Gap);
    }

    /// Hints at something, whether it is so or not.
    pub(crate) fn hint(&self, change: Change) {
        self.send(change);
    }

    /// Whether tasks and batches can be read. Writes always work.
    pub(crate) fn fail_reads(&self, fails: bool) {
        self.fails_reads.store(fails, Ordering::SeqCst);
    }

    /// Whether commits wait before anything is written.
    pub(crate) fn hold_commits(&self, holds: bool) {
        self.holds_commits.send_replace(holds);
    }

    /// How often leases were renewed.
    pub(crate) fn renewals(&self) -> usize {
        self.renewals.load(Ordering::SeqCst)
    }

    fn reads(&self) -> Result<(), Error> {
        if self.fails_reads.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("told to be away".into()));
        }
        Ok(())
    }

    /// Passes on what the call before has announced.
    fn wrote<T>(&self, reply: T) -> T {
        let mut heard = self.heard.lock();
        while let Ok(change) = heard.try_recv() {
            for _ in 0..self.copies.load(Ordering::SeqCst) {
                self.send(change.clone());
            }
        }
        reply
    }

    fn send(&self, change: Change) {
        // Nobody listening is no fault.
        let _ = self.changes.send(change);
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        self.wrote(self.inner.submit(submission).await)
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.wrote(self.inner.acquire(worker, max, lease).await)
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        let mut holds = self.holds_commits.subscribe();
        // The store outlives whoever calls it.
        let _ = holds.wait_for(|holds| !holds).await;
        self.wrote(self.inner.commit(commits).await)
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        self.wrote(self.inner.renew(renewals, lease).await)
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        self.wrote(self.inner.extend(extensions).await)
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.reads()?;
        self.inner.output(id, from).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.inner.overdue(max).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.reads()?;
        self.inner.tasks(ids).await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.reads()?;
        self.inner.batch(id).await
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.reads()?;
        self.inner.log(id, from, max).await
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.reads()?;
        self.inner.list(batch, cursor, max).await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.wrote(self.inner.amend(id, amendment).await)
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.wrote(self.inner.bid(bid).await)
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        self.wrote(self.inner.forget(keys).await)
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.wrote(self.inner.sweep().await)
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        self.inner.swap(swap).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.reads()?;
        self.inner.stats().await
    }
}
