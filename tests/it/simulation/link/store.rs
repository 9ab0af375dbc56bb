//! The calls of the store, each over the line and written down as the store did it.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tidings::{
    clock::Timestamp,
    model::{Batch, BatchId, CacheKey, Cause, Task, TaskId, WorkerId},
    store::{
        Accepted, Acquired, Amendment, Bid, Change, Commit, Cursor, Error, Extension, Info, Lead,
        Listing, Log, Lookup, Output, Renewal, Slot, Stats, Store, Submission, Swap, Verdict,
    },
};
use tokio::sync::broadcast;

use super::{Link, short};

/// The model answers at once.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("the model does not wait")
}

#[async_trait]
impl Store for Link {
    fn info(&self) -> Info {
        self.model.info()
    }

    fn now(&self) -> Timestamp {
        self.model.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        self.call("submit", |model| at_once(model.submit(submission.clone())))
            .await
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.call("acquire", |model| {
            let acquired = at_once(model.acquire(worker, max, lease))?;
            self.ledger
                .acquired(self.number, worker, &acquired.tasks, lease);
            for task in &acquired.tasks {
                let (id, revision) = (short(&task.id), task.revision());
                self.ledger
                    .trace(|| format!("r{} acquires {id}@{revision}", self.number));
            }
            Ok(acquired)
        })
        .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        let is_reaper = |commit: &Commit| {
            let cause = commit.task.last().cause;
            matches!(cause, Cause::LeaseExpired | Cause::Poisoned)
        };
        let name = match commits.iter().any(is_reaper) {
            true => "reap",
            false => "commit",
        };
        self.call(name, |model| {
            let verdicts = at_once(model.commit(commits.clone()))?;
            self.ledger.committed(&commits, &verdicts);
            for (commit, verdict) in commits.iter().zip(&verdicts) {
                let (id, last) = (short(&commit.task.id), commit.task.last());
                let (revision, cause) = (commit.task.revision(), last.cause);
                self.ledger.trace(|| {
                    format!(
                        "r{} commits {id}@{revision} {cause:?}: {verdict:?}",
                        self.number
                    )
                });
            }
            Ok(verdicts)
        })
        .await
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        self.call("renew", |model| {
            let kept = at_once(model.renew(renewals, lease))?;
            for (renewal, kept) in renewals.iter().zip(&kept) {
                if *kept {
                    self.ledger.renewed(renewal.id, lease);
                }
                let id = short(&renewal.id);
                self.ledger
                    .trace(|| format!("r{} renews {id}: {kept}", self.number));
            }
            Ok(kept)
        })
        .await
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        self.call("extend", |model| at_once(model.extend(extensions)))
            .await
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.call("output", |model| at_once(model.output(id, from)))
            .await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.call("overdue", |model| at_once(model.overdue(max)))
            .await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.call("tasks", |model| at_once(model.tasks(ids))).await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.call("batch", |model| at_once(model.batch(id))).await
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.call("log", |model| at_once(model.log(id, from, max)))
            .await
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.call("list", |model| at_once(model.list(batch, cursor, max)))
            .await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.call("amend", |model| at_once(model.amend(id, amendment)))
            .await
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.call("bid", |model| at_once(model.bid(bid))).await
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        self.call("forget", |model| at_once(model.forget(keys)))
            .await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.call("sweep", |model| at_once(model.sweep())).await
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        self.call("swap", |model| at_once(model.swap(swap.clone())))
            .await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.call("stats", |model| at_once(model.stats())).await
    }
}
