//! Moves tasks whose time has run out: those of lost workers back to the queue, those past their deadline to error.
//! Every process runs one; the store's compare makes that safe without a leader.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::jittered;
use crate::{
    clock::Timestamp,
    journal,
    model::{Event, Task, retry},
    store::{Commit, Error, Guard, Store, Verdict, output::so_far},
};

/// Bounds one look at the store.
const MAX_BATCH: usize = 200;
/// Recovery is promised within two seconds of a lease's end, and a deadline is kept about as exactly.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);
/// Before the first look; a little, so that replicas started together do not look in step.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// What renewals may take beyond a lease once they are possible again: a call's time-out and a new connection.
const SETTLING: Duration = Duration::from_secs(2);
/// A store's clock that is this far from where it was expected has been set, or was read from another machine.
const LEAP: Duration = Duration::from_secs(1);

/// Reaps until `stop`.
pub(super) async fn run(store: Arc<dyn Store>, lease: Duration, stop: CancellationToken) {
    let period = (lease / 3).min(LONGEST_PERIOD);
    // The first look is at once: replicas that never live long must bring tasks back as well.
    let mut pause = FIRST_LOOK;
    let mut trust = Trust::new(store.now());
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        pause = match look(store.as_ref(), &mut trust, lease).await {
            Ok(true) => period,
            // Jitter takes up to half of it.
            Ok(false) => 2 * (lease + SETTLING),
            Err(error) => {
                tracing::warn!(%error, "reaping failed; trying again");
                trust.away_since.get_or_insert_with(Instant::now);
                period
            }
        };
    }
}

/// What tells the leases of lost workers from those that could not be renewed.
struct Trust {
    /// Since when the store has not answered.
    away_since: Option<Instant>,
    /// What the store's clock showed, and when.
    seen: (Timestamp, Instant),
}

impl Trust {
    fn new(now: Timestamp) -> Self {
        Trust {
            away_since: None,
            seen: (now, Instant::now()),
        }
    }

    /// Whether the store's clock has leapt ahead since the last look.
    fn has_leapt(&mut self, now: Timestamp) -> bool {
        let (before, at) = std::mem::replace(&mut self.seen, (now, Instant::now()));
        now > before + at.elapsed() + LEAP
    }
}

/// Looks once. False when leases may have run out although their workers live: once the store is back from longer than
/// renewals are apart, or its clock has been set, they get the time to be renewed.
async fn look(store: &dyn Store, trust: &mut Trust, lease: Duration) -> Result<bool, Error> {
    if let Some(since) = trust.away_since {
        store.stats().await?;
        trust.away_since = None;
        if since.elapsed() > lease / 3 {
            trust.has_leapt(store.now());
            return Ok(false);
        }
    }
    reap(store, trust).await
}

/// Moves what is overdue. False when the store's clock turns out to have leapt.
async fn reap(store: &dyn Store, trust: &mut Trust) -> Result<bool, Error> {
    loop {
        let tasks = store.overdue(MAX_BATCH).await?;
        if trust.has_leapt(store.now()) {
            tracing::warn!("the store's clock was set forward; leases get the time to be renewed");
            return Ok(false);
        }
        let full = tasks.len() == MAX_BATCH;
        let said = join_all(tasks.iter().map(|task| so_far(store, task))).await;
        let commits: Vec<Commit> = tasks
            .into_iter()
            .zip(said)
            .filter_map(|(task, said)| ended(task, &said, store))
            .collect();
        if commits.is_empty() {
            return Ok(true);
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
            return Ok(true);
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

/// What becomes of a task, whose attempt has put this out.
fn ended(mut task: Task, said: &str, store: &dyn Store) -> Option<Commit> {
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
    task.keep_partial(said);
    Some(Commit {
        task,
        fence,
        from,
        guard,
        park: None,
    })
}
