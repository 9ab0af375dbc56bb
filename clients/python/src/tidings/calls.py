"""The unary calls, as requests and the way to read their replies. Pure; shared by both clients."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Callable, Generic, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from google.protobuf.message import Message

from tidings import convert, spec
from tidings.enums import TaskStatus
from tidings.errors import Error
from tidings.model import Batch, BatchInfo, CancelOutcome, RetryOutcome, ServerInfo, StatusReport, Task
from tidings.v1 import task_pb2
from tidings.v1 import task_service_pb2 as wire

# The server's limits on one call. Bytes stay clear of its 4 MiB: options and framing come on top.
TASKS_PER_CALL = 1000
BYTES_PER_CALL = 3_500_000
IDS_PER_CALL = 1000
# The most that tag and length of a task cost within the request.
_FRAMING = 6

T = TypeVar("T")
Ids = Union[str, Sequence[str]]
Target = Union[Ids, Batch]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One unary call: its method, its request, and how to read the reply."""

    method: str
    request: Message
    read: Callable[[Any], T]


class Submission:
    """A submit, cut into as many calls as the server's limits ask for.

    Iterate over the calls and hand each reply to `accept` before taking the next one.
    """

    def __init__(
        self,
        items: Iterable[spec.WorkItem],
        options: spec.Options,
        idempotency_key: Optional[str],
        batch: Union[str, Batch, None],
        keep_open: bool,
        budget_nanos: Optional[int],
    ) -> None:
        self._items = items
        self._options = options.to_message()
        self._key = idempotency_key or str(uuid.uuid4())
        self._batch_id = batch_id(batch) or ""
        self._keep_open = keep_open
        self._budget_nanos = budget_nanos
        self._task_ids: List[str] = []

    def __iter__(self) -> Iterator[Call[wire.SubmitBatchResponse]]:
        for number, (tasks, last) in enumerate(_with_last(_chunks(map(spec.to_message, self._items)))):
            request = wire.SubmitBatchRequest(
                tasks=tasks,
                # The same items under the same key are cut the same way, so every call keeps its key.
                idempotency_key=self._key if number == 0 else f"{self._key}/{number}",
                options=self._options,
                batch_id=self._batch_id,
                keep_open=self._keep_open or not last,
                # Of the batch: said once.
                budget_nanos=self._budget_nanos if number == 0 else None,
            )
            yield Call("SubmitBatch", request, _same)

    def accept(self, reply: wire.SubmitBatchResponse) -> None:
        """Takes the reply to the latest call."""
        self._batch_id = reply.batch_id
        self._task_ids.extend(reply.task_ids)

    def failed(self, error: Error) -> Error:
        """Adds what was accepted before the failure."""
        error.accepted = self.batch if self._task_ids else None
        return error

    @property
    def batch(self) -> Batch:
        """The batch as far as it was accepted."""
        return Batch(self._batch_id, tuple(self._task_ids))


def status(ids: Ids, omit_results: bool) -> List[Call[StatusReport]]:
    """The calls of GetStatus; their reports add up."""
    return [
        Call("GetStatus", wire.GetStatusRequest(task_ids=some, omit_results=omit_results), convert.status_report)
        for some in _pages(ids)
    ]


def cancel(target: Target) -> List[Call[Tuple[CancelOutcome, ...]]]:
    """The calls of CancelTasks."""

    def read(reply: wire.CancelTasksResponse) -> Tuple[CancelOutcome, ...]:
        return tuple(map(convert.cancel_outcome, reply.outcomes))

    if isinstance(target, Batch):
        return [Call("CancelTasks", wire.CancelTasksRequest(batch_id=target.id), read)]
    return [Call("CancelTasks", wire.CancelTasksRequest(task_ids=some), read) for some in _pages(target)]


def retry(target: Target, idempotency_key: Optional[str]) -> List[Call[Tuple[RetryOutcome, ...]]]:
    """The calls of RetryTasks."""

    def read(reply: wire.RetryTasksResponse) -> Tuple[RetryOutcome, ...]:
        return tuple(map(convert.retry_outcome, reply.outcomes))

    key = idempotency_key or str(uuid.uuid4())
    if isinstance(target, Batch):
        return [Call("RetryTasks", wire.RetryTasksRequest(batch_id=target.id, idempotency_key=key), read)]
    return [
        Call(
            "RetryTasks",
            wire.RetryTasksRequest(task_ids=some, idempotency_key=key if number == 0 else f"{key}/{number}"),
            read,
        )
        for number, some in enumerate(_pages(target))
    ]


@dataclass(frozen=True)
class Listing:
    """A listing, page by page."""

    statuses: Sequence[TaskStatus]
    batch: Union[str, Batch, None]
    labels: Mapping[str, str]
    page_size: int
    include_results: bool

    def page(self, token: str) -> Call[Tuple[List[Task], str]]:
        """The call for one page; its reply is the tasks and the next page's token, empty on the last."""
        request = wire.ListTasksRequest(
            statuses=[task_pb2.TaskStatus.Name(status) for status in self.statuses],
            batch_id=batch_id(self.batch),
            labels=self.labels,
            page_size=self.page_size,
            page_token=token,
            include_results=self.include_results,
        )
        return Call("ListTasks", request, lambda reply: (list(map(convert.task, reply.tasks)), reply.next_page_token))


def batch_info(batch: Union[str, Batch]) -> Call[BatchInfo]:
    """The call of GetBatch."""
    return Call("GetBatch", wire.GetBatchRequest(batch_id=batch_id(batch)), lambda reply: convert.batch(reply.batch))


def resume(batch: Union[str, Batch], budget_nanos: Optional[int]) -> Call[BatchInfo]:
    """The call of ResumeBatch."""
    request = wire.ResumeBatchRequest(batch_id=batch_id(batch), budget_nanos=budget_nanos)
    return Call("ResumeBatch", request, lambda reply: convert.batch(reply.batch))


def invalidate(ids: Ids) -> List[Call[int]]:
    """The calls of InvalidateCache."""
    return [
        Call("InvalidateCache", wire.InvalidateCacheRequest(task_ids=some), lambda reply: int(reply.forgotten_count))
        for some in _pages(ids)
    ]


def server_info() -> Call[ServerInfo]:
    """The call of GetServerInfo."""
    return Call("GetServerInfo", wire.GetServerInfoRequest(), convert.server_info)


def batch_id(batch: Union[str, Batch, None]) -> Optional[str]:
    """The id, of a handle too."""
    return batch.id if isinstance(batch, Batch) else batch


def _same(reply: wire.SubmitBatchResponse) -> wire.SubmitBatchResponse:
    return reply


def _pages(ids: Ids) -> List[List[str]]:
    """The ids in groups that one call may hold; one empty group for none, which the server refuses."""
    every = [ids] if isinstance(ids, str) else list(ids)
    return [every[start : start + IDS_PER_CALL] for start in range(0, max(len(every), 1), IDS_PER_CALL)]


def _chunks(tasks: Iterator[task_pb2.TaskSpec]) -> Iterator[List[task_pb2.TaskSpec]]:
    """The tasks in groups that one call may hold; one empty group for none, which the server refuses."""
    group: List[task_pb2.TaskSpec] = []
    size = 0
    for task in tasks:
        cost = task.ByteSize() + _FRAMING
        if group and (len(group) == TASKS_PER_CALL or size + cost > BYTES_PER_CALL):
            yield group
            group, size = [], 0
        group.append(task)
        size += cost
    yield group


def _with_last(groups: Iterator[T]) -> Iterator[Tuple[T, bool]]:
    """Each group, with whether it is the last one."""
    held = next(groups)
    for group in groups:
        yield held, False
        held = group
    yield held, True
