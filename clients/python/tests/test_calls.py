"""The unary calls: cutting to the limits, trying again, and telling errors."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Iterator

import grpc
import pytest
from conftest import Connect
from fake_server import FakeServer, answers, fails, task, unavailable
from google.rpc import error_details_pb2

import tidings
from tidings.v1 import task_pb2
from tidings.v1 import task_service_pb2 as wire


def accept(request: wire.SubmitBatchRequest, _: Any) -> Iterator[wire.SubmitBatchResponse]:
    ids = [f"{request.idempotency_key}#{number}" for number in range(len(request.tasks))]
    yield wire.SubmitBatchResponse(batch_id="b", task_ids=ids)


def test_every_kind_of_work_reaches_the_server(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", accept)
    client.submit(
        [
            " as it is \n",
            tidings.Prompt("p", custom_id="mine", options=tidings.Options(model="m", max_attempts=2)),
            tidings.Chat([{"role": "user", "content": "c"}], temperature=0.0, extra_body={"n": 1}),
            tidings.OpenAiRequest('{"model":  "x"}'),
            tidings.Function("debug.echo", {"ä": [1, None]}),
        ],
        model="big",
        priority=tidings.Priority.HIGH,
        timeout=1.5,
        deadline=datetime(2030, 1, 1, tzinfo=timezone.utc),
        status_retention=timedelta(hours=1),
        labels={"k": "v"},
        stream_output=True,
        validation_retries=0,
    )
    (request,) = server.requests["SubmitBatch"]
    prompt, named, chat, raw, function = request.tasks
    assert prompt.prompt == " as it is \n" and not prompt.HasField("options")
    assert (named.prompt, named.custom_id, named.options.model, named.options.max_attempts) == ("p", "mine", "m", 2)
    assert chat.chat_completion.HasField("temperature") and chat.chat_completion.extra_body == '{"n": 1}'
    assert raw.openai_request.body == '{"model":  "x"}' and raw.openai_request.path == "/v1/chat/completions"
    assert function.function_call.arguments == '{"ä": [1, null]}'
    options = request.options
    assert (options.model, options.priority, dict(options.labels)) == ("big", 3, {"k": "v"})
    # Zero is said: answers are checked, and never asked for again.
    assert options.HasField("validation_retries") and options.validation_retries == 0
    assert not named.options.HasField("validation_retries")
    assert options.stream_output and not named.options.HasField("stream_output")
    assert options.timeout.ToMilliseconds() == 1500 and options.status_retention.ToSeconds() == 3600
    assert options.deadline.ToDatetime().year == 2030 and not options.HasField("not_before")


def test_many_tasks_go_out_in_several_calls_of_one_batch(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", accept)
    batch = client.submit((str(number) for number in range(2500)), idempotency_key="k")
    calls = server.requests["SubmitBatch"]
    assert [len(call.tasks) for call in calls] == [1000, 1000, 500]
    assert [call.keep_open for call in calls] == [True, True, False]
    assert [call.batch_id for call in calls] == ["", "b", "b"]
    assert [call.idempotency_key for call in calls] == ["k", "k/1", "k/2"]
    assert len(batch.task_ids) == 2500 and batch.task_ids[1000] == "k/1#0"


def test_large_tasks_stay_below_the_limit_of_a_call(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", accept)
    client.submit(["x" * 1_000_000] * 7)
    calls = server.requests["SubmitBatch"]
    assert [len(call.tasks) for call in calls] == [3, 3, 1]
    assert all(call.ByteSize() < 4 * 1024 * 1024 for call in calls)


def test_exactly_one_full_call_closes_the_batch(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", accept)
    client.submit(["x"] * 1000)
    (call,) = server.requests["SubmitBatch"]
    assert not call.keep_open


def test_a_submit_is_tried_again_under_the_same_key(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", unavailable(), unavailable(), accept)
    assert client.submit(["x"]).id == "b"
    keys = {call.idempotency_key for call in server.requests["SubmitBatch"]}
    assert len(server.requests["SubmitBatch"]) == 3 and len(keys) == 1 and keys != {""}


def test_two_submits_have_different_keys(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", accept)
    client.submit(["x"])
    client.submit(["x"])
    assert len({call.idempotency_key for call in server.requests["SubmitBatch"]}) == 2


def test_a_call_gives_up_at_its_deadline(connect: Connect, server: FakeServer) -> None:
    server.on("GetBatch", unavailable(retry_after=5))
    with pytest.raises(tidings.Unavailable) as caught:
        connect(server.endpoint, call_timeout=1.0).batch("b")
    assert caught.value.retry_after == 5
    assert str(caught.value) == "store away (try again in 5 s)"
    assert len(server.requests["GetBatch"]) == 1


def test_faults_of_a_request_are_told_field_by_field(client: Any, server: FakeServer) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="tasks[0].prompt", description="must not be empty")
    info = error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", domain="tidings.dev")
    server.on("SubmitBatch", fails(grpc.StatusCode.INVALID_ARGUMENT, "the batch has 1 fault", info, bad))
    with pytest.raises(tidings.InvalidArgument) as caught:
        client.submit([""])
    assert caught.value.violations == (tidings.FieldViolation("tasks[0].prompt", "must not be empty"),)
    assert caught.value.reason == "INVALID_REQUEST"
    assert str(caught.value) == "the batch has 1 fault (tasks[0].prompt: must not be empty)"


def test_a_fault_that_the_message_holds_is_told_once(client: Any, server: FakeServer) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="tasks[0].prompt", description="is empty")
    bad.field_violations.add(field="tasks[1].prompt", description="is too long")
    text = "tasks[0].prompt: is empty (and 1 more)"
    server.on("SubmitBatch", fails(grpc.StatusCode.INVALID_ARGUMENT, text, bad))
    with pytest.raises(tidings.InvalidArgument) as caught:
        client.submit([""])
    assert str(caught.value) == f"{text} (tasks[1].prompt: is too long)"


@pytest.mark.parametrize(
    "kind",
    [
        tidings.NotFound,
        tidings.AlreadyExists,
        tidings.FailedPrecondition,
        tidings.ResourceExhausted,
        tidings.Unimplemented,
        tidings.Internal,
        tidings.PermissionDenied,
        tidings.Unauthenticated,
    ],
)
def test_each_status_has_its_exception(client: Any, server: FakeServer, kind: Any) -> None:
    code = next(code for code in grpc.StatusCode if code.name.replace("_", "").lower() == kind.__name__.lower())
    server.on("GetBatch", fails(code, "no"))
    with pytest.raises(kind) as caught:
        client.batch("b")
    assert caught.value.code is code and len(server.requests["GetBatch"]) == 1


def test_a_submit_that_fails_on_the_way_says_what_was_accepted(client: Any, server: FakeServer) -> None:
    server.on("SubmitBatch", accept, fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "full"))
    with pytest.raises(tidings.ResourceExhausted, match="holds the first 1000 tasks") as caught:
        client.submit(["x"] * 1500)
    assert caught.value.accepted is not None and len(caught.value.accepted.task_ids) == 1000


def test_many_ids_are_asked_for_in_several_calls(client: Any, server: FakeServer) -> None:
    server.on(
        "GetStatus",
        lambda request, _: [
            wire.GetStatusResponse(
                tasks=[task(request.task_ids[0], 1, "TASK_STATUS_QUEUED")], not_found=request.task_ids[1:]
            )
        ],
    )
    report = client.status([str(number) for number in range(1500)])
    assert [found.id for found in report.tasks] == ["0", "1000"]
    assert len(report.not_found) == 1498


def test_cancel_and_retry_take_ids_or_a_batch(client: Any, server: FakeServer) -> None:
    cancelled = wire.CancelOutcome(task_id="x", result="CANCEL_RESULT_CANCELLED", status="TASK_STATUS_CANCELLED")
    retried = wire.RetryOutcome(task_id="x", result="RETRY_RESULT_SUBMITTED", new_task_id="y")
    server.on("CancelTasks", answers(wire.CancelTasksResponse(outcomes=[cancelled])))
    server.on("RetryTasks", answers(wire.RetryTasksResponse(outcomes=[retried])))
    assert client.cancel("x")[0].result is tidings.CancelResult.CANCELLED
    assert client.cancel(tidings.Batch("b"))[0].status is tidings.TaskStatus.CANCELLED
    assert client.retry(["x"])[0].new_task_id == "y"
    assert [(list(c.task_ids), c.batch_id) for c in server.requests["CancelTasks"]] == [(["x"], ""), ([], "b")]
    assert server.requests["RetryTasks"][0].idempotency_key


def test_a_listing_reads_page_after_page(client: Any, server: FakeServer) -> None:
    server.on(
        "ListTasks",
        answers(wire.ListTasksResponse(tasks=[task("x", 1, "TASK_STATUS_ERROR")], next_page_token="n")),
        answers(wire.ListTasksResponse(next_page_token="m")),
        answers(wire.ListTasksResponse(tasks=[task("y", 1, "TASK_STATUS_ERROR")])),
    )
    listed = client.list(statuses=[tidings.TaskStatus.ERROR], labels={"k": "v"})
    assert [found.id for found in listed] == ["x", "y"]
    assert [call.page_token for call in server.requests["ListTasks"]] == ["", "n", "m"]
    assert list(server.requests["ListTasks"][0].statuses) == [task_pb2.TASK_STATUS_ERROR]


def test_metadata_is_asked_for_anew_for_each_call(connect: Connect, server: FakeServer) -> None:
    server.on("GetBatch", answers(wire.GetBatchResponse()))
    tokens = iter(["one", "two"])
    client = connect(f"http://{server.endpoint}", metadata=lambda: [("authorization", next(tokens))])
    client.batch("b")
    client.batch("b")
    assert [pairs["authorization"] for pairs in server.metadata] == ["one", "two"]


def test_a_closed_client_says_so(client: Any, server: FakeServer) -> None:
    client.close()
    with pytest.raises(tidings.Cancelled, match="closed"):
        client.batch("b")


def test_what_would_be_misread_is_refused_before_it_is_sent(client: Any, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="time zone"):
        client.submit(["x"], deadline=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="max_attempts"):
        client.submit(["x"], max_attempts=0)
    with pytest.raises(TypeError, match="not int"):
        client.submit([1])
    assert "SubmitBatch" not in server.requests


@pytest.mark.parametrize("name", ["TaskStatus", "Priority", "TransitionCause", "WaitReason", "CacheMode", "CacheOutcome",
                                  "ErrorCode", "ParkReason", "DurabilityLevel", "CancelResult", "RetryResult"])
def test_the_enumerations_are_those_of_the_protocol(name: str) -> None:
    files = (task_pb2.DESCRIPTOR, wire.DESCRIPTOR)
    (theirs,) = [file.enum_types_by_name[name] for file in files if name in file.enum_types_by_name]
    prefix = theirs.values[0].name[: -len("UNSPECIFIED")]
    ours = {value.name: value.value for value in getattr(tidings, name)}
    assert ours == {value.name[len(prefix):]: value.number for value in theirs.values}
