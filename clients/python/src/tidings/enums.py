"""The enumerations of the wire protocol, under names without prefixes."""

from __future__ import annotations

from enum import IntEnum


class _Open(IntEnum):
    """Numbers as the protocol has them; one that a newer server added reads as UNSPECIFIED."""

    @classmethod
    def _missing_(cls, value: object) -> _Open:
        return cls(0)

    def __str__(self) -> str:
        return self.name.lower()

    # Without this an f-string would print the number before Python 3.12.
    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class TaskStatus(_Open):
    """Where a task stands."""

    UNSPECIFIED = 0
    QUEUED = 1
    PROCESSING = 2
    COMPLETED = 3
    ERROR = 4
    CANCELLED = 5

    @property
    def terminal(self) -> bool:
        """Whether a task in this status never changes any more."""
        return self in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED)


class Priority(_Open):
    """Which waiting task starts first."""

    UNSPECIFIED = 0
    LOW = 1
    NORMAL = 2
    HIGH = 3


class TransitionCause(_Open):
    """What moved a task to its present status."""

    UNSPECIFIED = 0
    SUBMITTED = 1
    ACQUIRED = 2
    SUCCEEDED = 3
    FAILED = 4
    RETRIED = 5
    RELEASED = 6
    LEASE_EXPIRED = 7
    POISONED = 8
    PARKED = 9
    CANCEL_REQUESTED = 10
    DEADLINE_PASSED = 11


class WaitReason(_Open):
    """Why a queued task waits."""

    UNSPECIFIED = 0
    NOT_BEFORE = 1
    BACKOFF = 2
    RATE_LIMITED = 3
    PARKED = 4
    NO_WORKER = 5
    BUDGET = 6


class CacheMode(_Open):
    """Whether an equal request of another task may answer a task."""

    UNSPECIFIED = 0
    ENABLED = 1
    BYPASS = 2
    REFRESH = 3


class CacheOutcome(_Open):
    """Which part the cache took in an answer."""

    UNSPECIFIED = 0
    MISS = 1
    HIT = 2
    COALESCED = 3


class ErrorCode(_Open):
    """Kinds of failure of a task or an attempt."""

    UNSPECIFIED = 0
    UPSTREAM_UNREACHABLE = 1
    UPSTREAM_CONNECTION_LOST = 2
    UPSTREAM_TIMEOUT = 3
    STREAM_TRUNCATED = 4
    UPSTREAM_STREAM_ERROR = 5
    UPSTREAM_BAD_RESPONSE = 6
    INVALID_REQUEST = 7
    CONTEXT_LENGTH_EXCEEDED = 8
    CONTENT_POLICY = 9
    AUTH_FAILED = 10
    PERMISSION_DENIED = 11
    QUOTA_EXHAUSTED = 12
    MODEL_NOT_FOUND = 13
    UPSTREAM_CONFLICT = 14
    REQUEST_TOO_LARGE = 15
    DEADLINE_EXCEEDED_THROTTLED = 16
    REQUEST_EXCEEDS_QUOTA = 17
    UPSTREAM_OVERLOADED = 18
    UPSTREAM_ERROR = 19
    UPSTREAM_MISCONFIGURED = 20
    WORKER_LOST = 21
    DEADLINE_EXCEEDED = 22
    FUNCTION_FAILED = 23
    FUNCTION_TIMEOUT = 24
    FUNCTION_NOT_FOUND = 25
    TOO_MANY_TRANSITIONS = 26
    RATE_LIMITED = 27
    EQUAL_CALL_UNDER_WAY = 28
    OUTPUT_SCHEMA_INVALID = 29


class ParkReason(_Open):
    """Why a batch is held back."""

    UNSPECIFIED = 0
    AUTH_FAILED = 1
    PERMISSION_DENIED = 2
    QUOTA_EXHAUSTED = 3
    BUDGET = 4


class DurabilityLevel(_Open):
    """How well accepted work is kept. From weak to strong: MEMORY, FSYNC_1S, REPLICATED, FSYNC, FSYNC_REPLICATED."""

    UNSPECIFIED = 0
    MEMORY = 1
    FSYNC_1S = 2
    FSYNC = 3
    REPLICATED = 4
    FSYNC_REPLICATED = 5


class CancelResult(_Open):
    """What became of one cancellation."""

    UNSPECIFIED = 0
    CANCELLED = 1
    ALREADY_TERMINAL = 2
    NOT_FOUND = 3


class RetryResult(_Open):
    """What became of one retry."""

    UNSPECIFIED = 0
    SUBMITTED = 1
    NOT_FAILED = 2
    NOT_FOUND = 3
