"""The shapes of answers, for OpenAPI alone: answers are sent unchecked, as the views give them; a test compares."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictFloat, StrictInt

from hivemind_worker.domain.job import State, WaitingInfo
from hivemind_worker.domain.node import NodeState, NodeUsage
from hivemind_worker.domain.outcome import BlobRef, Cause, LogInfo, Usage
from hivemind_worker.domain.resources import Request


class Schema(BaseModel):
    """A shape that says everything it has."""

    model_config = ConfigDict(extra="forbid")


class Fault(Schema):
    """What went wrong; `field` names the parameter or header at fault, if one is."""

    code: str
    message: str
    field: str | None


class Error(Schema):
    """The one shape of an error."""

    error: Fault


class TaskTimes(Schema):
    """ISO 8601, UTC."""

    created: str
    admitted: str | None
    started: str | None
    finished: str | None


class TaskAttempt(Schema):
    """One attempt; times are ISO 8601, UTC. Without a cause it has not ended.

    `fault`: whose its end was; `paid_by`: whose retries paid for the one after it, null if there is none.
    """

    attempt: int
    node: str | None
    worker: str | None
    cause: Cause | None
    fault: Literal["none", "user", "infrastructure"] | None
    paid_by: Literal["own", "infrastructure"] | None
    exit_code: int | None
    evidence: str
    admitted: str | None
    started: str | None
    finished: str | None


class Spent(Schema):
    """Attempts after which there was another, by whose retries paid for it."""

    own: int
    infrastructure: int


class ArchivedView(Schema):
    """Only the history knows the job: its log is gone. `artifact_kept` is null in lists, where nobody looks."""

    artifact_kept: bool | None


class Task(Schema):
    """One job. Sizes in bytes, times in seconds."""

    task_id: str
    state: State
    cause: Cause | None
    exit_code: int | None
    attempt: int
    owner: str
    node: str | None
    home: str | None
    worker: str | None
    image: str
    command: list[str]
    requests: Request
    priority: int
    waiting: WaitingInfo | None
    times: TaskTimes
    usage: Usage
    artifact: BlobRef | None
    log: LogInfo
    evidence: str
    timeout_seconds: float
    network: Literal["none", "internet"]
    retries: int
    spent: Spent
    bundle_sha256: str | None
    attempts: list[TaskAttempt]
    archived: ArchivedView | None


class Tasks(Schema):
    """One page, newest first; `next` is the cursor of the page after, empty at the end.

    `note` says what is missing from the page while the history does not answer, else it is empty.
    """

    tasks: list[Task]
    next: str
    note: str


class Chunk(Schema):
    """One piece of a log: `text`, or `data` (base64, exact) where that was asked for."""

    number: int
    stream: Literal["stdout", "stderr", "notice"]
    time: str
    attempt: int
    text: str | None = None
    data: str | None = None


class Log(Schema):
    """A piece of a log. `next` is what to ask `from` for the rest; `ended`: the job has ended and this is all."""

    task_id: str
    chunks: list[Chunk]
    next: int
    ended: bool


class Stopped(Schema):
    """The state after the request was recorded: `stopped` for a job that waited, else its end is on the way."""

    task_id: str
    state: State
    accepted: Literal[True]


class Prioritized(Schema):
    """The priority that a waiting job has now."""

    task_id: str
    state: Literal["waiting"]
    priority: int


class Amounts(Schema):
    """Cores, bytes, devices, bytes, processes, jobs at a time, cores for reclaimable jobs."""

    cpu: float
    memory: int
    gpus: int
    disk: int
    pids: int
    slots: int
    spare_cpu: float


class GpuHolder(Schema):
    """A job on a device: `memory` bytes of it, `whole` if it asked for no share."""

    task_id: str
    owner: str
    memory: int
    whole: bool


class GpuView(Schema):
    """One device: of its `lendable` bytes `held` by `jobs` jobs, its `holders`. Of all its memory the driver keeps
    `reserved`. `trouble`: why it is out of capacity; `cordoned`: an operator keeps new jobs off it."""

    uuid: str
    name: str
    index: int
    parent: str
    memory: int
    reserved: int
    lendable: int
    trouble: str
    cordoned: bool
    score: float
    held: int
    jobs: int
    holders: list[GpuHolder]


class Caps(Schema):
    """What an operator lets a node lend at most: cores, bytes, devices, jobs; null: as much as its settings say."""

    max_cpu: StrictFloat | None = None
    max_memory: StrictInt | None = None
    max_gpus: StrictInt | None = None
    max_tasks: StrictInt | None = None


class NodeView(Schema):
    """One node. `allocatable` is what it lends, `reserved` what admitted jobs hold of it.

    `empty_by`: when the last of its jobs ends by its declared timeout, `empty_expected`: when it probably does (ISO
    8601, UTC; null: it has none). `warnings`: caps above the machine, an operator's and the settings', and settings
    without effect. `on_partition`: what becomes of its containers when it is cut off from Redis for long; `durability`:
    what acknowledged jobs survive.
    """

    node: str
    state: NodeState
    capacity: Amounts
    reserved_for_system: Amounts
    allocatable: Amounts
    reserved: Amounts
    usage: NodeUsage
    running: int
    waiting: int
    heartbeat: str | None
    workers: list[str]
    version: str
    trouble: str
    gpu_trouble: str
    caps: Caps
    warnings: list[str]
    cpu_factor: float
    cpu_score: float
    gpus: list[GpuView]
    empty_by: str | None
    empty_expected: str | None
    on_partition: Literal["keep", "stop", ""]
    durability: Literal["always", "everysec", ""]


class Nodes(Schema):
    """All nodes of the site."""

    nodes: list[NodeView]


class Resources(Schema):
    """The sums over the nodes that are not down, and each node."""

    capacity: Amounts
    allocatable: Amounts
    reserved: Amounts
    free: Amounts
    usage: NodeUsage
    nodes: list[NodeView]


class StatusView(Schema):
    """The node and its site at a glance. `known` counts ended jobs too, as long as they are kept."""

    node: str
    state: NodeState
    version: str
    waiting: int
    running: int
    active: int
    known: int
    nodes: int


class Change(Schema):
    """One change of a job's state."""

    id: str
    task_id: str
    state: State
    attempt: int
    cause: Cause | None
    at: str


class Changes(Schema):
    """Changes, newest first."""

    events: list[Change]


class CheckView(Schema):
    """One check. `warnings`: what is well, and yet not as it should be; an operator should know of it."""

    status: Literal["ok", "degraded", "fail", "skipped"]
    detail: str
    warnings: list[str]


class HealthView(Schema):
    """`fail` when any check failed, else `degraded` when any part is wanting that the node can do without."""

    status: Literal["ok", "degraded", "fail"]
    checks: dict[str, CheckView]


class PutAside(Schema):
    """One damaged thing: the key in Redis that keeps it for a person to look at, and since when (ISO 8601, UTC)."""

    key: str
    at: str


class Quarantine(Schema):
    """How many damaged things are kept, and the newest of them."""

    count: int
    things: list[PutAside]
