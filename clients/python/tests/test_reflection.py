"""A client without generated stubs: all it knows of the API it has learnt from the server's reflection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from real_server import GatedUpstream, serve

CALL_SECONDS = 60
TASKS = "tidings.v1.TaskService"
# What a file describes and what that holds; the numbers are those of google.protobuf.FileDescriptorProto.
PARTS = ((4, "message_type", "field"), (5, "enum_type", "value"), (6, "service", "method"))
UNKNOWN = "01932c07-0000-7000-8000-000000000000"


class Explorer:
    """Calls whatever the server says it has."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self._channel)
        # Untyped: the stubs leave out the methods that find things.
        self._pool: Any = DescriptorPool(self.database)

    def call(self, name: str, **fields: Any) -> Any:
        """The reply of a method of the task service; the list of replies when it streams."""
        return self.ask(TASKS, name, fields)

    def ask(self, service: str, name: str, fields: Dict[str, Any]) -> Any:
        """The same for any service."""
        method = self._pool.FindServiceByName(service).methods_by_name[name]
        ask = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        kind: Any = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        call = kind(
            f"/{service}/{name}",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        reply = call(ask(**fields), timeout=CALL_SECONDS, wait_for_ready=True)
        return list(reply) if method.server_streaming else reply

    def number(self, enum: str, value: str) -> int:
        """The number of an enum's value."""
        values = self._pool.FindEnumTypeByName(f"tidings.v1.{enum}").values_by_name
        number: int = values[value].number
        return number

    def decode(self, message: str, encoded: bytes) -> Any:
        """Bytes read as the message of that name, with the description that the server gives of it."""
        kind = self._pool.FindMessageTypeByName(message)
        return message_factory.GetMessageClass(kind).FromString(encoded)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[GatedUpstream]:
    """Answers two calls and holds back the rest, so that a task can be found running."""
    gated = GatedUpstream(free=2)
    yield gated
    gated.close()


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory, upstream: GatedUpstream) -> Iterator[Explorer]:
    process = serve(tmp_path_factory.mktemp("reflection"), upstream.address)
    process.start("--listen", "127.0.0.1:0")
    found = Explorer(process.address)
    yield found
    found.close()
    process.kill()


def test_the_server_lists_and_describes_every_service_it_has(explorer: Explorer) -> None:
    services = explorer.database.get_services()
    assert {TASKS, "grpc.health.v1.Health"} <= set(services)
    for service in services:
        file = explorer.database.FindFileContainingSymbol(service)
        assert service in {f"{file.package}.{found.name}" for found in file.service}


@pytest.mark.parametrize("path", ["tidings/v1/task.proto", "tidings/v1/task_service.proto"])
def test_every_method_message_field_and_value_is_documented(explorer: Explorer, path: str) -> None:
    file = explorer.database.FindFileByName(path)
    documented = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}
    bare = [
        f"{outer.name}.{inner.name}"
        for number, outers, inners in PARTS
        for index, outer in enumerate(getattr(file, outers))
        for place, inner in enumerate(getattr(outer, inners))
        if not {(number, index), (number, index, 2, place)} <= documented
    ]
    assert bare == []


@pytest.mark.parametrize("service", ["", TASKS])
def test_health_is_checked(explorer: Explorer, service: str) -> None:
    health = explorer.ask("grpc.health.v1.Health", "Check", {"service": service})
    assert health.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[health.status].name == "SERVING"


def test_a_batch_is_submitted_watched_and_read(explorer: Explorer) -> None:
    prompts = ["first", "second"]
    accepted = explorer.call("SubmitBatch", tasks=[{"prompt": prompt} for prompt in prompts])
    completed = explorer.number("TaskStatus", "TASK_STATUS_COMPLETED")

    lives: Dict[str, List[int]] = {}
    messages = explorer.call("WatchBatch", batch_id=accepted.batch_id, include_results=True)
    for message in messages:
        if message.WhichOneof("event") == "task":
            lives.setdefault(message.task.id, []).append(message.task.revision)
    assert lives == {task_id: [1, 2, 3] for task_id in accepted.task_ids}
    middle = messages[len(messages) // 2].resume_token
    rest = explorer.call("WatchBatch", batch_id=accepted.batch_id, resume_token=middle, include_results=True)
    assert [told(message) for message in rest if message.HasField("task")] == [
        told(message) for message in messages[len(messages) // 2 + 1 :] if message.HasField("task")
    ]

    for task_id in accepted.task_ids:
        events = explorer.call("WatchTask", task_id=task_id)
        assert [event.task.revision for event in events] == [1, 2, 3]
        assert events[-1].task.status == completed
        resumed = explorer.call("WatchTask", task_id=task_id, after_revision=2)
        assert [event.task.revision for event in resumed] == [3]

    tasks = explorer.call("GetStatus", task_ids=accepted.task_ids).tasks
    assert [task.result.text for task in tasks] == [f"you said: {prompt}" for prompt in prompts]
    batch = explorer.call("GetBatch", batch_id=accepted.batch_id).batch
    assert (batch.progress.total, batch.progress.completed, batch.progress.done) == (2, 2, True)


def test_a_running_task_is_cancelled_retried_and_listed(explorer: Explorer, upstream: GatedUpstream) -> None:
    accepted = explorer.call("SubmitBatch", tasks=[{"prompt": "held"}], options={"labels": {"purpose": "cancel"}})
    (task_id,) = accepted.task_ids
    wait_until_running(explorer, task_id)

    (outcome,) = explorer.call("CancelTasks", task_ids=[task_id]).outcomes
    assert outcome.result == explorer.number("CancelResult", "CANCEL_RESULT_CANCELLED")
    cancelled = explorer.number("TaskStatus", "TASK_STATUS_CANCELLED")
    assert explorer.call("WatchTask", task_id=task_id)[-1].task.status == cancelled

    (again,) = explorer.call("RetryTasks", task_ids=[task_id]).outcomes
    assert again.result == explorer.number("RetryResult", "RETRY_RESULT_SUBMITTED")
    upstream.open()
    final = explorer.call("WatchTask", task_id=again.new_task_id)[-1].task
    assert (final.retry_of, final.result.text) == (task_id, "you said: held")

    listed = explorer.call("ListTasks", labels={"purpose": "cancel"}).tasks
    assert {task.id for task in listed} == {task_id, again.new_task_id}
    only = explorer.call("ListTasks", batch_id=accepted.batch_id, statuses=[cancelled]).tasks
    assert [task.id for task in only] == [task_id]


def test_the_server_names_its_limits(explorer: Explorer) -> None:
    info = explorer.call("GetServerInfo")
    assert (info.store, info.limits.tasks_per_batch) == ("embedded", 1000)


def test_the_details_of_an_error_can_be_read(explorer: Explorer) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        explorer.call("SubmitBatch", tasks=[{"prompt": "fine"}, {"prompt": ""}])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = [field.field for field in details(explorer, caught.value)["BadRequest"].field_violations]
    assert violations == ["tasks[1].prompt"]

    with pytest.raises(grpc.RpcError) as caught:
        explorer.call("WatchTask", task_id=UNKNOWN)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(explorer, caught.value)["ResourceInfo"].resource_name == UNKNOWN


def told(message: Any) -> Any:
    """Which transition a message of a batch's watch tells."""
    return message.task.id, message.task.revision, message.task.status


def wait_until_running(explorer: Explorer, task_id: str) -> None:
    processing = explorer.number("TaskStatus", "TASK_STATUS_PROCESSING")
    deadline = time.monotonic() + CALL_SECONDS
    while explorer.call("GetStatus", task_ids=[task_id]).tasks[0].status != processing:
        assert time.monotonic() < deadline, f"{task_id} does not start"


def details(explorer: Explorer, error: Any) -> Dict[str, Any]:
    """The details of a failed call, by the last part of their type's name."""
    (encoded,) = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    packed = explorer.decode("google.rpc.Status", encoded).details
    found = [explorer.decode(detail.TypeName(), detail.value) for detail in packed]
    return {detail.DESCRIPTOR.name: detail for detail in found}
