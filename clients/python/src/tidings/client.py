"""The blocking client."""

from __future__ import annotations

import threading
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Generator,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
    overload,
)

import grpc

from tidings import calls, connection, errors, follow
from tidings.enums import TaskStatus
from tidings.model import (
    Batch,
    BatchInfo,
    BatchProgress,
    CancelOutcome,
    Event,
    OutputDelta,
    RetryOutcome,
    ServerInfo,
    StatusReport,
    Task,
    TaskEvent,
    TaskNotice,
)
from tidings.retry import CallRetry, RetryPolicy, StreamRetry
from tidings.spec import Function, OptionArguments, Options, WorkItem
from tidings.watchdog import Watchdog

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

T = TypeVar("T")


class Client:
    """A connection to a Tidings server, for any number of threads. Close it, or use it in a `with` block.

    `endpoint` is `host:port`, `http://host:port`, or `https://host:port` for TLS. `credentials` are gRPC channel
    credentials, `metadata` pairs sent with every call or a function that gives them. A unary call is tried again
    while the server is UNAVAILABLE, for at most `call_timeout` seconds. A watch that hears nothing for `silence`
    seconds, heartbeats included, reconnects. Every call raises a subclass of `tidings.Error`.
    """

    def __init__(
        self,
        endpoint: str = connection.DEFAULT_ENDPOINT,
        *,
        credentials: Optional[grpc.ChannelCredentials] = None,
        metadata: connection.Metadata = (),
        call_timeout: float = 60.0,
        silence: float = 75.0,
        retry: RetryPolicy = RetryPolicy(),
        options: Sequence[Tuple[str, Any]] = (),
    ) -> None:
        self._settings = connection.Settings(endpoint, credentials, metadata, call_timeout, silence, retry, options)
        target, secure = self._settings.target()
        channel_options = self._settings.channel_options()
        self._channel = (
            grpc.insecure_channel(target, channel_options)
            if secure is None
            else grpc.secure_channel(target, secure, channel_options)
        )
        self._stub = connection.stub(self._channel)
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every open call and the connection."""
        self._closed.set()
        self._channel.close()

    def submit(
        self,
        tasks: Iterable[WorkItem],
        *,
        idempotency_key: Optional[str] = None,
        batch: Union[str, Batch, None] = None,
        keep_open: bool = False,
        budget_nanos: Optional[int] = None,
        **options: Unpack[OptionArguments],
    ) -> Batch:
        """Submits tasks as one batch and answers its id and theirs, in order.

        The options (`model`, `priority`, `labels`, …: see `Options`) are defaults for every task. More than one call
        may hold go out in several calls, in one batch all the same. Repeating a submit under the same
        `idempotency_key` gives the same batch; without one, only the client's own retries are safe. `batch` adds to
        an open batch, `keep_open` leaves it open for more. A new batch spends no more than `budget_nanos`, in billionths
        of the currency; when its next task does not fit it is parked until `resume` is given more.
        """
        submission = calls.Submission(tasks, Options(**options), idempotency_key, batch, keep_open, budget_nanos)
        for call in submission:
            try:
                submission.accept(self._run(call))
            except errors.Error as error:
                raise submission.failed(error)
        return submission.batch

    @overload
    def watch(
        self, what: str, *, after_revision: int = ..., store_epoch: int = ...
    ) -> Iterator[Union[TaskEvent, TaskNotice]]: ...

    @overload
    def watch(
        self, what: str, *, after_revision: int = ..., store_epoch: int = ..., include_deltas: bool
    ) -> Iterator[Union[TaskEvent, TaskNotice, OutputDelta]]: ...

    @overload
    def watch(
        self, what: Batch, *, resume_token: str = ..., include_results: bool = ...
    ) -> Iterator[Union[TaskEvent, BatchProgress]]: ...

    def watch(
        self,
        what: Union[str, Batch],
        *,
        after_revision: int = 0,
        store_epoch: int = 0,
        resume_token: str = "",
        include_results: bool = True,
        include_deltas: bool = False,
    ) -> Iterator[Event]:
        """Every transition of a task (by id) or of all tasks of a batch, from the first, until all have ended.

        With `include_deltas` it also tells what a running task puts out, as `OutputDelta`s between the transitions, if
        the task was submitted with `stream_output`.

        It reconnects by itself and neither repeats nor skips an event. Should the store lose writes in a failover, the
        next event says `reset`, and `Lost` is raised when nothing is left to watch. To go on in another process, keep
        `event.revision` and `event.task.store_epoch` of a task, `event.resume_token` of a batch.
        """
        cursor = follow.cursor(
            what, after_revision, store_epoch, resume_token, include_results, include_deltas
        )
        return self._follow(cursor, None)

    def wait(self, what: calls.Target, *, timeout: Optional[float] = None) -> List[Task]:
        """Waits until the tasks have ended and answers them in submit order (a list of ids: in its order).

        Told by watching, not by asking. After `timeout` seconds it raises `WaitTimeout`; the tasks go on.
        """
        gathering = follow.Gathering(what)
        deadline = None if timeout is None else time.monotonic() + timeout
        for cursor in gathering.cursors:
            events = self._follow(cursor, deadline)
            try:
                for event in events:
                    gathering.see(event)
                    if gathering.complete:
                        break
            except errors.DeadlineExceeded:
                raise gathering.timeout() from None
            finally:
                events.close()
        return gathering.tasks()

    def status(self, ids: calls.Ids, *, omit_results: bool = False) -> StatusReport:
        """Reads tasks as they now are. To follow tasks, `watch` or `wait` instead."""
        reports = [self._run(call) for call in calls.status(ids, omit_results)]
        return sum(reports, StatusReport())

    def cancel(self, what: calls.Target) -> List[CancelOutcome]:
        """Cancels tasks, by id, by ids, or all of a batch; one outcome per id."""
        return [outcome for call in calls.cancel(what) for outcome in self._run(call)]

    def retry(self, what: calls.Target, *, idempotency_key: Optional[str] = None) -> List[RetryOutcome]:
        """Submits a new task for each failed or cancelled one; of a batch, for up to 1,000 failed ones."""
        return [outcome for call in calls.retry(what, idempotency_key) for outcome in self._run(call)]

    def list(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        batch: Union[str, Batch, None] = None,
        labels: Mapping[str, str] = {},
        page_size: int = 0,
        include_results: bool = False,
    ) -> Iterator[Task]:
        """Tasks that match all of the filters, read page by page as the iterator goes on."""
        listing = calls.Listing(statuses, batch, labels, page_size, include_results)
        tasks, token = self._run(listing.page(""))
        yield from tasks
        while token:
            tasks, token = self._run(listing.page(token))
            yield from tasks

    def batch(self, batch: Union[str, Batch]) -> BatchInfo:
        """Reads a batch: counters, usage, and whether it is parked and why."""
        return self._run(calls.batch_info(batch))

    def resume(self, batch: Union[str, Batch], *, budget_nanos: Optional[int] = None) -> BatchInfo:
        """Lets a parked batch go on; `budget_nanos` is what it may spend from now on, all that it has spent included."""
        return self._run(calls.resume(batch, budget_nanos))

    def invalidate(self, ids: calls.Ids) -> int:
        """Forgets the answers that the requests of these tasks have in the cache; tells how many there were."""
        return sum(self._run(call) for call in calls.invalidate(ids))

    def server_info(self) -> ServerInfo:
        """Version, store, limits and registered functions of the server."""
        return self._run(calls.server_info())

    @staticmethod
    def function(name: str, arguments: Any = None) -> Function:
        """A call of a function registered in the server, to be submitted."""
        return Function(name, arguments)

    def _run(self, call: calls.Call[T]) -> T:
        retry = CallRetry(self._settings.retry, time.monotonic() + self._settings.call_timeout)
        while True:
            self._refuse_when_closed()
            try:
                method = getattr(self._stub, call.method)
                timeout = retry.remaining(time.monotonic())
                return call.read(method(call.request, timeout=timeout, metadata=self._settings.pairs()))
            except grpc.RpcError as error:
                wait = retry.wait(errors.from_rpc(error), time.monotonic())
            self._closed.wait(wait)

    def _follow(self, cursor: follow.Cursor, deadline: Optional[float]) -> Generator[Event, None, None]:
        retry = StreamRetry(self._settings.retry, deadline, time.monotonic())
        while True:
            self._refuse_when_closed()
            try:
                yield from self._stream(cursor, retry)
                return
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
                cursor.resume_from(errors.resume_place(error))
            now = time.monotonic()
            if cursor.finished:
                return
            if retry.expired(now):
                raise failure if isinstance(failure, errors.DeadlineExceeded) else errors.DeadlineExceeded(str(failure))
            self._closed.wait(retry.wait(failure, now))

    def _stream(self, cursor: follow.Cursor, retry: StreamRetry) -> Generator[Event, None, None]:
        method = getattr(self._stub, cursor.method)
        timeout = retry.remaining(time.monotonic())
        call = method(cursor.request(), timeout=timeout, metadata=self._settings.pairs())
        watchdog = Watchdog(call, self._settings.silence)
        try:
            for response in watchdog.guarded():
                retry.message_came(time.monotonic())
                event = cursor.accept(response)
                if event is not None:
                    yield event
        finally:
            watchdog.stop()
            call.cancel()

    def _refuse_when_closed(self) -> None:
        if self._closed.is_set():
            raise errors.Cancelled("the client is closed", code=grpc.StatusCode.CANCELLED)
