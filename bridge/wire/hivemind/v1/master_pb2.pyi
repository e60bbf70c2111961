import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from bridge.wire.hivemind.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Report(_message.Message):
    __slots__ = ("sequence", "task_id", "state", "attempt", "cause", "at", "task", "resync")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    RESYNC_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    task_id: str
    state: str
    attempt: int
    cause: str
    at: _timestamp_pb2.Timestamp
    task: _task_pb2.Task
    resync: bool
    def __init__(self, sequence: _Optional[int] = ..., task_id: _Optional[str] = ..., state: _Optional[str] = ..., attempt: _Optional[int] = ..., cause: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ..., resync: _Optional[bool] = ...) -> None: ...

class ReportEventsRequest(_message.Message):
    __slots__ = ("site", "node", "term", "reports")
    SITE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    site: str
    node: str
    term: int
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    def __init__(self, site: _Optional[str] = ..., node: _Optional[str] = ..., term: _Optional[int] = ..., reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ...) -> None: ...

class ReportAnswer(_message.Message):
    __slots__ = ("task_id", "verdict", "reason", "want_result", "result_offset")
    class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VERDICT_UNSPECIFIED: _ClassVar[ReportAnswer.Verdict]
        ACCEPTED: _ClassVar[ReportAnswer.Verdict]
        REFUSED: _ClassVar[ReportAnswer.Verdict]
        RETRY: _ClassVar[ReportAnswer.Verdict]
    VERDICT_UNSPECIFIED: ReportAnswer.Verdict
    ACCEPTED: ReportAnswer.Verdict
    REFUSED: ReportAnswer.Verdict
    RETRY: ReportAnswer.Verdict
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WANT_RESULT_FIELD_NUMBER: _ClassVar[int]
    RESULT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    verdict: ReportAnswer.Verdict
    reason: str
    want_result: bool
    result_offset: int
    def __init__(self, task_id: _Optional[str] = ..., verdict: _Optional[_Union[ReportAnswer.Verdict, str]] = ..., reason: _Optional[str] = ..., want_result: _Optional[bool] = ..., result_offset: _Optional[int] = ...) -> None: ...

class ReportEventsResponse(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ReportAnswer]
    def __init__(self, answers: _Optional[_Iterable[_Union[ReportAnswer, _Mapping]]] = ...) -> None: ...

class SubmitTaskResultRequest(_message.Message):
    __slots__ = ("site", "task_id", "attempt", "sha256", "size", "offset", "missing", "chunk")
    SITE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    site: str
    task_id: str
    attempt: int
    sha256: str
    size: int
    offset: int
    missing: str
    chunk: bytes
    def __init__(self, site: _Optional[str] = ..., task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ..., offset: _Optional[int] = ..., missing: _Optional[str] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class SubmitTaskResultResponse(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...
