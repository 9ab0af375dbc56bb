//! From the model to the wire.

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};

use crate::{
    clock::Timestamp,
    model::{Batch, Failure, Outcome, Parked, Status, Task, Transition, Usage, Waiting},
    proto::v1::{self, DurabilityLevel},
    store::Durability,
};

/// How a task is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Send the result along.
    pub(super) results: bool,
    /// Revisions before the one told are past their retention.
    pub(super) compacted: bool,
    /// What it waits for where it is told as it stands.
    pub(super) waiting: Option<Waiting>,
}

/// A task as it stood at `revision`, which it has reached.
pub(super) fn task_at(task: &Task, revision: u64, view: View) -> v1::Task {
    let spec = &task.spec;
    let past = &task.history[..(revision as usize).min(task.history.len())];
    let Some(last) = past.last() else {
        return v1::Task::default();
    };
    let is_latest = past.len() == task.history.len();
    let terminal = last.status.is_terminal();
    let (wait_reason, wait_until) = if is_latest {
        wait(view.waiting)
    } else {
        (0, None)
    };
    let attempts = if view.compacted {
        Vec::new()
    } else {
        attempts(task, past)
    };
    v1::Task {
        id: task.id.to_string(),
        batch_id: task.batch_id.to_string(),
        custom_id: spec.custom_id.clone(),
        status: last.status as i32,
        revision,
        attempt: last.attempt,
        store_epoch: u64::from(task.epoch),
        retry_of: spec.retry_of.map(|id| id.to_string()).unwrap_or_default(),
        result_omitted: terminal
            && !view.results
            && (task.outcome.is_some() || task.partial.is_some()),
        compacted: view.compacted,
        create_time: Some(timestamp(spec.create_time)),
        start_time: started(past).map(timestamp),
        end_time: terminal.then(|| timestamp(last.at)),
        expire_time: terminal
            .then(|| task.expire_time().map(timestamp))
            .flatten(),
        result: task
            .outcome
            .as_deref()
            .filter(|_| terminal && view.results)
            .map(result),
        error: task.error().filter(|_| terminal).map(failure),
        progress_percent: progress(task, last, is_latest),
        wait_reason,
        wait_until,
        labels: spec.labels.clone(),
        model: spec.model.clone(),
        priority: spec.priority as i32,
        deadline: Some(timestamp(spec.deadline)),
        attempts,
        transition_time: Some(timestamp(last.at)),
        cause: last.cause as i32,
        partial_output: task
            .partial
            .as_deref()
            .filter(|_| terminal && view.results)
            .unwrap_or_default()
            .to_owned(),
    }
}

fn started(past: &[Transition]) -> Option<Timestamp> {
    past.iter()
        .rev()
        .find(|transition| transition.status == Status::Processing)
        .map(|transition| transition.at)
}

fn progress(task: &Task, last: &Transition, is_latest: bool) -> u32 {
    match last.status {
        Status::Completed => 100,
        Status::Queued => 0,
        _ if is_latest => u32::from(task.progress),
        _ => 0,
    }
}

/// A reason for waiting as the wire has it.
pub(super) fn wait(waiting: Option<Waiting>) -> (i32, Option<ProtoTimestamp>) {
    let reason = waiting.map_or(0, |waiting| waiting.reason as i32);
    let until = waiting.and_then(|waiting| waiting.until);
    (reason, until.map(timestamp))
}

fn attempts(task: &Task, past: &[Transition]) -> Vec<v1::TaskAttempt> {
    past.iter()
        .enumerate()
        .filter(|(_, transition)| transition.status == Status::Processing)
        .map(|(index, began)| {
            let ended = past.get(index + 1);
            let error = task
                .failures
                .iter()
                .find(|failure| failure.attempt == began.attempt)
                .filter(|_| ended.is_some())
                .map(failure);
            v1::TaskAttempt {
                number: began.attempt,
                start_time: Some(timestamp(began.at)),
                end_time: ended.map(|ended| timestamp(ended.at)),
                outcome: ended.map_or(0, |ended| ended.cause as i32),
                error,
                worker: began.worker.map(|id| id.to_string()).unwrap_or_default(),
            }
        })
        .collect()
}

fn result(outcome: &Outcome) -> v1::TaskResult {
    v1::TaskResult {
        text: outcome.text.clone(),
        body: outcome.body.clone(),
        model: outcome.model.clone(),
        finish_reason: outcome.finish_reason.clone(),
        usage: Some(usage(&outcome.usage)),
        truncated: outcome.truncated,
        cache: outcome.cached.map_or(0, |cached| cached as i32),
        filtered: outcome.filtered,
        refused: outcome.refused,
    }
}

fn failure(failure: &Failure) -> v1::TaskError {
    v1::TaskError {
        code: failure.code as i32,
        message: failure.message.clone(),
        http_status: u32::from(failure.http_status),
        maybe_billed: failure.maybe_billed,
        upstream_request_id: failure.upstream_request_id.clone().unwrap_or_default(),
    }
}

fn usage(usage: &Usage) -> v1::Usage {
    v1::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_input_tokens: usage.cached_input_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        cost_nanos: usage.cost_nanos,
    }
}

/// A batch.
pub(super) fn batch(batch: &Batch) -> v1::Batch {
    v1::Batch {
        id: batch.id.to_string(),
        progress: Some(batch_progress(batch)),
        open: batch.open,
        create_time: Some(timestamp(batch.create_time)),
        end_time: batch.end_time().map(timestamp),
        parked: batch.parked.as_ref().map(parked),
    }
}

/// A batch's counters.
pub(super) fn batch_progress(batch: &Batch) -> v1::BatchProgress {
    let counts = &batch.counts;
    v1::BatchProgress {
        total: counts.total(),
        queued: counts.queued,
        processing: counts.processing,
        completed: counts.completed,
        error: counts.error,
        cancelled: counts.cancelled,
        usage: Some(usage(&batch.usage)),
        parked: batch.parked.as_ref().map(parked),
        done: batch.is_done(),
        budget: batch.funds.map(|funds| v1::Budget {
            limit_nanos: funds.budget,
            spent_nanos: funds.spent,
            reserved_nanos: funds.reserved,
        }),
    }
}

fn parked(parked: &Parked) -> v1::Parked {
    v1::Parked {
        reason: parked.reason as i32,
        message: parked.message.clone(),
        park_time: Some(timestamp(parked.time)),
    }
}

/// An instant.
pub(super) fn timestamp(time: Timestamp) -> ProtoTimestamp {
    ProtoTimestamp {
        seconds: time.0.div_euclid(1_000),
        nanos: (time.0.rem_euclid(1_000) * 1_000_000) as i32,
    }
}

/// A length of time.
pub(super) fn duration(duration: std::time::Duration) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

/// What the store promises.
pub(super) fn durability(durability: Durability) -> v1::Durability {
    let (level, replicas) = match durability {
        Durability::Memory => (DurabilityLevel::Memory, 0),
        Durability::FsyncEverySecond => (DurabilityLevel::Fsync1s, 0),
        Durability::Replicated(replicas) => (DurabilityLevel::Replicated, replicas),
        Durability::Fsync => (DurabilityLevel::Fsync, 0),
        Durability::FsyncReplicated(replicas) => (DurabilityLevel::FsyncReplicated, replicas),
    };
    v1::Durability {
        level: level as i32,
        replicas,
    }
}
