//! What has to be true in the end, whatever went wrong on the way.

use std::collections::BTreeSet;

use tidings::{
    model::{Cause, Status, Task, TaskId, Transition, WorkerId, retry::MAX_CRASHES},
    store::{Lookup, Store as _},
};

use super::{
    clock::{millis, since_start},
    ledger::{Accepted, Book, short},
    plan::{Job, LEASE},
    work,
    world::World,
};
use crate::support::history::{self, Law, Seen};

/// A task of a crashed worker is taken from it within a lease and this, in milliseconds.
const RECOVERY: u64 = 2_000;

/// Everything that is wrong with how a run has ended.
pub(super) async fn faults(world: &World) -> Vec<String> {
    let mut faults = Vec::new();
    let accepted = world.ledger.book(|book| book.accepted.clone());
    for batch in &accepted {
        let ids: Vec<TaskId> = batch.tasks.iter().map(|(id, _)| *id).collect();
        let lookups = world.model.tasks(&ids).await.unwrap();
        for ((id, job), lookup) in batch.tasks.iter().zip(lookups) {
            let found = match lookup {
                Lookup::Found(task) => judge(world, &task, job),
                _ => missing(world, batch),
            };
            faults.extend(
                found
                    .into_iter()
                    .map(|fault| format!("task {}: {fault}", short(id))),
            );
        }
        faults.extend(counted(world, batch).await);
    }
    faults.extend(world.ledger.book(|book| std::mem::take(&mut book.faults)));
    faults
}

fn missing(world: &World, batch: &Accepted) -> Vec<String> {
    let book = |book: &mut Book| book.may_be_lost(batch.asked, batch.answered);
    match world.ledger.book(book) {
        true => Vec::new(),
        false => vec!["it was accepted and is lost".into()],
    }
}

/// The batch's counters say what its tasks say.
async fn counted(world: &World, accepted: &Accepted) -> Option<String> {
    let batch = world.model.batch(accepted.batch).await.unwrap()?;
    let total = accepted.tasks.len() as u64;
    let is_right = batch.is_done() && batch.counts.total() == total;
    (!is_right).then(|| {
        let id = short(&accepted.batch);
        format!("batch {id} of {total} counts {:?}", batch.counts)
    })
}

fn judge(world: &World, task: &Task, job: &Job) -> Vec<String> {
    let mut faults = Vec::new();
    let law = Law {
        max_attempts: u32::MAX,
        is_complete: true,
    };
    if let Err(fault) = history::check(&seen(task), law) {
        faults.push(fault.to_string());
    }
    for (entry, revision) in task.history.iter().zip(1..) {
        let at = (u64::from(task.epoch), revision);
        let what = (entry.status, entry.attempt);
        world.ledger.told("the store", task.id, at, what);
    }
    let is_rolled_back = world.plan.rolls_back();
    world.ledger.book(|book| {
        let steps = task.history.windows(2);
        faults.extend(steps.filter_map(|step| excuse(book, task, &step[0], &step[1])));
        faults.extend(answered(task));
        faults.extend(charged(task, job));
        faults.extend(cancelled(book, task));
        if !is_rolled_back {
            faults.extend(executed(book, task));
            let steps = task.history.windows(2);
            faults.extend(steps.filter_map(|step| recovered(book, &step[0], &step[1])));
        }
    });
    faults
}

fn seen(task: &Task) -> Vec<Seen<TaskId>> {
    let told = task.history.iter().zip(1..);
    told.map(|(entry, revision)| Seen {
        task: task.id,
        revision,
        status: entry.status,
        attempt: entry.attempt,
    })
    .collect()
}

/// Nothing moves a task without a reason.
fn excuse(book: &Book, task: &Task, before: &Transition, now: &Transition) -> Option<String> {
    let span = (since_start(before.at), since_start(now.at));
    let line = before.worker.and_then(|worker| line(book, worker));
    let has_reason = match now.cause {
        Cause::LeaseExpired | Cause::Poisoned => {
            !book.lost.is_empty() || line.is_some_and(|line| line.had_trouble(span.0, span.1))
        }
        Cause::Released => {
            let drained = line.and_then(|line| line.drained);
            drained.is_some_and(|drained| drained <= span.1)
        }
        Cause::Retried | Cause::Failed => book.failed.contains(&(task.id, now.attempt)),
        Cause::CancelRequested => book.cancel_asked.contains(&task.id),
        Cause::DeadlinePassed => now.at >= task.spec.deadline,
        Cause::Parked => false,
        Cause::Submitted | Cause::Acquired | Cause::Succeeded => true,
    };
    (!has_reason).then(|| {
        format!(
            "{:?} at {} ms without a reason, after {:?} at {} ms",
            now.cause, span.1, before.cause, span.0
        )
    })
}

fn line(book: &Book, worker: WorkerId) -> Option<&super::ledger::Line> {
    book.links.get(book.workers.get(&worker)?)
}

/// The answer is that of whoever held the task.
fn answered(task: &Task) -> Option<String> {
    if task.status() != Status::Completed {
        return None;
    }
    let held = task.history.iter().rev().find_map(|entry| entry.worker)?;
    let expected = work::answer(task.id, task.attempt(), held);
    let text = task.outcome.as_ref().map(|outcome| outcome.text.as_str());
    (text != Some(&expected)).then(|| format!("answered {text:?} instead of {expected:?}"))
}

/// Every budget is charged with what it is for, and is the end when it is spent.
fn charged(task: &Task, job: &Job) -> Option<String> {
    let count = |cause: Cause| {
        let those = task.history.iter().filter(|entry| entry.cause == cause);
        u32::try_from(those.count()).unwrap()
    };
    let crashes = count(Cause::LeaseExpired) + count(Cause::Poisoned);
    let is_poisoned = count(Cause::Poisoned) > 0;
    let failures = count(Cause::Retried) + count(Cause::Failed);
    let has_failed = count(Cause::Failed) > 0;
    let is_right = task.charges.crashes == crashes
        && crashes <= MAX_CRASHES
        && is_poisoned == (crashes == MAX_CRASHES)
        && task.charges.failures == count(Cause::Retried)
        && failures <= job.max_attempts.min(job.failures)
        && has_failed == (failures == job.max_attempts);
    (!is_right).then(|| format!("charged {:?} for {:?}", task.charges, causes(task)))
}

fn causes(task: &Task) -> Vec<Cause> {
    task.history.iter().map(|entry| entry.cause).collect()
}

/// What a canceller was told still holds, unless the store lost it.
fn cancelled(book: &Book, task: &Task) -> Option<String> {
    let told = book.cancels.get(&task.id)?;
    let binding = told.iter().filter(|told| {
        let is_lost = |(_, restored): &(u64, u64)| told.asked <= *restored;
        !book.lost.iter().any(is_lost)
    });
    let mut broken = binding.filter(|told| told.status != task.status());
    broken.next().map(|told| {
        format!(
            "a canceller was told {:?}, but it is {:?}",
            told.status,
            task.status()
        )
    })
}

/// No attempt runs twice, and nothing runs that was not acquired.
fn executed(book: &Book, task: &Task) -> Option<String> {
    let starts = book.starts.get(&task.id)?;
    let distinct: BTreeSet<_> = starts.iter().collect();
    let acquired: BTreeSet<(u32, WorkerId)> = task
        .history
        .iter()
        .filter_map(|entry| Some((entry.attempt, entry.worker?)))
        .collect();
    let is_right =
        distinct.len() == starts.len() && starts.iter().all(|start| acquired.contains(start));
    (!is_right).then(|| format!("ran {starts:?}, acquired {acquired:?}"))
}

/// A task of a crashed worker does not wait, if there was anybody to take it away.
fn recovered(book: &Book, before: &Transition, now: &Transition) -> Option<String> {
    let (from, to) = (since_start(before.at), since_start(now.at));
    let crashed = line(book, before.worker?)?.dead?;
    let due = crashed + millis(LEASE) + RECOVERY;
    let was_there = book
        .links
        .values()
        .any(|line| line.was_well(crashed.min(due), to));
    let is_late = from <= crashed && to > due && was_there;
    is_late.then(|| format!("its worker crashed at {crashed} ms, and it moved at {to} ms"))
}
