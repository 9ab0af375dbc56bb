"""What a watch remembers, so that a broken stream goes on where it stopped. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Optional, Sequence, Tuple, Union

from tidings import convert
from tidings.errors import NotFound, WaitTimeout
from tidings.model import Batch, Event, OutputDelta, Task, TaskEvent, TaskNotice
from tidings.v1 import task_service_pb2 as wire


class TaskCursor:
    """The place in one task's history."""

    method = "WatchTask"

    def __init__(
        self, task_id: str, after_revision: int = 0, store_epoch: int = 0, include_deltas: bool = False
    ) -> None:
        self._task_id = task_id
        self._revision = after_revision
        self._epoch = store_epoch
        self._include_deltas = include_deltas
        # The attempt whose output was told last, and how many bytes of it.
        self._output = (0, 0)
        # Nothing can follow any more, whether or not the stream's own end arrived.
        self.finished = False

    def request(self) -> wire.WatchTaskRequest:
        """Asks for what comes next."""
        return wire.WatchTaskRequest(
            task_id=self._task_id,
            after_revision=self._revision,
            store_epoch=self._epoch,
            include_deltas=self._include_deltas,
        )

    def accept(self, response: wire.WatchTaskResponse) -> Optional[Event]:
        """Takes a message; answers the event in it, if it holds a new one."""
        if response.HasField("notice"):
            return convert.notice(response.notice)
        if response.HasField("delta"):
            return self._fresh(convert.delta(response.delta))
        if response.reset:
            self._output = (0, 0)
        if not response.HasField("task"):
            return None
        task = convert.task(response.task)
        if not response.reset and task.revision <= self._revision:
            return None
        self._epoch, self._revision = task.store_epoch, task.revision
        self.finished = task.status.terminal
        return TaskEvent(task, reset=response.reset)

    def _fresh(self, delta: OutputDelta) -> Optional[OutputDelta]:
        """What of a piece is new: a stream that was resumed tells all of the attempt's output again."""
        attempt, told = self._output
        told = told if delta.attempt == attempt else 0
        if delta.offset > told:
            return None
        text = delta.text.encode()[told - delta.offset :]
        self._output = (delta.attempt, told + len(text))
        return replace(delta, text=text.decode(), offset=told) if text else None

    def resume_from(self, place: str) -> None:
        """Takes over the epoch in which a stream has ended: it may be later than that of its last event."""
        fields = dict(part.split("=", 1) for part in place.split(",") if "=" in part)
        # Of another revision it says nothing: what was not told to the caller must not be skipped.
        if fields.get("after_revision") == str(self._revision) and fields.get("store_epoch", "").isdecimal():
            self._epoch = int(fields["store_epoch"])


class BatchCursor:
    """The place in a batch's history."""

    method = "WatchBatch"

    def __init__(self, batch_id: str, resume_token: str = "", include_results: bool = True) -> None:
        self._batch_id = batch_id
        self._token = resume_token
        self._include_results = include_results
        # A replica may repeat what lies around the token; the fence of each task says what is new.
        self._seen: Dict[str, Tuple[int, int]] = {}
        # Only the stream's own end says that a batch is done.
        self.finished = False

    def request(self) -> wire.WatchBatchRequest:
        """Asks for what comes next."""
        return wire.WatchBatchRequest(
            batch_id=self._batch_id, resume_token=self._token, include_results=self._include_results
        )

    def accept(self, response: wire.WatchBatchResponse) -> Optional[Event]:
        """Takes a message; answers the event in it, if it holds a new one."""
        self._token = response.resume_token or self._token
        if response.reset:
            self._seen.clear()
        if response.HasField("progress"):
            return replace(convert.progress(response.progress), reset=response.reset)
        if not response.HasField("task"):
            return None
        task = convert.task(response.task)
        fence = (task.store_epoch, task.revision)
        if fence <= self._seen.get(task.id, (-1, -1)):
            return None
        self._seen[task.id] = fence
        return TaskEvent(task, reset=response.reset, resume_token=self._token)

    def resume_from(self, place: str) -> None:
        """The last message's token says the same, and never more than was told to the caller."""


Cursor = Union[TaskCursor, BatchCursor]


class Gathering:
    """Collects the terminal states that a `wait` is for."""

    def __init__(self, what: Union[str, Batch, Sequence[str]]) -> None:
        self.cursors: List[Cursor]
        if isinstance(what, Batch):
            self.cursors = [BatchCursor(what.id)]
            self._ids = list(what.task_ids)
        else:
            self._ids = [what] if isinstance(what, str) else list(what)
            # One after the other: each has to end anyway, and what has ended is told at once.
            self.cursors = [TaskCursor(task_id) for task_id in dict.fromkeys(self._ids)]
        self._is_batch = isinstance(what, Batch)
        self._missing = set(self._ids)
        # Of a batch known only by its id: all of its tasks, in the order first told.
        self._open_ended = not self._ids
        self._ended: Dict[str, Task] = {}

    def see(self, event: Event) -> None:
        """Takes an event."""
        if self._is_batch and not isinstance(event, (TaskNotice, OutputDelta)) and event.reset:
            # What had ended may be undone, and is told anew where it is not.
            self._ids = [] if self._open_ended else self._ids
            self._missing = set(self._ids)
            self._ended.clear()
        if not isinstance(event, TaskEvent):
            return
        if self._open_ended and event.id not in self._ended and event.id not in self._missing:
            self._ids.append(event.id)
            self._missing.add(event.id)
        if event.status.terminal and event.id in self._missing:
            self._missing.discard(event.id)
            self._ended[event.id] = event.task

    @property
    def complete(self) -> bool:
        """Every task that was asked for has ended; never true while it is not known which they are."""
        return not self._open_ended and not self._missing

    def tasks(self) -> List[Task]:
        """The ended tasks, in the order asked for."""
        if self._missing:
            gone = ", ".join(sorted(self._missing)[:3])
            raise NotFound(f"{len(self._missing)} tasks are no longer kept: {gone}")
        return [self._ended[task_id] for task_id in self._ids]

    def timeout(self) -> WaitTimeout:
        """Says how far the tasks were."""
        ended = [self._ended[task_id] for task_id in self._ids if task_id in self._ended]
        return WaitTimeout(ended, [task_id for task_id in self._ids if task_id in self._missing])


def cursor(
    what: Union[str, Batch],
    after_revision: int,
    store_epoch: int,
    resume_token: str,
    include_results: bool,
    include_deltas: bool,
) -> Cursor:
    """Where a watch begins; refuses what belongs to the other kind of watch."""
    if isinstance(what, Batch):
        if include_deltas:
            raise ValueError("output is told of one task at a time; watch a task with include_deltas")
        if after_revision or store_epoch:
            raise ValueError("a batch is resumed by resume_token, not by after_revision")
        return BatchCursor(what.id, resume_token, include_results)
    if resume_token:
        raise ValueError("a task is resumed by after_revision, not by resume_token")
    return TaskCursor(what, after_revision, store_epoch, include_deltas)
