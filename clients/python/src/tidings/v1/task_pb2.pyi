import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATUS_UNSPECIFIED: _ClassVar[TaskStatus]
    TASK_STATUS_QUEUED: _ClassVar[TaskStatus]
    TASK_STATUS_PROCESSING: _ClassVar[TaskStatus]
    TASK_STATUS_COMPLETED: _ClassVar[TaskStatus]
    TASK_STATUS_ERROR: _ClassVar[TaskStatus]
    TASK_STATUS_CANCELLED: _ClassVar[TaskStatus]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]

class CacheMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_MODE_UNSPECIFIED: _ClassVar[CacheMode]
    CACHE_MODE_ENABLED: _ClassVar[CacheMode]
    CACHE_MODE_BYPASS: _ClassVar[CacheMode]
    CACHE_MODE_REFRESH: _ClassVar[CacheMode]

class TransitionCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSITION_CAUSE_UNSPECIFIED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_SUBMITTED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_ACQUIRED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_SUCCEEDED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_FAILED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_RETRIED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_RELEASED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_LEASE_EXPIRED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_POISONED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_PARKED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_CANCEL_REQUESTED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_DEADLINE_PASSED: _ClassVar[TransitionCause]

class WaitReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_REASON_UNSPECIFIED: _ClassVar[WaitReason]
    WAIT_REASON_NOT_BEFORE: _ClassVar[WaitReason]
    WAIT_REASON_BACKOFF: _ClassVar[WaitReason]
    WAIT_REASON_RATE_LIMITED: _ClassVar[WaitReason]
    WAIT_REASON_PARKED: _ClassVar[WaitReason]
    WAIT_REASON_NO_WORKER: _ClassVar[WaitReason]
    WAIT_REASON_BUDGET: _ClassVar[WaitReason]

class CacheOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_OUTCOME_UNSPECIFIED: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_MISS: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_HIT: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_COALESCED: _ClassVar[CacheOutcome]

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CODE_UNSPECIFIED: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_UNREACHABLE: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_CONNECTION_LOST: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_TIMEOUT: _ClassVar[ErrorCode]
    ERROR_CODE_STREAM_TRUNCATED: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_STREAM_ERROR: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_BAD_RESPONSE: _ClassVar[ErrorCode]
    ERROR_CODE_INVALID_REQUEST: _ClassVar[ErrorCode]
    ERROR_CODE_CONTEXT_LENGTH_EXCEEDED: _ClassVar[ErrorCode]
    ERROR_CODE_CONTENT_POLICY: _ClassVar[ErrorCode]
    ERROR_CODE_AUTH_FAILED: _ClassVar[ErrorCode]
    ERROR_CODE_PERMISSION_DENIED: _ClassVar[ErrorCode]
    ERROR_CODE_QUOTA_EXHAUSTED: _ClassVar[ErrorCode]
    ERROR_CODE_MODEL_NOT_FOUND: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_CONFLICT: _ClassVar[ErrorCode]
    ERROR_CODE_REQUEST_TOO_LARGE: _ClassVar[ErrorCode]
    ERROR_CODE_DEADLINE_EXCEEDED_THROTTLED: _ClassVar[ErrorCode]
    ERROR_CODE_REQUEST_EXCEEDS_QUOTA: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_OVERLOADED: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_ERROR: _ClassVar[ErrorCode]
    ERROR_CODE_UPSTREAM_MISCONFIGURED: _ClassVar[ErrorCode]
    ERROR_CODE_WORKER_LOST: _ClassVar[ErrorCode]
    ERROR_CODE_DEADLINE_EXCEEDED: _ClassVar[ErrorCode]
    ERROR_CODE_FUNCTION_FAILED: _ClassVar[ErrorCode]
    ERROR_CODE_FUNCTION_TIMEOUT: _ClassVar[ErrorCode]
    ERROR_CODE_FUNCTION_NOT_FOUND: _ClassVar[ErrorCode]
    ERROR_CODE_TOO_MANY_TRANSITIONS: _ClassVar[ErrorCode]
    ERROR_CODE_RATE_LIMITED: _ClassVar[ErrorCode]
    ERROR_CODE_EQUAL_CALL_UNDER_WAY: _ClassVar[ErrorCode]
    ERROR_CODE_OUTPUT_SCHEMA_INVALID: _ClassVar[ErrorCode]

class ParkReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARK_REASON_UNSPECIFIED: _ClassVar[ParkReason]
    PARK_REASON_AUTH_FAILED: _ClassVar[ParkReason]
    PARK_REASON_PERMISSION_DENIED: _ClassVar[ParkReason]
    PARK_REASON_QUOTA_EXHAUSTED: _ClassVar[ParkReason]
    PARK_REASON_BUDGET: _ClassVar[ParkReason]

class DurabilityLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_LEVEL_UNSPECIFIED: _ClassVar[DurabilityLevel]
    DURABILITY_LEVEL_MEMORY: _ClassVar[DurabilityLevel]
    DURABILITY_LEVEL_FSYNC_1S: _ClassVar[DurabilityLevel]
    DURABILITY_LEVEL_FSYNC: _ClassVar[DurabilityLevel]
    DURABILITY_LEVEL_REPLICATED: _ClassVar[DurabilityLevel]
    DURABILITY_LEVEL_FSYNC_REPLICATED: _ClassVar[DurabilityLevel]
TASK_STATUS_UNSPECIFIED: TaskStatus
TASK_STATUS_QUEUED: TaskStatus
TASK_STATUS_PROCESSING: TaskStatus
TASK_STATUS_COMPLETED: TaskStatus
TASK_STATUS_ERROR: TaskStatus
TASK_STATUS_CANCELLED: TaskStatus
PRIORITY_UNSPECIFIED: Priority
PRIORITY_LOW: Priority
PRIORITY_NORMAL: Priority
PRIORITY_HIGH: Priority
CACHE_MODE_UNSPECIFIED: CacheMode
CACHE_MODE_ENABLED: CacheMode
CACHE_MODE_BYPASS: CacheMode
CACHE_MODE_REFRESH: CacheMode
TRANSITION_CAUSE_UNSPECIFIED: TransitionCause
TRANSITION_CAUSE_SUBMITTED: TransitionCause
TRANSITION_CAUSE_ACQUIRED: TransitionCause
TRANSITION_CAUSE_SUCCEEDED: TransitionCause
TRANSITION_CAUSE_FAILED: TransitionCause
TRANSITION_CAUSE_RETRIED: TransitionCause
TRANSITION_CAUSE_RELEASED: TransitionCause
TRANSITION_CAUSE_LEASE_EXPIRED: TransitionCause
TRANSITION_CAUSE_POISONED: TransitionCause
TRANSITION_CAUSE_PARKED: TransitionCause
TRANSITION_CAUSE_CANCEL_REQUESTED: TransitionCause
TRANSITION_CAUSE_DEADLINE_PASSED: TransitionCause
WAIT_REASON_UNSPECIFIED: WaitReason
WAIT_REASON_NOT_BEFORE: WaitReason
WAIT_REASON_BACKOFF: WaitReason
WAIT_REASON_RATE_LIMITED: WaitReason
WAIT_REASON_PARKED: WaitReason
WAIT_REASON_NO_WORKER: WaitReason
WAIT_REASON_BUDGET: WaitReason
CACHE_OUTCOME_UNSPECIFIED: CacheOutcome
CACHE_OUTCOME_MISS: CacheOutcome
CACHE_OUTCOME_HIT: CacheOutcome
CACHE_OUTCOME_COALESCED: CacheOutcome
ERROR_CODE_UNSPECIFIED: ErrorCode
ERROR_CODE_UPSTREAM_UNREACHABLE: ErrorCode
ERROR_CODE_UPSTREAM_CONNECTION_LOST: ErrorCode
ERROR_CODE_UPSTREAM_TIMEOUT: ErrorCode
ERROR_CODE_STREAM_TRUNCATED: ErrorCode
ERROR_CODE_UPSTREAM_STREAM_ERROR: ErrorCode
ERROR_CODE_UPSTREAM_BAD_RESPONSE: ErrorCode
ERROR_CODE_INVALID_REQUEST: ErrorCode
ERROR_CODE_CONTEXT_LENGTH_EXCEEDED: ErrorCode
ERROR_CODE_CONTENT_POLICY: ErrorCode
ERROR_CODE_AUTH_FAILED: ErrorCode
ERROR_CODE_PERMISSION_DENIED: ErrorCode
ERROR_CODE_QUOTA_EXHAUSTED: ErrorCode
ERROR_CODE_MODEL_NOT_FOUND: ErrorCode
ERROR_CODE_UPSTREAM_CONFLICT: ErrorCode
ERROR_CODE_REQUEST_TOO_LARGE: ErrorCode
ERROR_CODE_DEADLINE_EXCEEDED_THROTTLED: ErrorCode
ERROR_CODE_REQUEST_EXCEEDS_QUOTA: ErrorCode
ERROR_CODE_UPSTREAM_OVERLOADED: ErrorCode
ERROR_CODE_UPSTREAM_ERROR: ErrorCode
ERROR_CODE_UPSTREAM_MISCONFIGURED: ErrorCode
ERROR_CODE_WORKER_LOST: ErrorCode
ERROR_CODE_DEADLINE_EXCEEDED: ErrorCode
ERROR_CODE_FUNCTION_FAILED: ErrorCode
ERROR_CODE_FUNCTION_TIMEOUT: ErrorCode
ERROR_CODE_FUNCTION_NOT_FOUND: ErrorCode
ERROR_CODE_TOO_MANY_TRANSITIONS: ErrorCode
ERROR_CODE_RATE_LIMITED: ErrorCode
ERROR_CODE_EQUAL_CALL_UNDER_WAY: ErrorCode
ERROR_CODE_OUTPUT_SCHEMA_INVALID: ErrorCode
PARK_REASON_UNSPECIFIED: ParkReason
PARK_REASON_AUTH_FAILED: ParkReason
PARK_REASON_PERMISSION_DENIED: ParkReason
PARK_REASON_QUOTA_EXHAUSTED: ParkReason
PARK_REASON_BUDGET: ParkReason
DURABILITY_LEVEL_UNSPECIFIED: DurabilityLevel
DURABILITY_LEVEL_MEMORY: DurabilityLevel
DURABILITY_LEVEL_FSYNC_1S: DurabilityLevel
DURABILITY_LEVEL_FSYNC: DurabilityLevel
DURABILITY_LEVEL_REPLICATED: DurabilityLevel
DURABILITY_LEVEL_FSYNC_REPLICATED: DurabilityLevel

class TaskSpec(_message.Message):
    __slots__ = ("prompt", "chat_completion", "openai_request", "function_call", "custom_id", "options")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHAT_COMPLETION_FIELD_NUMBER: _ClassVar[int]
    OPENAI_REQUEST_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALL_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    chat_completion: ChatCompletion
    openai_request: OpenAiRequest
    function_call: FunctionCall
    custom_id: str
    options: TaskOptions
    def __init__(self, prompt: _Optional[str] = ..., chat_completion: _Optional[_Union[ChatCompletion, _Mapping]] = ..., openai_request: _Optional[_Union[OpenAiRequest, _Mapping]] = ..., function_call: _Optional[_Union[FunctionCall, _Mapping]] = ..., custom_id: _Optional[str] = ..., options: _Optional[_Union[TaskOptions, _Mapping]] = ...) -> None: ...

class TaskOptions(_message.Message):
    __slots__ = ("model", "priority", "timeout", "deadline", "not_before", "status_retention", "result_retention", "max_attempts", "labels", "cache", "stream_output", "cache_max_age", "validation_retries")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    STATUS_RETENTION_FIELD_NUMBER: _ClassVar[int]
    RESULT_RETENTION_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    STREAM_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CACHE_MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_RETRIES_FIELD_NUMBER: _ClassVar[int]
    model: str
    priority: Priority
    timeout: _duration_pb2.Duration
    deadline: _timestamp_pb2.Timestamp
    not_before: _timestamp_pb2.Timestamp
    status_retention: _duration_pb2.Duration
    result_retention: _duration_pb2.Duration
    max_attempts: int
    labels: _containers.ScalarMap[str, str]
    cache: CacheMode
    stream_output: bool
    cache_max_age: _duration_pb2.Duration
    validation_retries: int
    def __init__(self, model: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., result_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_attempts: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., cache: _Optional[_Union[CacheMode, str]] = ..., stream_output: bool = ..., cache_max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., validation_retries: _Optional[int] = ...) -> None: ...

class ChatCompletion(_message.Message):
    __slots__ = ("model", "messages", "temperature", "top_p", "max_tokens", "stop", "seed", "presence_penalty", "frequency_penalty", "extra_body")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    EXTRA_BODY_FIELD_NUMBER: _ClassVar[int]
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    temperature: float
    top_p: float
    max_tokens: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    presence_penalty: float
    frequency_penalty: float
    extra_body: str
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., extra_body: _Optional[str] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("role", "content", "name", "tool_call_id")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    name: str
    tool_call_id: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., name: _Optional[str] = ..., tool_call_id: _Optional[str] = ...) -> None: ...

class OpenAiRequest(_message.Message):
    __slots__ = ("path", "body")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    path: str
    body: str
    def __init__(self, path: _Optional[str] = ..., body: _Optional[str] = ...) -> None: ...

class FunctionCall(_message.Message):
    __slots__ = ("name", "arguments")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    arguments: str
    def __init__(self, name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "batch_id", "custom_id", "status", "revision", "attempt", "store_epoch", "retry_of", "result_omitted", "compacted", "create_time", "start_time", "end_time", "expire_time", "result", "error", "progress_percent", "wait_reason", "wait_until", "labels", "model", "priority", "deadline", "attempts", "transition_time", "cause", "partial_output")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RETRY_OF_FIELD_NUMBER: _ClassVar[int]
    RESULT_OMITTED_FIELD_NUMBER: _ClassVar[int]
    COMPACTED_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    WAIT_UNTIL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_TIME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    batch_id: str
    custom_id: str
    status: TaskStatus
    revision: int
    attempt: int
    store_epoch: int
    retry_of: str
    result_omitted: bool
    compacted: bool
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    result: TaskResult
    error: TaskError
    progress_percent: int
    wait_reason: WaitReason
    wait_until: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    model: str
    priority: Priority
    deadline: _timestamp_pb2.Timestamp
    attempts: _containers.RepeatedCompositeFieldContainer[TaskAttempt]
    transition_time: _timestamp_pb2.Timestamp
    cause: TransitionCause
    partial_output: str
    def __init__(self, id: _Optional[str] = ..., batch_id: _Optional[str] = ..., custom_id: _Optional[str] = ..., status: _Optional[_Union[TaskStatus, str]] = ..., revision: _Optional[int] = ..., attempt: _Optional[int] = ..., store_epoch: _Optional[int] = ..., retry_of: _Optional[str] = ..., result_omitted: bool = ..., compacted: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., result: _Optional[_Union[TaskResult, _Mapping]] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., progress_percent: _Optional[int] = ..., wait_reason: _Optional[_Union[WaitReason, str]] = ..., wait_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., model: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[TaskAttempt, _Mapping]]] = ..., transition_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause: _Optional[_Union[TransitionCause, str]] = ..., partial_output: _Optional[str] = ...) -> None: ...

class TaskAttempt(_message.Message):
    __slots__ = ("number", "start_time", "end_time", "outcome", "error", "worker")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    number: int
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    outcome: TransitionCause
    error: TaskError
    worker: str
    def __init__(self, number: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[_Union[TransitionCause, str]] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., worker: _Optional[str] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("text", "body", "model", "finish_reason", "usage", "truncated", "cache", "filtered", "refused")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    FILTERED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    text: str
    body: str
    model: str
    finish_reason: str
    usage: Usage
    truncated: bool
    cache: CacheOutcome
    filtered: bool
    refused: bool
    def __init__(self, text: _Optional[str] = ..., body: _Optional[str] = ..., model: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., truncated: bool = ..., cache: _Optional[_Union[CacheOutcome, str]] = ..., filtered: bool = ..., refused: bool = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "cost_nanos")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_nanos: int
    def __init__(self, input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cached_input_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., cost_nanos: _Optional[int] = ...) -> None: ...

class TaskError(_message.Message):
    __slots__ = ("code", "message", "http_status", "maybe_billed", "upstream_request_id")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    MAYBE_BILLED_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    code: ErrorCode
    message: str
    http_status: int
    maybe_billed: bool
    upstream_request_id: str
    def __init__(self, code: _Optional[_Union[ErrorCode, str]] = ..., message: _Optional[str] = ..., http_status: _Optional[int] = ..., maybe_billed: bool = ..., upstream_request_id: _Optional[str] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("id", "progress", "open", "create_time", "end_time", "parked")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    id: str
    progress: BatchProgress
    open: bool
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    parked: Parked
    def __init__(self, id: _Optional[str] = ..., progress: _Optional[_Union[BatchProgress, _Mapping]] = ..., open: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., parked: _Optional[_Union[Parked, _Mapping]] = ...) -> None: ...

class BatchProgress(_message.Message):
    __slots__ = ("total", "queued", "processing", "completed", "error", "cancelled", "usage", "parked", "done", "budget")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    total: int
    queued: int
    processing: int
    completed: int
    error: int
    cancelled: int
    usage: Usage
    parked: Parked
    done: bool
    budget: Budget
    def __init__(self, total: _Optional[int] = ..., queued: _Optional[int] = ..., processing: _Optional[int] = ..., completed: _Optional[int] = ..., error: _Optional[int] = ..., cancelled: _Optional[int] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., parked: _Optional[_Union[Parked, _Mapping]] = ..., done: bool = ..., budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("limit_nanos", "spent_nanos", "reserved_nanos")
    LIMIT_NANOS_FIELD_NUMBER: _ClassVar[int]
    SPENT_NANOS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_NANOS_FIELD_NUMBER: _ClassVar[int]
    limit_nanos: int
    spent_nanos: int
    reserved_nanos: int
    def __init__(self, limit_nanos: _Optional[int] = ..., spent_nanos: _Optional[int] = ..., reserved_nanos: _Optional[int] = ...) -> None: ...

class Parked(_message.Message):
    __slots__ = ("reason", "message", "park_time")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PARK_TIME_FIELD_NUMBER: _ClassVar[int]
    reason: ParkReason
    message: str
    park_time: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[_Union[ParkReason, str]] = ..., message: _Optional[str] = ..., park_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Durability(_message.Message):
    __slots__ = ("level", "replicas")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    level: DurabilityLevel
    replicas: int
    def __init__(self, level: _Optional[_Union[DurabilityLevel, str]] = ..., replicas: _Optional[int] = ...) -> None: ...
