//! What operators are told about tasks: metrics for every move, one log line for every finished task.
//! Never a prompt, a result or a key.

use std::{cell::LazyCell, collections::BTreeMap, time::Duration};

use metrics::{counter, histogram};

use crate::model::{BatchId, Cached, Cause, Parked, Status, Task};

/// A task came to its present status.
pub fn moved(task: &Task) {
    all_moved([task]);
}

/// Tasks came to their present statuses. What counts them is looked up once for all: that takes longer than counting.
pub fn all_moved<'a>(tasks: impl IntoIterator<Item = &'a Task>) {
    let queued = LazyCell::new(|| histogram!("tidings_queue_seconds"));
    let ran = LazyCell::new(|| histogram!("tidings_run_seconds"));
    let mut moves: BTreeMap<Status, u64> = BTreeMap::new();
    for task in tasks {
        let last = task.last();
        *moves.entry(last.status).or_default() += 1;
        if last.cause == Cause::LeaseExpired || last.cause == Cause::Poisoned {
            counter!("tidings_leases_expired_total").increment(1);
        }
        if last.status == Status::Processing {
            queued.record(queued_for(task));
        }
        if last.status.is_terminal() {
            ran.record(run_time(task));
            finished(task);
        }
    }
    for (status, count) in moves {
        counter!("tidings_transitions_total", "status" => status.word()).increment(count);
    }
}

/// A worker came too late: the task had moved on, and its result was dropped.
pub fn fenced(task: &Task) {
    counter!("tidings_fence_rejected_total").increment(1);
    tracing::info!(task = %task.id, "late outcome dropped: the task had moved on");
}

/// An answer of a model with a price has cost so much, in billionths of the currency. The prices bound how many models
/// there are.
pub fn spent(model: &str, nanos: u64) {
    counter!("tidings_cost_nanos_total", "model" => model.to_owned()).increment(nanos);
}

/// The same, by the value of the label by which costs are told apart. Whoever calls bounds how many values there are.
pub fn spent_for(value: &str, nanos: u64) {
    counter!("tidings_label_cost_nanos_total", "value" => value.to_owned()).increment(nanos);
}

/// A batch was parked: nothing of it runs until somebody mends the cause.
pub fn parked(batch: BatchId, parked: &Parked) {
    // The reason alone: the message repeats words of the upstream.
    let reason = format!("{:?}", parked.reason);
    tracing::warn!(%batch, reason, "batch parked: mend the cause, then resume the batch");
}

fn finished(task: &Task) {
    let (queued, ran) = (waited(task), run_time(task));
    let cached = task.outcome.as_ref().and_then(|outcome| outcome.cached);
    let cached = cached.map(Cached::word);
    if let Some(outcome) = cached {
        counter!("tidings_cache_total", "outcome" => outcome).increment(1);
    }
    let outcome = task.status().word();
    let failure = task.error().map(|failure| format!("{:?}", failure.code));
    tracing::info!(
        task = %task.id,
        batch = %task.batch_id,
        attempts = task.attempt(),
        queue_ms = queued.as_millis() as u64,
        run_ms = ran.as_millis() as u64,
        outcome,
        cached,
        failure,
        "task finished"
    );
}

/// How long the task had waited when its latest attempt began.
fn queued_for(task: &Task) -> Duration {
    match task.history.as_slice() {
        [.., before, last] => last.at.since(before.at),
        _ => Duration::ZERO,
    }
}

/// Time spent queued, over all attempts.
fn waited(task: &Task) -> Duration {
    spent_in(task, Status::Queued)
}

/// Time spent processing, over all attempts.
fn run_time(task: &Task) -> Duration {
    spent_in(task, Status::Processing)
}

fn spent_in(task: &Task, status: Status) -> Duration {
    task.history
        .windows(2)
        .filter(|pair| pair[0].status == status)
        .map(|pair| pair[1].at.since(pair[0].at))
        .sum()
}
