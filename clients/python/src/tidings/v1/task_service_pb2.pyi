import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tidings.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CancelResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_RESULT_UNSPECIFIED: _ClassVar[CancelResult]
    CANCEL_RESULT_CANCELLED: _ClassVar[CancelResult]
    CANCEL_RESULT_ALREADY_TERMINAL: _ClassVar[CancelResult]
    CANCEL_RESULT_NOT_FOUND: _ClassVar[CancelResult]

class RetryResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRY_RESULT_UNSPECIFIED: _ClassVar[RetryResult]
    RETRY_RESULT_SUBMITTED: _ClassVar[RetryResult]
    RETRY_RESULT_NOT_FAILED: _ClassVar[RetryResult]
    RETRY_RESULT_NOT_FOUND: _ClassVar[RetryResult]
CANCEL_RESULT_UNSPECIFIED: CancelResult
CANCEL_RESULT_CANCELLED: CancelResult
CANCEL_RESULT_ALREADY_TERMINAL: CancelResult
CANCEL_RESULT_NOT_FOUND: CancelResult
RETRY_RESULT_UNSPECIFIED: RetryResult
RETRY_RESULT_SUBMITTED: RetryResult
RETRY_RESULT_NOT_FAILED: RetryResult
RETRY_RESULT_NOT_FOUND: RetryResult

class SubmitBatchRequest(_message.Message):
    __slots__ = ("tasks", "idempotency_key", "options", "batch_id", "keep_open", "budget_nanos")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    KEEP_OPEN_FIELD_NUMBER: _ClassVar[int]
    BUDGET_NANOS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_task_pb2.TaskSpec]
    idempotency_key: str
    options: _task_pb2.TaskOptions
    batch_id: str
    keep_open: bool
    budget_nanos: int
    def __init__(self, tasks: _Optional[_Iterable[_Union[_task_pb2.TaskSpec, _Mapping]]] = ..., idempotency_key: _Optional[str] = ..., options: _Optional[_Union[_task_pb2.TaskOptions, _Mapping]] = ..., batch_id: _Optional[str] = ..., keep_open: bool = ..., budget_nanos: _Optional[int] = ...) -> None: ...

class SubmitBatchResponse(_message.Message):
    __slots__ = ("batch_id", "task_ids", "durability")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    durability: _task_pb2.Durability
    def __init__(self, batch_id: _Optional[str] = ..., task_ids: _Optional[_Iterable[str]] = ..., durability: _Optional[_Union[_task_pb2.Durability, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("task_ids", "omit_results")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    OMIT_RESULTS_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    omit_results: bool
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., omit_results: bool = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("tasks", "not_found", "expired", "faults")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_task_pb2.Task]
    not_found: _containers.RepeatedScalarFieldContainer[str]
    expired: _containers.RepeatedScalarFieldContainer[str]
    faults: _containers.RepeatedCompositeFieldContainer[TaskFault]
    def __init__(self, tasks: _Optional[_Iterable[_Union[_task_pb2.Task, _Mapping]]] = ..., not_found: _Optional[_Iterable[str]] = ..., expired: _Optional[_Iterable[str]] = ..., faults: _Optional[_Iterable[_Union[TaskFault, _Mapping]]] = ...) -> None: ...

class TaskFault(_message.Message):
    __slots__ = ("task_id", "message")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    message: str
    def __init__(self, task_id: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class WatchTaskRequest(_message.Message):
    __slots__ = ("task_id", "after_revision", "store_epoch", "include_deltas")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DELTAS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    after_revision: int
    store_epoch: int
    include_deltas: bool
    def __init__(self, task_id: _Optional[str] = ..., after_revision: _Optional[int] = ..., store_epoch: _Optional[int] = ..., include_deltas: bool = ...) -> None: ...

class WatchTaskResponse(_message.Message):
    __slots__ = ("task", "notice", "delta", "heartbeat", "reset")
    TASK_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    notice: TaskNotice
    delta: OutputDelta
    heartbeat: Heartbeat
    reset: bool
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ..., notice: _Optional[_Union[TaskNotice, _Mapping]] = ..., delta: _Optional[_Union[OutputDelta, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., reset: bool = ...) -> None: ...

class TaskNotice(_message.Message):
    __slots__ = ("task_id", "progress_percent", "wait_reason", "wait_until")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    WAIT_UNTIL_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    progress_percent: int
    wait_reason: _task_pb2.WaitReason
    wait_until: _timestamp_pb2.Timestamp
    def __init__(self, task_id: _Optional[str] = ..., progress_percent: _Optional[int] = ..., wait_reason: _Optional[_Union[_task_pb2.WaitReason, str]] = ..., wait_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OutputDelta(_message.Message):
    __slots__ = ("task_id", "text", "attempt", "offset")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    text: str
    attempt: int
    offset: int
    def __init__(self, task_id: _Optional[str] = ..., text: _Optional[str] = ..., attempt: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("time",)
    TIME_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchBatchRequest(_message.Message):
    __slots__ = ("batch_id", "resume_token", "include_results")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RESULTS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    resume_token: str
    include_results: bool
    def __init__(self, batch_id: _Optional[str] = ..., resume_token: _Optional[str] = ..., include_results: bool = ...) -> None: ...

class WatchBatchResponse(_message.Message):
    __slots__ = ("task", "progress", "heartbeat", "resume_token", "reset")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    progress: _task_pb2.BatchProgress
    heartbeat: Heartbeat
    resume_token: str
    reset: bool
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ..., progress: _Optional[_Union[_task_pb2.BatchProgress, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., resume_token: _Optional[str] = ..., reset: bool = ...) -> None: ...

class CancelTasksRequest(_message.Message):
    __slots__ = ("task_ids", "batch_id")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    batch_id: str
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., batch_id: _Optional[str] = ...) -> None: ...

class CancelTasksResponse(_message.Message):
    __slots__ = ("outcomes", "cancelled_count")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[CancelOutcome]
    cancelled_count: int
    def __init__(self, outcomes: _Optional[_Iterable[_Union[CancelOutcome, _Mapping]]] = ..., cancelled_count: _Optional[int] = ...) -> None: ...

class CancelOutcome(_message.Message):
    __slots__ = ("task_id", "result", "status")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    result: CancelResult
    status: _task_pb2.TaskStatus
    def __init__(self, task_id: _Optional[str] = ..., result: _Optional[_Union[CancelResult, str]] = ..., status: _Optional[_Union[_task_pb2.TaskStatus, str]] = ...) -> None: ...

class RetryTasksRequest(_message.Message):
    __slots__ = ("task_ids", "batch_id", "idempotency_key")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    batch_id: str
    idempotency_key: str
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., batch_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RetryTasksResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[RetryOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[RetryOutcome, _Mapping]]] = ...) -> None: ...

class RetryOutcome(_message.Message):
    __slots__ = ("task_id", "result", "new_task_id", "status")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    NEW_TASK_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    result: RetryResult
    new_task_id: str
    status: _task_pb2.TaskStatus
    def __init__(self, task_id: _Optional[str] = ..., result: _Optional[_Union[RetryResult, str]] = ..., new_task_id: _Optional[str] = ..., status: _Optional[_Union[_task_pb2.TaskStatus, str]] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("statuses", "batch_id", "labels", "page_size", "page_token", "include_results")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RESULTS_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedScalarFieldContainer[_task_pb2.TaskStatus]
    batch_id: str
    labels: _containers.ScalarMap[str, str]
    page_size: int
    page_token: str
    include_results: bool
    def __init__(self, statuses: _Optional[_Iterable[_Union[_task_pb2.TaskStatus, str]]] = ..., batch_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_results: bool = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_task_pb2.Task]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[_task_pb2.Task, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class GetBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: _task_pb2.Batch
    def __init__(self, batch: _Optional[_Union[_task_pb2.Batch, _Mapping]] = ...) -> None: ...

class ResumeBatchRequest(_message.Message):
    __slots__ = ("batch_id", "budget_nanos")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_NANOS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    budget_nanos: int
    def __init__(self, batch_id: _Optional[str] = ..., budget_nanos: _Optional[int] = ...) -> None: ...

class ResumeBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: _task_pb2.Batch
    def __init__(self, batch: _Optional[_Union[_task_pb2.Batch, _Mapping]] = ...) -> None: ...

class InvalidateCacheRequest(_message.Message):
    __slots__ = ("task_ids",)
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class InvalidateCacheResponse(_message.Message):
    __slots__ = ("forgotten_count", "not_found")
    FORGOTTEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    forgotten_count: int
    not_found: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, forgotten_count: _Optional[int] = ..., not_found: _Optional[_Iterable[str]] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "store", "durability", "limits", "functions", "default_model", "status_retention", "result_retention", "store_epoch")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    STATUS_RETENTION_FIELD_NUMBER: _ClassVar[int]
    RESULT_RETENTION_FIELD_NUMBER: _ClassVar[int]
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    version: str
    store: str
    durability: _task_pb2.Durability
    limits: Limits
    functions: _containers.RepeatedScalarFieldContainer[str]
    default_model: str
    status_retention: _duration_pb2.Duration
    result_retention: _duration_pb2.Duration
    store_epoch: int
    def __init__(self, version: _Optional[str] = ..., store: _Optional[str] = ..., durability: _Optional[_Union[_task_pb2.Durability, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., functions: _Optional[_Iterable[str]] = ..., default_model: _Optional[str] = ..., status_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., result_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., store_epoch: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("tasks_per_batch", "batch_bytes", "task_bytes", "ids_per_call", "name_bytes", "queue_tasks", "queue_bytes")
    TASKS_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_BYTES_FIELD_NUMBER: _ClassVar[int]
    TASK_BYTES_FIELD_NUMBER: _ClassVar[int]
    IDS_PER_CALL_FIELD_NUMBER: _ClassVar[int]
    NAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TASKS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    tasks_per_batch: int
    batch_bytes: int
    task_bytes: int
    ids_per_call: int
    name_bytes: int
    queue_tasks: int
    queue_bytes: int
    def __init__(self, tasks_per_batch: _Optional[int] = ..., batch_bytes: _Optional[int] = ..., task_bytes: _Optional[int] = ..., ids_per_call: _Optional[int] = ..., name_bytes: _Optional[int] = ..., queue_tasks: _Optional[int] = ..., queue_bytes: _Optional[int] = ...) -> None: ...
