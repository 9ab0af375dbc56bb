"""The exceptions of the client, one per gRPC status that callers treat differently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tidings.model import Batch, Task

Detail = TypeVar("Detail", bound=Message)

# The trailer in which every gRPC implementation carries google.rpc.Status.
DETAILS_TRAILER = "grpc-status-details-bin"
# The trailer in which a watch that the server ends says where to resume.
RESUME_TRAILER = "tidings-resume"


@dataclass(frozen=True)
class FieldViolation:
    """One fault of a request: which field, and what is wrong with it."""

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


@dataclass(frozen=True)
class Details:
    """What the server says of an error beside its message; empty where it says nothing."""

    # A stable name for programs, of the domain `tidings.dev`.
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Tuple[FieldViolation, ...] = ()
    # Seconds after which to come back.
    retry_after: Optional[float] = None
    # The id that was not found.
    resource: str = ""


class Error(Exception):
    """Base of everything the client raises about a call."""

    def __init__(self, message: str, details: Details = Details(), code: Optional[grpc.StatusCode] = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.code = code
        # The batch as far as it was accepted, when a submit of several calls failed on the way.
        self.accepted: Optional[Batch] = None

    @property
    def retry_after(self) -> Optional[float]:
        """Seconds after which the server asked to come back."""
        return self.details.retry_after

    @property
    def reason(self) -> str:
        """A stable name of the cause, for programs."""
        return self.details.reason

    def __str__(self) -> str:
        text = self.message
        # The message may hold the first fault already.
        faults = [fault for fault in map(str, self.details.violations) if fault not in self.message]
        if faults:
            text += f" ({'; '.join(faults)})"
        if self.retry_after is not None:
            text += f" (try again in {self.retry_after:g} s)"
        if self.accepted is not None:
            text += f" (batch {self.accepted.id} holds the first {len(self.accepted.task_ids)} tasks and is still open)"
        return text


class InvalidArgument(Error):
    """The request is at fault; nothing was done."""

    @property
    def violations(self) -> Tuple[FieldViolation, ...]:
        """The faults, field by field."""
        return self.details.violations


class NotFound(Error):
    """No such task or batch."""


class Lost(NotFound):
    """The store lost the task or batch in a failover: submit it again, with the same idempotency key."""


class AlreadyExists(Error):
    """The idempotency key was used before, with other content."""


class FailedPrecondition(Error):
    """Not in this state, for example adding to a closed batch."""


class OutOfRange(Error):
    """`after_revision` lies beyond the task's current revision."""


class PermissionDenied(Error):
    """The caller may not do this."""


class Unauthenticated(Error):
    """The caller did not say, or not credibly, who it is."""


class ResourceExhausted(Error):
    """The server is full; see `retry_after`."""


class Unavailable(Error):
    """The server, or its store, is away; see `retry_after`."""


class Unimplemented(Error):
    """The server does not know the call or the field."""


class Internal(Error):
    """The server failed."""


class Cancelled(Error):
    """The call was cancelled, by the server or by closing the client."""


class DeadlineExceeded(Error, TimeoutError):
    """The time for the call was up."""


class WaitTimeout(DeadlineExceeded):
    """The time to wait was up. The tasks go on; `finished` and `pending` say how far they were."""

    def __init__(self, finished: Sequence[Task], pending: Sequence[str]) -> None:
        total = len(finished) + len(pending)
        super().__init__(f"{len(finished)} of {total or 'the'} tasks had ended when the time to wait was up")
        self.finished = tuple(finished)
        self.pending = tuple(pending)


_CLASSES: Dict[grpc.StatusCode, Type[Error]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Internal,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def from_rpc(error: Union[grpc.RpcError, grpc.aio.AioRpcError]) -> Error:
    """The exception for a failed call, sync or async."""
    code: grpc.StatusCode = error.code()
    kind = _CLASSES.get(code, Error)
    message = error.details() or code.name.lower().replace("_", " ")
    details = _details(_trailers(error))
    if kind is NotFound and details.reason == "DATA_LOSS":
        kind = Lost
    return kind(message, details, code)


def resume_place(error: Union[grpc.RpcError, grpc.aio.AioRpcError]) -> str:
    """Where the server says to resume a watch that it has ended; empty when it does not say."""
    place = next((value for key, value in _trailers(error) if key == RESUME_TRAILER), "")
    return place if isinstance(place, str) else ""


def _trailers(error: Union[grpc.RpcError, grpc.aio.AioRpcError]) -> Iterable[Tuple[str, Any]]:
    trailers: Any = error.trailing_metadata()
    return trailers or ()


def _details(trailers: Iterable[Tuple[str, Any]]) -> Details:
    packed = next((value for key, value in trailers if key == DETAILS_TRAILER), b"")
    status = status_pb2.Status()
    if isinstance(packed, bytes):
        status.ParseFromString(packed)
    info = _first(status.details, error_details_pb2.ErrorInfo())
    bad = _first(status.details, error_details_pb2.BadRequest())
    retry = _first(status.details, error_details_pb2.RetryInfo())
    resource = _first(status.details, error_details_pb2.ResourceInfo())
    return Details(
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(FieldViolation(v.field, v.description) for v in bad.field_violations),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        resource=resource.resource_name,
    )


def _first(packed: Iterable[Packed], into: Detail) -> Detail:
    for item in packed:
        if item.Unpack(into):
            break
    return into
