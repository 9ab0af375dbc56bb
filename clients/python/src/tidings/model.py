"""What the server tells: frozen values, free of gRPC."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Dict, Mapping, Optional, Tuple, Union

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


@dataclass(frozen=True)
class Usage:
    """Tokens used, as the upstream counted them, and their cost in billionths of the currency of the server's prices."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int = 0


@dataclass(frozen=True)
class TaskResult:
    """The answer to a completed task: `text` for reading, `body` the upstream's reply byte for byte."""

    text: str
    body: str = field(repr=False)
    model: str
    finish_reason: str
    usage: Usage
    truncated: bool
    filtered: bool
    refused: bool
    cache: CacheOutcome

    def json(self) -> Any:
        """The upstream's reply, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True)
class TaskError:
    """Why an attempt, or the whole task, failed."""

    code: ErrorCode
    message: str
    http_status: int
    maybe_billed: bool
    upstream_request_id: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class TaskAttempt:
    """One run of a task; `end_time` is None while it runs."""

    number: int
    start_time: Optional[datetime]
    end_time: Optional[datetime]
    outcome: TransitionCause
    error: Optional[TaskError]
    worker: str


@dataclass(frozen=True)
class Task:
    """A task as it stood after one of its transitions. Times are aware, in UTC."""

    id: str
    batch_id: str
    custom_id: str
    status: TaskStatus
    revision: int
    attempt: int
    store_epoch: int
    retry_of: str
    result: Optional[TaskResult]
    error: Optional[TaskError]
    result_omitted: bool
    compacted: bool
    create_time: Optional[datetime]
    start_time: Optional[datetime]
    end_time: Optional[datetime]
    expire_time: Optional[datetime]
    transition_time: Optional[datetime]
    deadline: Optional[datetime]
    cause: TransitionCause
    progress_percent: int
    wait_reason: WaitReason
    wait_until: Optional[datetime]
    labels: Mapping[str, str]
    model: str
    priority: Priority
    attempts: Tuple[TaskAttempt, ...]
    partial_output: str


@dataclass(frozen=True)
class TaskEvent:
    """A transition of a task, with the task as it then stood.

    `reset` says that the store lost writes in a failover. On the watch of a task: this is the truth, whatever was told
    before. On the watch of a batch: forget what was told of all its tasks, everything follows anew from here.
    `resume_token` continues a batch's watch after this event, in another process if need be.
    """

    task: Task
    reset: bool = False
    resume_token: str = ""

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task.id

    @property
    def status(self) -> TaskStatus:
        """The status that the transition led to."""
        return self.task.status

    @property
    def revision(self) -> int:
        """1 with QUEUED, then one more with every transition."""
        return self.task.revision

    @property
    def attempt(self) -> int:
        """How often a worker has taken the task up."""
        return self.task.attempt

    @property
    def result(self) -> Optional[TaskResult]:
        """The answer, once COMPLETED."""
        return self.task.result

    @property
    def error(self) -> Optional[TaskError]:
        """The final failure, once ERROR."""
        return self.task.error


@dataclass(frozen=True)
class TaskNotice:
    """News of a task between transitions; never repeated after a reconnect."""

    id: str
    progress_percent: int
    wait_reason: WaitReason
    wait_until: Optional[datetime]


@dataclass(frozen=True)
class OutputDelta:
    """A piece of what a running attempt puts out: `text` follows the `offset` bytes (of UTF-8) that came before.

    Another attempt begins anew. What was not told when it ended stands in the result.
    """

    id: str
    text: str
    attempt: int
    offset: int


@dataclass(frozen=True)
class Parked:
    """Why a batch is held back, until `Client.resume`."""

    reason: ParkReason
    message: str
    park_time: Optional[datetime]


@dataclass(frozen=True)
class Budget:
    """The money of a batch with a budget, in billionths of the currency.

    `spent_nanos` counts calls whose cost is not known at the most that they may have cost, `reserved_nanos` is the most
    that those under way may cost.
    """

    limit_nanos: int
    spent_nanos: int
    reserved_nanos: int


@dataclass(frozen=True)
class BatchProgress:
    """Counters of a batch; queued, processing, completed, error and cancelled add up to `total`.

    `reset` means what it means on a `TaskEvent`.
    """

    total: int
    queued: int
    processing: int
    completed: int
    error: int
    cancelled: int
    usage: Usage
    parked: Optional[Parked]
    done: bool
    reset: bool = False
    budget: Optional[Budget] = None


Event = Union[TaskEvent, TaskNotice, OutputDelta, BatchProgress]


@dataclass(frozen=True)
class Batch:
    """Names a batch: what `submit` answers, and what the other calls take.

    `Batch(id)` names one known only by its id. `task_ids` stand in submit order.
    """

    id: str
    task_ids: Tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchInfo:
    """A batch as it now is."""

    id: str
    progress: BatchProgress
    open: bool
    create_time: Optional[datetime]
    end_time: Optional[datetime]
    parked: Optional[Parked]


@dataclass(frozen=True)
class StatusReport:
    """Every id asked for, in exactly one of the four."""

    tasks: Tuple[Task, ...] = ()
    not_found: Tuple[str, ...] = ()
    expired: Tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: StatusReport) -> StatusReport:
        faults: Dict[str, str] = {**self.faults, **other.faults}
        return StatusReport(
            self.tasks + other.tasks, self.not_found + other.not_found, self.expired + other.expired, faults
        )


@dataclass(frozen=True)
class CancelOutcome:
    """What became of one cancellation, and the task's status now."""

    task_id: str
    result: CancelResult
    status: TaskStatus


@dataclass(frozen=True)
class RetryOutcome:
    """What became of one retry; `new_task_id` is empty when there is no new task."""

    task_id: str
    result: RetryResult
    new_task_id: str
    status: TaskStatus


@dataclass(frozen=True)
class ServerInfo:
    """What the server is and what one call may hold."""

    version: str
    store: str
    durability: DurabilityLevel
    functions: Tuple[str, ...]
    default_model: str
    tasks_per_batch: int
    batch_bytes: int
    task_bytes: int
    ids_per_call: int
    name_bytes: int
    queue_tasks: int
    queue_bytes: int
    status_retention: timedelta
    result_retention: timedelta
