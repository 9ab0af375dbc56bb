"""From wire messages to the values of `model`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Optional, Union

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tidings import model
from tidings.enums import (
    CacheOutcome,
    CancelResult,
    DurabilityLevel,
    ErrorCode,
    ParkReason,
    Priority,
    RetryResult,
    TaskStatus,
    TransitionCause,
    WaitReason,
)
from tidings.v1 import task_pb2, task_service_pb2


def task(message: task_pb2.Task) -> model.Task:
    """A task."""
    return model.Task(
        id=message.id,
        batch_id=message.batch_id,
        custom_id=message.custom_id,
        status=TaskStatus(message.status),
        revision=message.revision,
        attempt=message.attempt,
        store_epoch=message.store_epoch,
        retry_of=message.retry_of,
        result=_result(message.result) if message.HasField("result") else None,
        error=_error(message),
        result_omitted=message.result_omitted,
        compacted=message.compacted,
        create_time=_time(message, "create_time"),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        expire_time=_time(message, "expire_time"),
        transition_time=_time(message, "transition_time"),
        deadline=_time(message, "deadline"),
        cause=TransitionCause(message.cause),
        progress_percent=message.progress_percent,
        wait_reason=WaitReason(message.wait_reason),
        wait_until=_time(message, "wait_until"),
        labels=dict(message.labels),
        model=message.model,
        priority=Priority(message.priority),
        attempts=tuple(map(_attempt, message.attempts)),
        partial_output=message.partial_output,
    )


def notice(message: task_service_pb2.TaskNotice) -> model.TaskNotice:
    """News of a task."""
    return model.TaskNotice(
        id=message.task_id,
        progress_percent=message.progress_percent,
        wait_reason=WaitReason(message.wait_reason),
        wait_until=_time(message, "wait_until"),
    )


def delta(message: task_service_pb2.OutputDelta) -> model.OutputDelta:
    """A piece of a task's output."""
    return model.OutputDelta(
        id=message.task_id, text=message.text, attempt=message.attempt, offset=message.offset
    )


def progress(message: task_pb2.BatchProgress) -> model.BatchProgress:
    """The counters of a batch."""
    return model.BatchProgress(
        total=message.total,
        queued=message.queued,
        processing=message.processing,
        completed=message.completed,
        error=message.error,
        cancelled=message.cancelled,
        usage=_usage(message.usage),
        parked=_parked(message),
        done=message.done,
        budget=_budget(message),
    )


def _budget(message: task_pb2.BatchProgress) -> Optional[model.Budget]:
    if not message.HasField("budget"):
        return None
    budget = message.budget
    return model.Budget(budget.limit_nanos, budget.spent_nanos, budget.reserved_nanos)


def batch(message: task_pb2.Batch) -> model.BatchInfo:
    """A batch."""
    return model.BatchInfo(
        id=message.id,
        progress=progress(message.progress),
        open=message.open,
        create_time=_time(message, "create_time"),
        end_time=_time(message, "end_time"),
        parked=_parked(message),
    )


def status_report(message: task_service_pb2.GetStatusResponse) -> model.StatusReport:
    """The reply of GetStatus."""
    return model.StatusReport(
        tasks=tuple(map(task, message.tasks)),
        not_found=tuple(message.not_found),
        expired=tuple(message.expired),
        faults={fault.task_id: fault.message for fault in message.faults},
    )


def cancel_outcome(message: task_service_pb2.CancelOutcome) -> model.CancelOutcome:
    """What became of one cancellation."""
    return model.CancelOutcome(message.task_id, CancelResult(message.result), TaskStatus(message.status))


def retry_outcome(message: task_service_pb2.RetryOutcome) -> model.RetryOutcome:
    """What became of one retry."""
    return model.RetryOutcome(
        message.task_id, RetryResult(message.result), message.new_task_id, TaskStatus(message.status)
    )


def server_info(message: task_service_pb2.GetServerInfoResponse) -> model.ServerInfo:
    """The reply of GetServerInfo."""
    return model.ServerInfo(
        version=message.version,
        store=message.store,
        durability=DurabilityLevel(message.durability.level),
        functions=tuple(message.functions),
        default_model=message.default_model,
        tasks_per_batch=message.limits.tasks_per_batch,
        batch_bytes=message.limits.batch_bytes,
        task_bytes=message.limits.task_bytes,
        ids_per_call=message.limits.ids_per_call,
        name_bytes=message.limits.name_bytes,
        queue_tasks=message.limits.queue_tasks,
        queue_bytes=message.limits.queue_bytes,
        status_retention=message.status_retention.ToTimedelta(),
        result_retention=message.result_retention.ToTimedelta(),
    )


def _result(message: task_pb2.TaskResult) -> model.TaskResult:
    return model.TaskResult(
        text=message.text,
        body=message.body,
        model=message.model,
        finish_reason=message.finish_reason,
        usage=_usage(message.usage),
        truncated=message.truncated,
        filtered=message.filtered,
        refused=message.refused,
        cache=CacheOutcome(message.cache),
    )


def _error(holder: Union[task_pb2.Task, task_pb2.TaskAttempt]) -> Optional[model.TaskError]:
    if not holder.HasField("error"):
        return None
    return model.TaskError(
        code=ErrorCode(holder.error.code),
        message=holder.error.message,
        http_status=holder.error.http_status,
        maybe_billed=holder.error.maybe_billed,
        upstream_request_id=holder.error.upstream_request_id,
    )


def _attempt(message: task_pb2.TaskAttempt) -> model.TaskAttempt:
    return model.TaskAttempt(
        number=message.number,
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        outcome=TransitionCause(message.outcome),
        error=_error(message),
        worker=message.worker,
    )


def _usage(message: task_pb2.Usage) -> model.Usage:
    return model.Usage(
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        cached_input_tokens=message.cached_input_tokens,
        reasoning_tokens=message.reasoning_tokens,
        cost_nanos=message.cost_nanos,
    )


def _parked(holder: Union[task_pb2.Batch, task_pb2.BatchProgress]) -> Optional[model.Parked]:
    if not holder.HasField("parked"):
        return None
    parked = holder.parked
    return model.Parked(ParkReason(parked.reason), parked.message, _time(parked, "park_time"))


def _time(message: Message, name: str) -> Optional[datetime]:
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=timezone.utc)
