"""The asyncio client: the same calls as `Client`, awaited."""

from __future__ import annotations

import asyncio
import time
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncGenerator,
    AsyncIterator,
    Iterable,
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
import grpc.aio

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

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

T = TypeVar("T")
# What `read` answers at the end of a stream; its published types leave it out.
_EOF: Any = getattr(grpc.aio, "EOF")


class AsyncClient:
    """A connection to a Tidings server, for one event loop. The arguments are those of `Client`."""

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
            grpc.aio.insecure_channel(target, channel_options)
            if secure is None
            else grpc.aio.secure_channel(target, secure, channel_options)
        )
        self._stub = connection.stub(self._channel)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every open call and the connection."""
        self._closed = True
        await self._channel.close()

    async def submit(
        self,
        tasks: Iterable[WorkItem],
        *,
        idempotency_key: Optional[str] = None,
        batch: Union[str, Batch, None] = None,
        keep_open: bool = False,
        budget_nanos: Optional[int] = None,
        **options: Unpack[OptionArguments],
    ) -> Batch:
        """Submits tasks as one batch; see `Client.submit`."""
        submission = calls.Submission(tasks, Options(**options), idempotency_key, batch, keep_open, budget_nanos)
        for call in submission:
            try:
                submission.accept(await self._run(call))
            except errors.Error as error:
                raise submission.failed(error)
        return submission.batch

    @overload
    def watch(
        self, what: str, *, after_revision: int = ..., store_epoch: int = ...
    ) -> AsyncIterator[Union[TaskEvent, TaskNotice]]: ...

    @overload
    def watch(
        self, what: str, *, after_revision: int = ..., store_epoch: int = ..., include_deltas: bool
    ) -> AsyncIterator[Union[TaskEvent, TaskNotice, OutputDelta]]: ...

    @overload
    def watch(
        self, what: Batch, *, resume_token: str = ..., include_results: bool = ...
    ) -> AsyncIterator[Union[TaskEvent, BatchProgress]]: ...

    def watch(
        self,
        what: Union[str, Batch],
        *,
        after_revision: int = 0,
        store_epoch: int = 0,
        resume_token: str = "",
        include_results: bool = True,
        include_deltas: bool = False,
    ) -> AsyncIterator[Event]:
        """Every transition of a task or of all tasks of a batch; see `Client.watch`."""
        cursor = follow.cursor(
            what, after_revision, store_epoch, resume_token, include_results, include_deltas
        )
        return self._follow(cursor, None)

    async def wait(self, what: calls.Target, *, timeout: Optional[float] = None) -> List[Task]:
        """Waits until the tasks have ended and answers them in submit order; see `Client.wait`."""
        gathering = follow.Gathering(what)
        deadline = None if timeout is None else time.monotonic() + timeout
        for cursor in gathering.cursors:
            events = self._follow(cursor, deadline)
            try:
                async for event in events:
                    gathering.see(event)
                    if gathering.complete:
                        break
            except errors.DeadlineExceeded:
                raise gathering.timeout() from None
            finally:
                await events.aclose()
        return gathering.tasks()

    async def status(self, ids: calls.Ids, *, omit_results: bool = False) -> StatusReport:
        """Reads tasks as they now are. To follow tasks, `watch` or `wait` instead."""
        reports = [await self._run(call) for call in calls.status(ids, omit_results)]
        return sum(reports, StatusReport())

    async def cancel(self, what: calls.Target) -> List[CancelOutcome]:
        """Cancels tasks, by id, by ids, or all of a batch; one outcome per id."""
        return [outcome for call in calls.cancel(what) for outcome in await self._run(call)]

    async def retry(self, what: calls.Target, *, idempotency_key: Optional[str] = None) -> List[RetryOutcome]:
        """Submits a new task for each failed or cancelled one; of a batch, for up to 1,000 failed ones."""
        return [outcome for call in calls.retry(what, idempotency_key) for outcome in await self._run(call)]

    async def list(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        batch: Union[str, Batch, None] = None,
        labels: Mapping[str, str] = {},
        page_size: int = 0,
        include_results: bool = False,
    ) -> AsyncIterator[Task]:
        """Tasks that match all of the filters, read page by page as the iterator goes on."""
        listing = calls.Listing(statuses, batch, labels, page_size, include_results)
        token = ""
        while True:
            tasks, token = await self._run(listing.page(token))
            for task in tasks:
                yield task
            if not token:
                return

    async def batch(self, batch: Union[str, Batch]) -> BatchInfo:
        """Reads a batch: counters, usage, and whether it is parked and why."""
        return await self._run(calls.batch_info(batch))

    async def resume(self, batch: Union[str, Batch], *, budget_nanos: Optional[int] = None) -> BatchInfo:
        """Lets a parked batch go on; `budget_nanos` is what it may spend from now on, all that it has spent included."""
        return await self._run(calls.resume(batch, budget_nanos))

    async def invalidate(self, ids: calls.Ids) -> int:
        """Forgets the answers that the requests of these tasks have in the cache; tells how many there were."""
        return sum([await self._run(call) for call in calls.invalidate(ids)])

    async def server_info(self) -> ServerInfo:
        """Version, store, limits and registered functions of the server."""
        return await self._run(calls.server_info())

    @staticmethod
    def function(name: str, arguments: Any = None) -> Function:
        """A call of a function registered in the server, to be submitted."""
        return Function(name, arguments)

    async def _run(self, call: calls.Call[T]) -> T:
        retry = CallRetry(self._settings.retry, time.monotonic() + self._settings.call_timeout)
        while True:
            self._refuse_when_closed()
            try:
                method = getattr(self._stub, call.method)
                timeout = retry.remaining(time.monotonic())
                return call.read(await method(call.request, timeout=timeout, metadata=tuple(self._settings.pairs())))
            except grpc.aio.AioRpcError as error:
                wait = retry.wait(errors.from_rpc(error), time.monotonic())
            await asyncio.sleep(wait)

    async def _follow(self, cursor: follow.Cursor, deadline: Optional[float]) -> AsyncGenerator[Event, None]:
        retry = StreamRetry(self._settings.retry, deadline, time.monotonic())
        while True:
            self._refuse_when_closed()
            stream = self._stream(cursor, retry)
            try:
                async for event in stream:
                    yield event
                return
            except grpc.aio.AioRpcError as error:
                failure = errors.from_rpc(error)
                cursor.resume_from(errors.resume_place(error))
            except _StreamCancelled as error:
                failure = errors.Cancelled(str(error), code=grpc.StatusCode.CANCELLED)
            finally:
                # A reader who stops early ends the call now, not when the garbage is collected.
                await stream.aclose()
            now = time.monotonic()
            if cursor.finished:
                return
            if retry.expired(now):
                raise failure if isinstance(failure, errors.DeadlineExceeded) else errors.DeadlineExceeded(str(failure))
            await asyncio.sleep(retry.wait(failure, now))

    async def _stream(self, cursor: follow.Cursor, retry: StreamRetry) -> AsyncGenerator[Event, None]:
        method = getattr(self._stub, cursor.method)
        timeout = retry.remaining(time.monotonic())
        call = method(cursor.request(), timeout=timeout, metadata=tuple(self._settings.pairs()))
        try:
            while True:
                response = await _read(call, self._settings.silence)
                if response is _EOF:
                    return
                retry.message_came(time.monotonic())
                event = cursor.accept(response)
                if event is not None:
                    yield event
        finally:
            call.cancel()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise errors.Cancelled("the client is closed", code=grpc.StatusCode.CANCELLED)


class _StreamCancelled(Exception):
    """The stream was cancelled, but not the task that reads it."""


async def _read(call: Any, silence: float) -> Any:
    """The next message. In a task of its own, to tell a stream cut by the server from a caller being cancelled."""
    reading = asyncio.ensure_future(call.read())
    try:
        done, _ = await asyncio.wait({reading}, timeout=silence)
    except asyncio.CancelledError:
        reading.cancel()
        raise
    if not done:
        reading.cancel()
        raise _StreamCancelled(f"nothing came for {silence:g} s, not even a heartbeat")
    if reading.cancelled():
        raise _StreamCancelled("the server cancelled the stream")
    return reading.result()
