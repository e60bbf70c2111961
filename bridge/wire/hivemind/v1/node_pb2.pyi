import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeResources(_message.Message):
    __slots__ = ("cpu", "memory", "gpus", "disk", "slots", "pids", "spare_cpu")
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    SPARE_CPU_FIELD_NUMBER: _ClassVar[int]
    cpu: float
    memory: int
    gpus: int
    disk: int
    slots: int
    pids: int
    spare_cpu: float
    def __init__(self, cpu: _Optional[float] = ..., memory: _Optional[int] = ..., gpus: _Optional[int] = ..., disk: _Optional[int] = ..., slots: _Optional[int] = ..., pids: _Optional[int] = ..., spare_cpu: _Optional[float] = ...) -> None: ...

class NodeUsage(_message.Message):
    __slots__ = ("cpu_percent", "memory_used", "disk_used", "load_1m", "cpu_pressure")
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_FIELD_NUMBER: _ClassVar[int]
    DISK_USED_FIELD_NUMBER: _ClassVar[int]
    LOAD_1M_FIELD_NUMBER: _ClassVar[int]
    CPU_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    cpu_percent: float
    memory_used: int
    disk_used: int
    load_1m: float
    cpu_pressure: float
    def __init__(self, cpu_percent: _Optional[float] = ..., memory_used: _Optional[int] = ..., disk_used: _Optional[int] = ..., load_1m: _Optional[float] = ..., cpu_pressure: _Optional[float] = ...) -> None: ...

class Gpu(_message.Message):
    __slots__ = ("uuid", "name", "memory", "reserved", "index", "parent", "trouble", "cordoned", "held", "jobs", "score", "lendable", "holders")
    UUID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LENDABLE_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    name: str
    memory: int
    reserved: int
    index: int
    parent: str
    trouble: str
    cordoned: bool
    held: int
    jobs: int
    score: float
    lendable: int
    holders: _containers.RepeatedCompositeFieldContainer[GpuHolder]
    def __init__(self, uuid: _Optional[str] = ..., name: _Optional[str] = ..., memory: _Optional[int] = ..., reserved: _Optional[int] = ..., index: _Optional[int] = ..., parent: _Optional[str] = ..., trouble: _Optional[str] = ..., cordoned: _Optional[bool] = ..., held: _Optional[int] = ..., jobs: _Optional[int] = ..., score: _Optional[float] = ..., lendable: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[GpuHolder, _Mapping]]] = ...) -> None: ...

class GpuHolder(_message.Message):
    __slots__ = ("task_id", "owner", "memory", "whole")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    owner: str
    memory: int
    whole: bool
    def __init__(self, task_id: _Optional[str] = ..., owner: _Optional[str] = ..., memory: _Optional[int] = ..., whole: _Optional[bool] = ...) -> None: ...

class NodeCaps(_message.Message):
    __slots__ = ("max_cpu", "max_memory", "max_gpus", "max_tasks")
    MAX_CPU_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_FIELD_NUMBER: _ClassVar[int]
    MAX_GPUS_FIELD_NUMBER: _ClassVar[int]
    MAX_TASKS_FIELD_NUMBER: _ClassVar[int]
    max_cpu: float
    max_memory: int
    max_gpus: int
    max_tasks: int
    def __init__(self, max_cpu: _Optional[float] = ..., max_memory: _Optional[int] = ..., max_gpus: _Optional[int] = ..., max_tasks: _Optional[int] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("node", "state", "capacity", "reserved_for_system", "allocatable", "reserved", "usage", "running", "waiting", "heartbeat", "workers", "version", "gpus", "trouble", "caps", "warnings", "cpu_factor", "cpu_score", "gpu_trouble", "empty_by", "empty_expected", "on_partition", "durability")
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FOR_SYSTEM_FIELD_NUMBER: _ClassVar[int]
    ALLOCATABLE_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    CPU_FACTOR_FIELD_NUMBER: _ClassVar[int]
    CPU_SCORE_FIELD_NUMBER: _ClassVar[int]
    GPU_TROUBLE_FIELD_NUMBER: _ClassVar[int]
    EMPTY_BY_FIELD_NUMBER: _ClassVar[int]
    EMPTY_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ON_PARTITION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    node: str
    state: str
    capacity: NodeResources
    reserved_for_system: NodeResources
    allocatable: NodeResources
    reserved: NodeResources
    usage: NodeUsage
    running: int
    waiting: int
    heartbeat: _timestamp_pb2.Timestamp
    workers: _containers.RepeatedScalarFieldContainer[str]
    version: str
    gpus: _containers.RepeatedCompositeFieldContainer[Gpu]
    trouble: str
    caps: NodeCaps
    warnings: _containers.RepeatedScalarFieldContainer[str]
    cpu_factor: float
    cpu_score: float
    gpu_trouble: str
    empty_by: _timestamp_pb2.Timestamp
    empty_expected: _timestamp_pb2.Timestamp
    on_partition: str
    durability: str
    def __init__(self, node: _Optional[str] = ..., state: _Optional[str] = ..., capacity: _Optional[_Union[NodeResources, _Mapping]] = ..., reserved_for_system: _Optional[_Union[NodeResources, _Mapping]] = ..., allocatable: _Optional[_Union[NodeResources, _Mapping]] = ..., reserved: _Optional[_Union[NodeResources, _Mapping]] = ..., usage: _Optional[_Union[NodeUsage, _Mapping]] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., heartbeat: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., workers: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., gpus: _Optional[_Iterable[_Union[Gpu, _Mapping]]] = ..., trouble: _Optional[str] = ..., caps: _Optional[_Union[NodeCaps, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., cpu_factor: _Optional[float] = ..., cpu_score: _Optional[float] = ..., gpu_trouble: _Optional[str] = ..., empty_by: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., empty_expected: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., on_partition: _Optional[str] = ..., durability: _Optional[str] = ...) -> None: ...

class GetNodeRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class GetNodeResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class SetNodeRequest(_message.Message):
    __slots__ = ("node", "caps", "clear")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    node: str
    caps: NodeCaps
    clear: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., caps: _Optional[_Union[NodeCaps, _Mapping]] = ..., clear: _Optional[_Iterable[str]] = ...) -> None: ...

class GpuRequest(_message.Message):
    __slots__ = ("node", "gpu")
    NODE_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    node: str
    gpu: str
    def __init__(self, node: _Optional[str] = ..., gpu: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...
