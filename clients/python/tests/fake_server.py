"""A TaskService on a real socket that follows a script: what to answer to the 1st, 2nd, … call of each method."""

from __future__ import annotations

import threading
from concurrent import futures
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tidings.v1 import task_pb2, task_service_pb2_grpc
from tidings.v1 import task_service_pb2 as wire

# Answers one call: gets the request and the call's context, gives messages (one for a unary call).
Step = Callable[[Any, grpc.ServicerContext], Iterable[Message]]
STREAMS = ("WatchTask", "WatchBatch")


class FakeServer:
    """Runs the scripts. `requests` holds what came in, by method."""

    def __init__(self) -> None:
        self.requests: Dict[str, List[Any]] = {}
        self.metadata: List[Dict[str, Any]] = []
        self._scripts: Dict[str, List[Step]] = {}
        self._lock = threading.Lock()
        self._port = 0
        self._server: Optional[grpc.Server] = None
        self.start()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens, on the same port again after a stop."""
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        add: Any = task_service_pb2_grpc.add_TaskServiceServicer_to_server
        add(self._servicer(), self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def stop(self) -> None:
        """Cuts every connection."""
        assert self._server is not None
        self._server.stop(None).wait()

    def on(self, method: str, *steps: Step) -> None:
        """Scripts the next calls of a method; the last step answers all later ones too."""
        self._scripts[method] = list(steps)

    def _servicer(self) -> Any:
        servicer: Any = task_service_pb2_grpc.TaskServiceServicer
        handlers = {
            method.name: self._handler(method.name)
            for method in wire.DESCRIPTOR.services_by_name["TaskService"].methods
        }
        return type("Scripted", (servicer,), handlers)()

    def _handler(self, method: str) -> Callable[..., Any]:
        def stream(_: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            yield from self._next(method, request, context)(request, context)

        def unary(_: Any, request: Any, context: grpc.ServicerContext) -> Message:
            return next(iter(self._next(method, request, context)(request, context)))

        return stream if method in STREAMS else unary

    def _next(self, method: str, request: Any, context: grpc.ServicerContext) -> Step:
        with self._lock:
            self.requests.setdefault(method, []).append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            steps = self._scripts[method]
            return steps.pop(0) if len(steps) > 1 else steps[0]


def answers(*messages: Message) -> Step:
    """Gives the messages and ends with OK."""
    return lambda request, context: messages


def fails(
    code: grpc.StatusCode, text: str, *details: Message, after: Iterable[Message] = (), place: str = ""
) -> Step:
    """Gives the messages, then fails with rich details, and says where to resume if there is a place."""

    def step(_: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield from after
        status = status_pb2.Status(code=code.value[0], message=text)
        for detail in details:
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        trailers: List[Tuple[str, Any]] = [("grpc-status-details-bin", status.SerializeToString())]
        if place:
            trailers.append(("tidings-resume", place))
        context.set_trailing_metadata(tuple(trailers))
        context.abort(code, text)

    return step


def unavailable(*after: Message, retry_after: float = 0.0) -> Step:
    """Breaks with UNAVAILABLE and RetryInfo after the messages."""
    delay = Duration()
    delay.FromMilliseconds(int(retry_after * 1000))
    return fails(grpc.StatusCode.UNAVAILABLE, "store away", error_details_pb2.RetryInfo(retry_delay=delay), after=after)


def ended(reason: str, place: str, after: Iterable[Message]) -> Step:
    """Ends as a stream does that has lived its time, or whose server goes."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="tidings.dev")
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(nanos=1))
    return fails(grpc.StatusCode.UNAVAILABLE, "watch again", info, retry, after=after, place=place)


def hangs(*after: Message) -> Step:
    """Falls silent after the messages, until the client goes."""

    def step(_: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield from after
        gone = threading.Event()
        if context.add_callback(gone.set):
            gone.wait()

    return step


QUEUED, PROCESSING, COMPLETED = "TASK_STATUS_QUEUED", "TASK_STATUS_PROCESSING", "TASK_STATUS_COMPLETED"


def task(task_id: str, revision: int, status: str, epoch: int = 0, text: str = "") -> task_pb2.Task:
    """A task; one that completed has a result."""
    message = task_pb2.Task(id=task_id, batch_id="b", revision=revision, store_epoch=epoch, status=status)
    if status == COMPLETED:
        message.result.CopyFrom(task_pb2.TaskResult(text=text or f"answer of {task_id}", body='{"a": 1}'))
    return message


def of_task(task_id: str, revision: int, status: str, epoch: int = 0, reset: bool = False) -> wire.WatchTaskResponse:
    """A transition on a task's watch."""
    return wire.WatchTaskResponse(task=task(task_id, revision, status, epoch), reset=reset)


def of_batch(token: str, task_id: str, revision: int, status: str) -> wire.WatchBatchResponse:
    """A transition on a batch's watch."""
    return wire.WatchBatchResponse(task=task(task_id, revision, status), resume_token=token)


def progress(token: str, total: int, done: bool) -> wire.WatchBatchResponse:
    """Counters on a batch's watch."""
    counters = task_pb2.BatchProgress(total=total, completed=total if done else 0, done=done)
    return wire.WatchBatchResponse(progress=counters, resume_token=token)
