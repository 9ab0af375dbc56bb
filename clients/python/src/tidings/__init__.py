"""A client for Tidings: submit batches of work and be told every transition.

    import tidings

    with tidings.Client("127.0.0.1:50051") as client:
        batch = client.submit(["What is 2 + 2?", "Name a prime above 100."])
        for task in client.wait(batch):
            print(task.status, task.result and task.result.text)

`AsyncClient` has the same calls for asyncio. The raw messages are in `tidings.v1`.
"""

from tidings.aio import AsyncClient
from tidings.client import Client
from tidings.enums import (
    CacheMode,
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
from tidings.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    Lost,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WaitTimeout,
)
from tidings.model import (
    Batch,
    BatchInfo,
    BatchProgress,
    Budget,
    CancelOutcome,
    Event,
    OutputDelta,
    Parked,
    RetryOutcome,
    ServerInfo,
    StatusReport,
    Task,
    TaskAttempt,
    TaskError,
    TaskEvent,
    TaskNotice,
    TaskResult,
    Usage,
)
from tidings.retry import RetryPolicy
from tidings.spec import Chat, Function, OpenAiRequest, Options, Prompt, WorkItem

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "Batch",
    "BatchInfo",
    "BatchProgress",
    "Budget",
    "CacheMode",
    "CacheOutcome",
    "CancelOutcome",
    "CancelResult",
    "Cancelled",
    "Chat",
    "Client",
    "DeadlineExceeded",
    "DurabilityLevel",
    "Error",
    "ErrorCode",
    "Event",
    "FailedPrecondition",
    "FieldViolation",
    "Function",
    "Internal",
    "InvalidArgument",
    "Lost",
    "NotFound",
    "OpenAiRequest",
    "Options",
    "OutOfRange",
    "OutputDelta",
    "ParkReason",
    "Parked",
    "PermissionDenied",
    "Priority",
    "Prompt",
    "ResourceExhausted",
    "RetryOutcome",
    "RetryPolicy",
    "RetryResult",
    "ServerInfo",
    "StatusReport",
    "Task",
    "TaskAttempt",
    "TaskError",
    "TaskEvent",
    "TaskNotice",
    "TaskResult",
    "TaskStatus",
    "TransitionCause",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Usage",
    "WaitReason",
    "WaitTimeout",
    "WorkItem",
]
