//! Moves tasks whose time has run out: those of lost workers back to the queue, those past their deadline to error.
//! Every process runs one; the store's compare makes that safe without a leader.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::backoff::jittered;
use crate::{
    journal,
    model::{Event, Task, retry},
    store::{Commit, Error, Guard, Store, Verdict},
};

/// Bounds one look at the store.
const MAX_BATCH: usize = 200;
/// Recovery is promised within two seconds of a lease's end, and a deadline is kept about as exactly.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// Before the first look; a little, so that replicas started together do not look in step.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// Reaps until `stop`.
pub(super) async fn run(store: Arc<dyn Store>, lease: Duration, stop: CancellationToken) {
    let period = (lease / 3).min(LONGEST_PERIOD);
    // The first look is at once: replicas that never live long must bring tasks back as well.
    let mut pause = FIRST_LOOK;
    let mut away = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        // Leases that could not be renewed while the store was away are not those of lost workers: once it is back
        // they get the time to be renewed.
        let looked = if away {
            store.stats().await.map(|_| ())
        } else {
            reap(store.as_ref()).await
        };
        pause = if away && looked.is_ok() {
            2 * lease
        } else {
            period
        };
        away = looked.is_err();
        if let Err(error) = looked {
            tracing::warn!(%error, "reaping failed; trying again");
        }
    }
}

async fn reap(store: &dyn Store) -> Result<(), Error> {
    loop {
        let tasks = store.overdue(MAX_BATCH).await?;
        let full = tasks.len() == MAX_BATCH;
        let commits: Vec<Commit> = tasks
            .into_iter()
            .filter_map(|task| ended(task, store))
            .collect();
        if commits.is_empty() {
            return Ok(());
        }
        let mut parts: BTreeMap<u16, Vec<Commit>> = BTreeMap::new();
        for commit in commits {
            let part = parts.entry(commit.task.id.partition()).or_default();
            part.push(commit);
        }
        // A part of the store that is away must not keep the tasks of the others from coming back.
        let applied: usize = join_all(parts.into_values().map(|part| commit(store, part)))
            .await
            .into_iter()
            .sum();
        if !full || applied == 0 {
            return Ok(());
        }
    }
}

/// Commits, and answers how many tasks were moved.
async fn commit(store: &dyn Store, commits: Vec<Commit>) -> usize {
    let moved: Vec<Task> = commits.iter().map(|commit| commit.task.clone()).collect();
    let verdicts = match store.commit(commits).await {
        Ok(verdicts) => verdicts,
        Err(error) => {
            tracing::warn!(%error, "tasks whose time ran out could not be moved; trying again");
            return 0;
        }
    };
    let applied = moved.iter().zip(&verdicts);
    let applied = applied.filter(|(_, verdict)| **verdict == Verdict::Applied);
    applied.inspect(|(task, _)| journal::moved(task)).count()
}

fn ended(mut task: Task, store: &dyn Store) -> Option<Commit> {
    let (from, fence) = (task.status(), task.fence());
    let now = store.now();
    let (event, guard) = if task.spec.deadline <= now {
        // Its worker, if it has one, would do the same; it may be stuck.
        let mut failure = task.deadline_failure();
        failure.maybe_billed = task.sent;
        (Event::DeadlinePassed(failure), Guard::None)
    } else {
        (retry::after_lost_worker(&task), Guard::LeaseExpired)
    };
    task.apply(event, now).ok()?;
    Some(Commit {
        task,
        fence,
        from,
        guard,
        park: None,
    })
}
