//! Commits what became of tasks: everything that has ended since the last commit goes into the next.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use super::{backoff::Backoff, held::Held, slot::Slot};
use crate::{
    journal,
    model::{Event, Fence, Status, Task, TaskId},
    store::{Commit, Error, Guard, Store, Verdict},
};

/// Bounds one commit's size, and so the time others wait for the store.
const MAX_BATCH: usize = 256;

/// A task that ended its attempt.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) task: Arc<Task>,
    pub(super) event: Event,
    /// What it had put out.
    pub(super) said: String,
    /// Kept until the commit, so that a slow store slows the pool down in the end instead of filling memory.
    pub(super) _slot: Option<Slot>,
}

/// What is left of a task once its commit is made.
struct Left {
    id: TaskId,
    fence: Fence,
    _slot: Option<Slot>,
}

/// Commits until every sender is gone and everything sent is committed.
pub(super) async fn run(
    store: Arc<dyn Store>,
    held: Arc<Held>,
    mut finished: mpsc::UnboundedReceiver<Finished>,
) {
    let store = store.as_ref();
    let mut ended = Vec::with_capacity(MAX_BATCH);
    while finished.recv_many(&mut ended, MAX_BATCH).await > 0 {
        let (lefts, commits): (Vec<Left>, Vec<Option<Commit>>) =
            ended.drain(..).map(|ended| commit(store, ended)).unzip();
        let commits: Vec<Commit> = commits.into_iter().flatten().collect();
        if let Some(verdicts) = commit_all(store, &commits).await {
            record(&commits, &verdicts);
        }
        for left in &lefts {
            held.remove(left.id, left.fence);
        }
        // Only now are the slots free again.
        drop(lefts);
    }
}

fn record(commits: &[Commit], verdicts: &[Verdict]) {
    let (applied, late): (Vec<_>, Vec<_>) = commits
        .iter()
        .zip(verdicts)
        .partition(|(_, verdict)| **verdict == Verdict::Applied);
    journal::all_moved(applied.iter().map(|(commit, _)| &commit.task));
    for (commit, _) in late {
        journal::fenced(&commit.task);
    }
    let mut parked = BTreeMap::new();
    for (commit, _) in applied {
        // Once for all tasks of the batch that come back together.
        parked.extend(commit.park.as_ref().map(|why| (commit.task.batch_id, why)));
    }
    for (batch, why) in parked {
        journal::parked(batch, why);
    }
}

fn commit(store: &dyn Store, finished: Finished) -> (Left, Option<Commit>) {
    let left = Left {
        id: finished.task.id,
        fence: finished.task.fence(),
        _slot: finished._slot,
    };
    let park = match &finished.event {
        Event::Parked { parked, .. } => Some(parked.clone()),
        _ => None,
    };
    let mut task = Arc::unwrap_or_clone(finished.task);
    if let Err(error) = task.apply(finished.event, store.now()) {
        tracing::error!(task = %task.id, %error, "outcome dropped");
        return (left, None);
    }
    task.keep_partial(&finished.said);
    let commit = Commit {
        task,
        fence: left.fence,
        from: Status::Processing,
        guard: Guard::None,
        park,
    };
    (left, Some(commit))
}

/// Tries until the store answers, however long that takes: while it is away nobody else can take the tasks, the fence
/// makes a repeated commit harmless, and a result may have been paid for. The slots bound what waits.
async fn commit_all(store: &dyn Store, commits: &[Commit]) -> Option<Vec<Verdict>> {
    let mut backoff = Backoff::default();
    loop {
        match store.commit(commits.to_vec()).await {
            Ok(verdicts) => return Some(verdicts),
            Err(error @ (Error::Unavailable(_) | Error::Full(_))) => {
                tracing::warn!(%error, tasks = commits.len(), "commit failed; trying again");
                backoff.pause().await;
            }
            Err(error) => {
                // The leases run out and the tasks run again.
                tracing::error!(%error, tasks = commits.len(), "commit failed for good");
                return None;
            }
        }
    }
}
