"""What a client submits: work items and their options."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Mapping, Optional, Sequence, TypedDict, Union

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tidings.enums import CacheMode, Priority
from tidings.v1 import task_pb2

# Seconds, or a timedelta.
Seconds = Union[float, timedelta]


class OptionArguments(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments of `submit`."""

    model: str
    priority: Priority
    timeout: Seconds
    deadline: datetime
    not_before: datetime
    status_retention: Seconds
    result_retention: Seconds
    max_attempts: int
    labels: Mapping[str, str]
    stream_output: bool
    cache: CacheMode
    cache_max_age: Seconds
    validation_retries: int


@dataclass(frozen=True)
class Options:
    """How a task is to be run and kept; None leaves it to the server."""

    # Model of a prompt or chat.
    model: Optional[str] = None
    # Which waiting task starts first.
    priority: Optional[Priority] = None
    # How long one upstream call or function run may take.
    timeout: Optional[Seconds] = None
    # The instant after which the task neither starts nor goes on; with a time zone.
    deadline: Optional[datetime] = None
    # The task does not start before this instant; with a time zone.
    not_before: Optional[datetime] = None
    # How long the finished task keeps its history.
    status_retention: Optional[Seconds] = None
    # How long the finished task and its result are kept.
    result_retention: Optional[Seconds] = None
    # How many upstream failures the task survives, counting the last.
    max_attempts: Optional[int] = None
    # Your own labels, for `list`.
    labels: Mapping[str, str] = field(default_factory=dict)
    # Have the answer streamed, so that a watch with `include_deltas` tells it as it comes.
    stream_output: Optional[bool] = None
    # Whether an equal request of another task may answer this one.
    cache: Optional[CacheMode] = None
    # An answer older than this is not taken.
    cache_max_age: Optional[Seconds] = None
    # Check the answer by the JSON schema of its request, and make so many further calls for one that fits.
    validation_retries: Optional[int] = None

    def to_message(self) -> task_pb2.TaskOptions:
        """The wire form."""
        if self.max_attempts is not None and self.max_attempts < 1:
            # Zero would mean "the default" on the wire.
            raise ValueError("max_attempts must be at least 1")
        message = task_pb2.TaskOptions(
            model=self.model,
            priority=None if self.priority is None else task_pb2.Priority.Name(self.priority),
            timeout=_duration(self.timeout),
            deadline=_timestamp(self.deadline, "deadline"),
            not_before=_timestamp(self.not_before, "not_before"),
            status_retention=_duration(self.status_retention),
            result_retention=_duration(self.result_retention),
            max_attempts=self.max_attempts,
            labels=self.labels,
            cache=None if self.cache is None else task_pb2.CacheMode.Name(self.cache),
            cache_max_age=_duration(self.cache_max_age),
        )
        if self.stream_output is not None:
            message.stream_output = self.stream_output
        if self.validation_retries is not None:
            message.validation_retries = self.validation_retries
        return message


@dataclass(frozen=True)
class Prompt:
    """One user message. A plain `str` is the same without custom_id and options."""

    text: str
    custom_id: str = ""
    options: Optional[Options] = None

    def work(self) -> task_pb2.TaskSpec:
        """The wire form of the work alone."""
        return task_pb2.TaskSpec(prompt=self.text)


@dataclass(frozen=True)
class Chat:
    """A chat completion; messages as `{"role": …, "content": …}`, the rest named as in the OpenAI API."""

    messages: Sequence[Mapping[str, str]]
    model: str = ""
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    max_tokens: Optional[int] = None
    stop: Sequence[str] = ()
    seed: Optional[int] = None
    presence_penalty: Optional[float] = None
    frequency_penalty: Optional[float] = None
    # Members added to the request body as they are: `tools`, `response_format` and the like.
    extra_body: Optional[Mapping[str, Any]] = None
    custom_id: str = ""
    options: Optional[Options] = None

    def work(self) -> task_pb2.TaskSpec:
        """The wire form of the work alone."""
        chat = task_pb2.ChatCompletion(
            model=self.model,
            messages=[task_pb2.ChatMessage(**message) for message in self.messages],
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            extra_body="" if self.extra_body is None else _json(self.extra_body),
        )
        return task_pb2.TaskSpec(chat_completion=chat)


@dataclass(frozen=True)
class OpenAiRequest:
    """A request passed on unchanged. A `str` body goes out byte for byte, a mapping as JSON."""

    body: Union[str, Mapping[str, Any]]
    path: str = "/v1/chat/completions"
    custom_id: str = ""
    options: Optional[Options] = None

    def work(self) -> task_pb2.TaskSpec:
        """The wire form of the work alone."""
        body = self.body if isinstance(self.body, str) else _json(self.body)
        return task_pb2.TaskSpec(openai_request=task_pb2.OpenAiRequest(path=self.path, body=body))


@dataclass(frozen=True)
class Function:
    """A call of a function registered in the server; `arguments` is anything JSON can hold."""

    name: str
    arguments: Any = None
    custom_id: str = ""
    options: Optional[Options] = None

    def work(self) -> task_pb2.TaskSpec:
        """The wire form of the work alone."""
        call = task_pb2.FunctionCall(name=self.name, arguments=_json(self.arguments))
        return task_pb2.TaskSpec(function_call=call)


# Everything that `submit` takes as a task.
WorkItem = Union[str, Prompt, Chat, OpenAiRequest, Function]


def to_message(item: WorkItem) -> task_pb2.TaskSpec:
    """The wire form of a work item."""
    if isinstance(item, str):
        item = Prompt(item)
    if not isinstance(item, (Prompt, Chat, OpenAiRequest, Function)):
        raise TypeError(f"a task is a str, Prompt, Chat, OpenAiRequest or Function, not {type(item).__name__}")
    message = item.work()
    message.custom_id = item.custom_id
    if item.options is not None:
        message.options.CopyFrom(item.options.to_message())
    return message


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _duration(value: Optional[Seconds]) -> Optional[Duration]:
    if value is None:
        return None
    message = Duration()
    message.FromTimedelta(value if isinstance(value, timedelta) else timedelta(seconds=value))
    return message


def _timestamp(value: Optional[datetime], name: str) -> Optional[Timestamp]:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError(f"{name} needs a time zone, for example datetime.now(timezone.utc)")
    message = Timestamp()
    message.FromDatetime(value)
    return message
