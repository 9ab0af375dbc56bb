"""The client against the real server: everything it offers, and a `kill -9` in mid-watch."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from conftest import Connect
from real_server import GatedUpstream, Process, serve

import tidings
from tidings import TaskStatus

ANY_PORT = ("--listen", "127.0.0.1:0")
UNKNOWN = "01932c07-0000-7000-8000-000000000000"
WAIT_SECONDS = 60
TASKS = 60
# So many are answered before the server is killed.
ANSWERED_FIRST = 20


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the simulated upstream, for all tests that leave it alive."""
    folder = tmp_path_factory.mktemp("server")
    upstream = Process(folder, "simulate-upstream")
    upstream.start(*ANY_PORT)
    process = serve(folder, upstream.address)
    process.start(*ANY_PORT)
    yield process.address
    process.kill()
    upstream.kill()


@pytest.fixture
def live(connect: Connect, address: str) -> Any:
    return connect(address)


def held(client: Any, **options: Any) -> tidings.Batch:
    """A batch that stays queued."""
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    batch: tidings.Batch = client.submit(["first", "second"], not_before=later, **options)
    return batch


def test_every_kind_of_work_is_done(live: Any) -> None:
    chat = [{"role": "user", "content": "hello"}]
    batch = live.submit(
        [
            "What is 2 + 2?",
            tidings.Prompt("And 3 + 3?", custom_id="mine"),
            tidings.Chat(chat, model="gpt-4o-mini", temperature=0.5),
            tidings.OpenAiRequest({"model": "gpt-4o-mini", "messages": chat}),
            tidings.Client.function("debug.echo", {"ä": 1}),
        ]
    )
    tasks = live.wait(batch, timeout=WAIT_SECONDS)
    assert [task.id for task in tasks] == list(batch.task_ids)
    assert [task.status for task in tasks] == [TaskStatus.COMPLETED] * 5
    assert all(task.result.text for task in tasks)
    assert all(task.result.json()["choices"] for task in tasks[:4])
    assert tasks[1].custom_id == "mine"
    assert "ä" in tasks[4].result.text


def test_a_watch_tells_every_transition(live: Any) -> None:
    batch = live.submit(["one", "two"])
    lives = transitions(live.watch(batch))
    assert sorted(lives) == sorted(batch.task_ids)
    assert all(revisions == list(range(1, len(revisions) + 1)) for revisions in lives.values())
    task_id = batch.task_ids[0]
    events = [event for event in live.watch(task_id) if isinstance(event, tidings.TaskEvent)]
    assert [event.revision for event in events] == lives[task_id]
    assert events[-1].status is TaskStatus.COMPLETED
    assert list(live.watch(task_id, after_revision=events[-1].revision)) == []


def test_status_and_listing_find_the_tasks(live: Any) -> None:
    batch = held(live, labels={"purpose": "listing"})
    report = live.status([*batch.task_ids, UNKNOWN])
    assert [task.id for task in report.tasks] == list(batch.task_ids)
    assert report.not_found == (UNKNOWN,)
    assert report.tasks[0].wait_reason is tidings.WaitReason.NOT_BEFORE
    listed = live.list(batch=batch, statuses=[TaskStatus.QUEUED], labels={"purpose": "listing"}, page_size=1)
    assert {task.id for task in listed} == set(batch.task_ids)
    assert live.batch(batch).progress.queued == 2
    assert live.resume(batch).parked is None
    live.cancel(batch)


def test_a_batch_keeps_to_its_budget_and_is_given_more(live: Any) -> None:
    # A function costs nothing, so that it fits into any budget.
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    batch = live.submit([tidings.Function("debug.echo", 1)], not_before=later, budget_nanos=5)
    assert live.batch(batch).progress.budget == tidings.Budget(limit_nanos=5, spent_nanos=0, reserved_nanos=0)
    assert live.resume(batch, budget_nanos=7).progress.budget.limit_nanos == 7
    with pytest.raises(tidings.FailedPrecondition, match="budget_nanos"):
        live.resume(batch, budget_nanos=0)
    with pytest.raises(tidings.InvalidArgument, match="prices"):
        live.submit(["of a model without a price"], budget_nanos=5)
    assert live.batch(held(live)).progress.budget is None
    live.cancel(batch)


def test_an_equal_prompt_is_answered_from_the_cache_until_it_is_invalidated(live: Any) -> None:
    def answered() -> Any:
        batch = live.submit(["asked often"], cache=tidings.CacheMode.ENABLED, cache_max_age=3600)
        (task,) = live.wait(batch, timeout=WAIT_SECONDS)
        return task

    # The other client, on the same server, may have asked before.
    answered()
    again = answered()
    assert again.result.cache is tidings.CacheOutcome.HIT
    assert again.result.usage == tidings.Usage()
    assert live.invalidate(again.id) == 1
    assert live.invalidate([again.id]) == 0
    assert answered().result.cache is tidings.CacheOutcome.MISS


def test_cancelled_tasks_can_be_retried(live: Any) -> None:
    batch = held(live)
    first, second = batch.task_ids
    assert [outcome.result for outcome in live.cancel(first)] == [tidings.CancelResult.CANCELLED]
    assert [outcome.task_id for outcome in live.cancel(batch)] == [second]
    assert [task.status for task in live.wait(batch, timeout=WAIT_SECONDS)] == [TaskStatus.CANCELLED] * 2
    (again,) = live.retry([first])
    assert again.result is tidings.RetryResult.SUBMITTED
    (task,) = live.status(again.new_task_id).tasks
    assert task.retry_of == first
    live.cancel(again.new_task_id)


def test_a_wait_that_takes_too_long_leaves_the_tasks_alone(live: Any) -> None:
    batch = held(live)
    with pytest.raises(tidings.WaitTimeout) as caught:
        live.wait(batch, timeout=1)
    assert caught.value.pending == batch.task_ids
    assert live.batch(batch).progress.queued == 2
    live.cancel(batch)


def test_the_same_key_gives_the_same_batch(live: Any, request: pytest.FixtureRequest) -> None:
    key = request.node.name
    batch = live.submit(["x"], idempotency_key=key)
    assert live.submit(["x"], idempotency_key=key) == batch
    with pytest.raises(tidings.AlreadyExists):
        live.submit(["y"], idempotency_key=key)


def test_more_than_one_call_holds_becomes_one_batch(live: Any) -> None:
    batch = live.submit([tidings.Client.function("debug.echo", number) for number in range(1500)])
    tasks = live.wait(batch, timeout=WAIT_SECONDS)
    assert [task.id for task in tasks] == list(batch.task_ids)
    assert {task.batch_id for task in tasks} == {batch.id}
    assert live.batch(batch).progress.completed == 1500


def test_faults_have_their_exceptions(live: Any) -> None:
    with pytest.raises(tidings.NotFound):
        list(live.watch(UNKNOWN))
    with pytest.raises(tidings.InvalidArgument):
        live.status("not an id")
    with pytest.raises(tidings.InvalidArgument) as caught:
        live.submit(["fine", ""])
    assert [violation.field for violation in caught.value.violations] == ["tasks[1].prompt"]
    with pytest.raises(tidings.InvalidArgument):
        live.submit([])


def test_the_server_says_what_it_is(live: Any) -> None:
    info = live.server_info()
    assert info.store == "embedded" and info.tasks_per_batch == 1000
    assert "debug.echo" in info.functions


def test_a_watch_and_all_tasks_outlive_a_killed_server(connect: Connect, tmp_path: Path) -> None:
    upstream = GatedUpstream(free=ANSWERED_FIRST)
    process = serve(tmp_path, upstream.address)
    process.start(*ANY_PORT)
    address = process.address
    try:
        client = connect(address)
        batch = client.submit([f"question {number}" for number in range(TASKS)])
        completed = 0
        events = []
        for event in client.watch(batch):
            events.append(event)
            if isinstance(event, tidings.TaskEvent) and event.status is TaskStatus.COMPLETED:
                completed += 1
                assert event.result is not None and event.result.text.startswith("you said: question ")
                if completed == ANSWERED_FIRST:
                    process.kill()
                    upstream.open()
                    process.start("--listen", address)
        lives = transitions(events)
        assert sorted(lives) == sorted(batch.task_ids)
        assert all(revisions == list(range(1, len(revisions) + 1)) for revisions in lives.values())
        assert completed == TASKS
        assert [task.id for task in client.wait(batch, timeout=WAIT_SECONDS)] == list(batch.task_ids)
    finally:
        process.kill()
        upstream.close()


def transitions(events: Any) -> Dict[str, List[int]]:
    """The revisions told of each task."""
    lives: Dict[str, List[int]] = defaultdict(list)
    for event in events:
        if isinstance(event, tidings.TaskEvent):
            lives[event.id].append(event.revision)
    return lives
