"""Watches go on after every kind of break, without gap or repeat."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Iterator, List, Tuple

import grpc
import pytest
from conftest import Connect
from fake_server import (
    COMPLETED,
    PROCESSING,
    QUEUED,
    FakeServer,
    answers,
    ended,
    fails,
    hangs,
    of_batch,
    of_task,
    progress,
    unavailable,
)
from google.protobuf.message import Message
from google.rpc import error_details_pb2

import tidings
from tidings.v1 import task_service_pb2 as wire

LIFE = [of_task("t", 1, QUEUED), of_task("t", 2, PROCESSING), of_task("t", 3, COMPLETED)]
HEARTBEAT = wire.WatchTaskResponse(heartbeat=wire.Heartbeat())


def revisions(events: Any) -> List[int]:
    return [event.revision for event in events if isinstance(event, tidings.TaskEvent)]


def test_a_watch_tells_every_transition_and_ends(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", answers(LIFE[0], HEARTBEAT, *LIFE[1:]))
    events = list(client.watch("t"))
    assert [event.status for event in events] == [
        tidings.TaskStatus.QUEUED,
        tidings.TaskStatus.PROCESSING,
        tidings.TaskStatus.COMPLETED,
    ]
    assert events[-1].result.text == "answer of t"
    assert events[-1].result.json() == {"a": 1}


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "CANCELLED", "UNKNOWN"])
def test_a_broken_watch_goes_on_after_the_last_revision(client: Any, server: FakeServer, code: str) -> None:
    broken = fails(grpc.StatusCode[code], "broken", after=tuple(LIFE[:2]))
    server.on("WatchTask", broken, answers(LIFE[2]))
    assert revisions(client.watch("t")) == [1, 2, 3]
    assert [request.after_revision for request in server.requests["WatchTask"]] == [0, 2]


def test_what_a_replica_repeats_is_told_once(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", unavailable(*LIFE[:2]), answers(*LIFE))
    assert revisions(client.watch("t")) == [1, 2, 3]
    first, again = of_batch("1", "x", 1, QUEUED), of_batch("2", "x", 2, COMPLETED)
    server.on("WatchBatch", unavailable(first), answers(first, again))
    assert revisions(client.watch(tidings.Batch("b"))) == [1, 2]


def of_output(attempt: int, offset: int, text: str) -> wire.WatchTaskResponse:
    delta = wire.OutputDelta(task_id="t", attempt=attempt, offset=offset, text=text)
    return wire.WatchTaskResponse(delta=delta)


def test_output_is_told_between_the_transitions_and_once(client: Any, server: FakeServer) -> None:
    server.on(
        "WatchTask",
        unavailable(*LIFE[:2], of_output(1, 0, "数"), of_output(1, 3, "a")),
        unavailable(of_output(1, 0, "数ab"), of_output(2, 0, "new")),
        answers(of_output(2, 0, "new"), LIFE[2]),
    )
    events = list(client.watch("t", include_deltas=True))
    told = [
        (event.attempt, event.offset, event.text) if isinstance(event, tidings.OutputDelta) else event.revision
        for event in events
    ]
    assert told == [1, 2, (1, 0, "数"), (1, 3, "a"), (1, 4, "b"), (2, 0, "new"), 3]
    assert all(request.include_deltas for request in server.requests["WatchTask"])
    with pytest.raises(ValueError, match="one task at a time"):
        client.watch(tidings.Batch("b"), include_deltas=True)


def test_a_batch_goes_on_with_the_last_token(client: Any, server: FakeServer) -> None:
    server.on(
        "WatchBatch",
        unavailable(of_batch("1", "x", 1, QUEUED), progress("2", 2, done=False)),
        answers(of_batch("3", "y", 1, QUEUED), progress("4", 2, done=True)),
    )
    events = list(client.watch(tidings.Batch("b")))
    assert [request.resume_token for request in server.requests["WatchBatch"]] == ["", "2"]
    assert [type(event).__name__ for event in events] == ["TaskEvent", "BatchProgress"] * 2
    assert events[2].resume_token == "3"
    assert events[3].done


def test_nothing_is_asked_again_after_the_terminal_event(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", unavailable(*LIFE))
    assert revisions(client.watch("t")) == [1, 2, 3]
    assert len(server.requests["WatchTask"]) == 1


def test_the_server_says_when_to_come_back(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", unavailable(LIFE[0], retry_after=0.5), answers(*LIFE[1:]))
    begin = time.monotonic()
    assert revisions(client.watch("t")) == [1, 2, 3]
    assert time.monotonic() - begin >= 0.5


def test_a_silent_stream_is_replaced(connect: Connect, server: FakeServer) -> None:
    server.on("WatchTask", hangs(LIFE[0]), answers(*LIFE[1:]))
    assert revisions(connect(server.endpoint, silence=0.3).watch("t")) == [1, 2, 3]
    assert [request.after_revision for request in server.requests["WatchTask"]] == [0, 1]


def test_a_slow_reader_is_not_taken_for_a_silent_server(connect: Connect, server: FakeServer) -> None:
    server.on("WatchTask", answers(*LIFE))
    seen = []
    for event in connect(server.endpoint, silence=0.2).watch("t"):
        seen.append(event.revision)
        threading.Event().wait(0.4)
    assert seen == [1, 2, 3]
    assert len(server.requests["WatchTask"]) == 1


def test_a_watch_outlives_a_restart_of_the_server(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", hangs(*LIFE[:2]), answers(LIFE[2]))
    seen = []
    for event in client.watch("t"):
        seen.append(event.revision)
        if event.revision == 2:
            server.stop()
            server.start()
    assert seen == [1, 2, 3]


def test_a_reset_tells_the_truth_as_it_now_is(client: Any, server: FakeServer) -> None:
    truth = of_task("t", 1, QUEUED, epoch=2, reset=True)
    end = of_task("t", 2, COMPLETED, epoch=2)
    server.on("WatchTask", unavailable(*LIFE[:2]), answers(truth, end))
    told: List[Tuple[int, bool]] = [(event.revision, event.reset) for event in client.watch("t")]
    assert told == [(1, False), (2, False), (1, True), (2, False)]


def test_a_watch_gives_up_when_the_server_stays_away(connect: Connect, server: FakeServer) -> None:
    server.on("WatchTask", unavailable())
    retry = tidings.RetryPolicy(initial=0.01, maximum=0.05, give_up_after=0.3)
    with pytest.raises(tidings.Unavailable):
        list(connect(server.endpoint, retry=retry).watch("t"))
    assert len(server.requests["WatchTask"]) > 2


def test_an_unknown_task_is_told_at_once(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", fails(grpc.StatusCode.NOT_FOUND, "no such task"))
    with pytest.raises(tidings.NotFound):
        list(client.watch("t"))
    assert len(server.requests["WatchTask"]) == 1


def test_a_reader_who_stops_early_ends_the_call(client: Any, server: FakeServer) -> None:
    gone = threading.Event()

    def step(_: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        context.add_callback(gone.set)
        yield LIFE[0]
        gone.wait()

    server.on("WatchTask", step)
    events = client.watch("t")
    assert next(events).revision == 1
    events.close()
    assert gone.wait(timeout=10)


def test_closing_the_client_ends_a_watch() -> None:
    server = FakeServer()
    server.on("WatchTask", hangs(LIFE[0]))
    client = tidings.Client(server.endpoint)
    with pytest.raises(tidings.Cancelled, match="the client is closed"):
        for _ in client.watch("t"):
            threading.Timer(0.2, client.close).start()
    server.stop()


def test_closing_the_async_client_ends_a_watch(server: FakeServer) -> None:
    server.on("WatchTask", hangs(LIFE[0]))

    async def main() -> None:
        client = tidings.AsyncClient(server.endpoint)
        async for _ in client.watch("t"):
            asyncio.get_running_loop().call_later(0.2, lambda: closing.append(asyncio.ensure_future(client.close())))

    closing: List[Any] = []
    with pytest.raises(tidings.Cancelled, match="the client is closed"):
        asyncio.run(main())


def test_cancelling_the_task_that_watches_is_not_taken_for_a_break(server: FakeServer) -> None:
    server.on("WatchTask", hangs(LIFE[0]))

    async def main() -> None:
        async with tidings.AsyncClient(server.endpoint) as client:
            await asyncio.wait_for(client.wait("t"), timeout=0.3)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert len(server.requests["WatchTask"]) == 1


def test_a_position_of_the_other_kind_is_refused(client: Any) -> None:
    with pytest.raises(ValueError, match="after_revision"):
        client.watch("t", resume_token="x")
    with pytest.raises(ValueError, match="resume_token"):
        client.watch(tidings.Batch("b"), after_revision=3)


def test_a_stream_that_has_lived_its_time_is_resumed_in_its_last_epoch(client: Any, server: FakeServer) -> None:
    aged = ended("STREAM_AGE", "after_revision=2,store_epoch=2", after=LIFE[:2])
    server.on("WatchTask", aged, answers(LIFE[2]))
    assert revisions(client.watch("t")) == [1, 2, 3]
    asked = [(request.after_revision, request.store_epoch) for request in server.requests["WatchTask"]]
    assert asked == [(0, 0), (2, 2)]


def test_the_end_of_a_stream_makes_nobody_skip_what_was_not_told(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", ended("DRAINING", "after_revision=2,store_epoch=2", after=LIFE[:1]), answers(*LIFE[1:]))
    assert revisions(client.watch("t")) == [1, 2, 3]
    asked = [(request.after_revision, request.store_epoch) for request in server.requests["WatchTask"]]
    assert asked == [(0, 0), (1, 0)]


def test_a_reset_of_a_batch_tells_everything_anew(client: Any, server: FakeServer) -> None:
    anew = of_batch("3", "x", 1, QUEUED)
    anew.reset = True
    server.on(
        "WatchBatch",
        unavailable(of_batch("1", "x", 1, QUEUED), of_batch("2", "x", 2, COMPLETED)),
        answers(anew, of_batch("4", "x", 2, PROCESSING), progress("5", 1, done=False)),
    )
    events = list(client.watch(tidings.Batch("b")))
    told = [(event.revision, event.reset) for event in events if isinstance(event, tidings.TaskEvent)]
    assert told == [(1, False), (2, False), (1, True), (2, False)]
    assert not events[-1].reset


def test_counters_may_come_with_the_reset(client: Any, server: FakeServer) -> None:
    anew = progress("1", 0, done=False)
    anew.reset = True
    server.on("WatchBatch", answers(anew))
    assert [event.reset for event in client.watch(tidings.Batch("b"))] == [True]


@pytest.mark.parametrize("what", ["t", tidings.Batch("b")])
def test_what_the_store_lost_is_said(client: Any, server: FakeServer, what: Any) -> None:
    lost = fails(grpc.StatusCode.NOT_FOUND, "the store lost it", error_details_pb2.ErrorInfo(reason="DATA_LOSS"))
    server.on("WatchTask", unavailable(LIFE[0]), lost)
    server.on("WatchBatch", unavailable(of_batch("1", "x", 1, QUEUED)), lost)
    with pytest.raises(tidings.Lost, match="the store lost it"):
        list(client.watch(what))
