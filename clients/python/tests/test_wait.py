"""Waiting answers in submit order, by watching alone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fake_server import COMPLETED, QUEUED, FakeServer, answers, hangs, of_batch, of_task, progress, unavailable

import tidings


def test_a_batch_is_answered_in_submit_order(client: Any, server: FakeServer) -> None:
    server.on(
        "WatchBatch",
        unavailable(of_batch("1", "x", 1, QUEUED), of_batch("2", "y", 1, COMPLETED)),
        answers(of_batch("3", "x", 2, COMPLETED), progress("4", 2, done=True)),
    )
    tasks = client.wait(tidings.Batch("b", ("x", "y")))
    assert [task.id for task in tasks] == ["x", "y"]
    assert [task.result.text for task in tasks] == ["answer of x", "answer of y"]
    assert "GetStatus" not in server.requests


def test_a_wait_ends_with_the_last_task_of_an_open_batch(client: Any, server: FakeServer) -> None:
    server.on("WatchBatch", hangs(of_batch("1", "x", 1, COMPLETED)))
    assert [task.id for task in client.wait(tidings.Batch("b", ("x",)))] == ["x"]


def test_a_batch_known_by_its_id_is_answered_whole(client: Any, server: FakeServer) -> None:
    server.on(
        "WatchBatch",
        answers(of_batch("1", "x", 1, QUEUED), of_batch("2", "y", 1, COMPLETED), of_batch("3", "x", 2, COMPLETED)),
    )
    assert [task.id for task in client.wait(tidings.Batch("b"))] == ["x", "y"]


def test_ids_are_answered_in_their_order(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", lambda request, context: [of_task(request.task_id, 3, COMPLETED)])
    assert [task.id for task in client.wait(["q", "p", "q"])] == ["q", "p", "q"]
    assert client.wait([]) == []


def test_a_timeout_says_how_far_the_tasks_are(client: Any, server: FakeServer) -> None:
    server.on("WatchBatch", hangs(of_batch("1", "x", 1, COMPLETED), of_batch("2", "y", 1, QUEUED)))
    begin = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        client.wait(tidings.Batch("b", ("x", "y")), timeout=0.3)
    assert 0.3 <= time.monotonic() - begin < 5
    assert isinstance(caught.value, tidings.WaitTimeout)
    assert [task.id for task in caught.value.finished] == ["x"]
    assert caught.value.pending == ("y",)
    assert str(caught.value) == "1 of 2 tasks had ended when the time to wait was up"


def test_a_timeout_holds_while_the_server_is_away(client: Any, server: FakeServer) -> None:
    server.on("WatchTask", unavailable(retry_after=30))
    begin = time.monotonic()
    with pytest.raises(tidings.WaitTimeout):
        client.wait("t", timeout=0.3)
    assert time.monotonic() - begin < 5


def test_tasks_that_are_gone_are_named(client: Any, server: FakeServer) -> None:
    server.on("WatchBatch", answers(progress("1", 1, done=True)))
    with pytest.raises(tidings.NotFound, match="1 tasks are no longer kept: x"):
        client.wait(tidings.Batch("b", ("x",)))


def test_what_had_ended_and_was_undone_is_waited_for_again(client: Any, server: FakeServer) -> None:
    anew = of_batch("3", "x", 1, QUEUED)
    anew.reset = True
    again = of_batch("4", "x", 2, COMPLETED)
    again.task.result.text = "second answer"
    server.on(
        "WatchBatch",
        unavailable(of_batch("1", "x", 1, COMPLETED), of_batch("2", "y", 1, QUEUED)),
        answers(anew, again, of_batch("5", "y", 2, COMPLETED), progress("6", 2, done=True)),
    )
    for batch in (tidings.Batch("b", ("x", "y")), tidings.Batch("b")):
        tasks = client.wait(batch)
        assert [task.result.text for task in tasks] == ["second answer", "answer of y"]
        server.on("WatchBatch", answers(of_batch("1", "z", 1, COMPLETED), anew, again, of_batch("2", "y", 1, COMPLETED)))
