//! The wire's messages as JSON for scripts: field names as in the .proto files, numbers as numbers, timestamps in
//! RFC 3339. What is empty or unset is left out.

use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use super::text::instant;
use crate::proto::v1;

/// A JSON object that grows by what is set.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn text(self, name: &str, text: &str) -> Self {
        self.value(name, (!text.is_empty()).then(|| text.into()))
    }

    fn number(self, name: &str, number: impl Into<u64>) -> Self {
        self.value(name, Some(number.into().into()))
    }

    fn flag(self, name: &str, flag: bool) -> Self {
        self.value(name, flag.then(|| true.into()))
    }

    fn time(self, name: &str, time: Option<Timestamp>) -> Self {
        self.value(name, time.map(|time| instant(time).to_string().into()))
    }

    fn value(mut self, name: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// A task.
pub(super) fn task(task: &v1::Task) -> Value {
    let attempts: Vec<Value> = task.attempts.iter().map(attempt).collect();
    Object::default()
        .text("id", &task.id)
        .text("batch_id", &task.batch_id)
        .text("custom_id", &task.custom_id)
        .text("status", task.status().as_str_name())
        .number("revision", task.revision)
        .number("attempt", task.attempt)
        .number("store_epoch", task.store_epoch)
        .text("retry_of", &task.retry_of)
        .text("model", &task.model)
        .text("priority", task.priority().as_str_name())
        .text("cause", unless_unset(task.cause().as_str_name()))
        .time("transition_time", task.transition_time)
        .time("create_time", task.create_time)
        .time("start_time", task.start_time)
        .time("end_time", task.end_time)
        .time("expire_time", task.expire_time)
        .time("deadline", task.deadline)
        .number("progress_percent", task.progress_percent)
        .text(
            "wait_reason",
            unless_unset(task.wait_reason().as_str_name()),
        )
        .time("wait_until", task.wait_until)
        .value(
            "labels",
            (!task.labels.is_empty()).then(|| json!(task.labels)),
        )
        .value("attempts", (!attempts.is_empty()).then(|| attempts.into()))
        .value("result", task.result.as_ref().map(result))
        .value("error", task.error.as_ref().map(error))
        .text("partial_output", &task.partial_output)
        .flag("result_omitted", task.result_omitted)
        .flag("compacted", task.compacted)
        .done()
}

fn attempt(attempt: &v1::TaskAttempt) -> Value {
    Object::default()
        .number("number", attempt.number)
        .time("start_time", attempt.start_time)
        .time("end_time", attempt.end_time)
        .text("outcome", unless_unset(attempt.outcome().as_str_name()))
        .text("worker", &attempt.worker)
        .value("error", attempt.error.as_ref().map(error))
        .done()
}

fn result(result: &v1::TaskResult) -> Value {
    Object::default()
        .value("text", Some(result.text.as_str().into()))
        .text("body", &result.body)
        .text("model", &result.model)
        .text("finish_reason", &result.finish_reason)
        .value("usage", result.usage.as_ref().map(usage))
        .text("cache", unless_unset(result.cache().as_str_name()))
        .flag("truncated", result.truncated)
        .flag("filtered", result.filtered)
        .flag("refused", result.refused)
        .done()
}

fn error(error: &v1::TaskError) -> Value {
    Object::default()
        .text("code", error.code().as_str_name())
        .text("message", &error.message)
        .number("http_status", error.http_status)
        .value("maybe_billed", Some(error.maybe_billed.into()))
        .text("upstream_request_id", &error.upstream_request_id)
        .done()
}

fn usage(usage: &v1::Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_nanos": usage.cost_nanos,
    })
}

/// The counters of a batch.
pub(super) fn progress(progress: &v1::BatchProgress) -> Value {
    Object::default()
        .number("total", progress.total)
        .number("queued", progress.queued)
        .number("processing", progress.processing)
        .number("completed", progress.completed)
        .number("error", progress.error)
        .number("cancelled", progress.cancelled)
        .value("usage", progress.usage.as_ref().map(usage))
        .value("parked", progress.parked.as_ref().map(parked))
        .value("done", Some(progress.done.into()))
        .value("budget", progress.budget.as_ref().map(budget))
        .done()
}

fn budget(budget: &v1::Budget) -> Value {
    json!({
        "limit_nanos": budget.limit_nanos,
        "spent_nanos": budget.spent_nanos,
        "reserved_nanos": budget.reserved_nanos,
    })
}

fn parked(parked: &v1::Parked) -> Value {
    Object::default()
        .text("reason", parked.reason().as_str_name())
        .text("message", &parked.message)
        .time("park_time", parked.park_time)
        .done()
}

/// A batch.
pub(super) fn batch(batch: &v1::Batch) -> Value {
    Object::default()
        .text("id", &batch.id)
        .value("open", Some(batch.open.into()))
        .time("create_time", batch.create_time)
        .time("end_time", batch.end_time)
        .value("progress", batch.progress.as_ref().map(progress))
        .value("parked", batch.parked.as_ref().map(parked))
        .done()
}

/// News of a task between transitions.
pub(super) fn notice(notice: &v1::TaskNotice) -> Value {
    Object::default()
        .text("task_id", &notice.task_id)
        .number("progress_percent", notice.progress_percent)
        .text(
            "wait_reason",
            unless_unset(notice.wait_reason().as_str_name()),
        )
        .time("wait_until", notice.wait_until)
        .done()
}

/// A piece of a task's output.
pub(super) fn delta(delta: &v1::OutputDelta) -> Value {
    Object::default()
        .text("task_id", &delta.task_id)
        .number("attempt", delta.attempt)
        .number("offset", delta.offset)
        .text("text", &delta.text)
        .done()
}

fn unless_unset(name: &'static str) -> &'static str {
    if name.ends_with("_UNSPECIFIED") {
        ""
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_reads_like_its_proto_and_leaves_out_what_is_unset() {
        let sample = v1::Task {
            id: "a".to_owned(),
            status: v1::TaskStatus::Completed.into(),
            revision: 3,
            create_time: Some(Timestamp {
                seconds: 1,
                nanos: 5_000_000,
            }),
            result: Some(v1::TaskResult::default()),
            ..v1::Task::default()
        };
        let value = task(&sample);
        assert_eq!(value["status"], "TASK_STATUS_COMPLETED");
        assert_eq!(value["revision"], 3);
        assert_eq!(value["create_time"], "1970-01-01T00:00:01.005Z");
        assert_eq!(value["result"]["text"], "");
        assert_eq!(value.get("error"), None);
        assert_eq!(value.get("wait_reason"), None);
    }
}
