//! Around a store that reads everything back: keeps in mind what its process has just written for whoever follows a batch,
//! but not how logs end. Of the stores that are served, each does more than that by itself.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tidings::{
    clock::Timestamp,
    model::{Batch, BatchId, CacheKey, Task, TaskId, WorkerId},
    store::{
        Accepted, Acquired, Amendment, Bid, Change, Commit, Cursor, Error, Extension, Info, Lead,
        Listing, Log, Lookup, Output, Recent, Renewal, Slot, Stats, Store, Submission, Swap,
        Verdict,
    },
};
use tokio::sync::broadcast;

/// The store that it is made of, and what went through it.
#[derive(Debug)]
pub(crate) struct Recalling {
    store: Arc<dyn Store>,
    recent: Recent,
}

impl Recalling {
    /// That store, nothing known yet.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Recalling {
            store,
            recent: Recent::default(),
        }
    }
}

#[async_trait]
impl Store for Recalling {
    fn info(&self) -> Info {
        self.store.info()
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.store.changes()
    }

    fn recent(&self) -> Option<&Recent> {
        Some(&self.recent)
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        let (batch, ids) = (submission.batch_id, submission.ids);
        // Read before the call, so that it is not later than the epoch of the write.
        let followed = self.recent.epoch(batch);
        let specs = followed.map(|epoch| (epoch, submission.specs.clone()));
        let accepted = self.store.submit(submission).await?;
        if let Some((epoch, specs)) = specs
            && (accepted.batch_id, accepted.ids) == (batch, ids)
        {
            self.recent.accepted(batch, ids, &specs, epoch);
        }
        Ok(accepted)
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        let acquired = self.store.acquire(worker, max, lease).await?;
        let chosen = self.recent.chosen(acquired.tasks.iter());
        self.recent.wrote(chosen.into_iter().flatten());
        Ok(acquired)
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        let chosen = self.recent.chosen(commits.iter().map(|it| &it.task));
        let verdicts = self.store.commit(commits).await?;
        let written = chosen.into_iter().zip(&verdicts);
        let written = written.filter(|(_, verdict)| **verdict == Verdict::Applied);
        self.recent.wrote(written.filter_map(|(task, _)| task));
        Ok(verdicts)
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        let renewed = self.store.renew(renewals, lease).await;
        // Whatever came of it: it may have been carried out.
        self.recent.progressed(renewals);
        renewed
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        self.store.extend(extensions).await
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.store.output(id, from).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.store.overdue(max).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.store.tasks(ids).await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.store.batch(id).await
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.store.log(id, from, max).await
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.store.list(batch, cursor, max).await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.store.amend(id, amendment).await
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.store.bid(bid).await
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        self.store.forget(keys).await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.store.sweep().await
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        self.store.swap(swap).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.store.stats().await
    }
}
