"""A node: what it has, what it lends, what runs on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hivemind_worker.domain.job import iso
from hivemind_worker.domain.resources import Amount, Request


class NodeState(StrEnum):
    """Whether a node takes work."""

    #: takes work
    UP = "up"
    #: takes no new work; what runs goes on
    DRAINING = "draining"
    #: not heard of
    DOWN = "down"


class Gpu(BaseModel):
    """One device. Memory in bytes."""

    model_config = ConfigDict(frozen=True)

    uuid: str
    name: str
    memory: int


class NodeUsage(BaseModel):
    """What the machine as a whole uses now, jobs or not."""

    model_config = ConfigDict(frozen=True)

    cpu_percent: float = 0.0
    memory_used: int = 0
    disk_used: int = 0
    load_1m: float = 0.0


class Node(BaseModel):
    """One node as Redis holds it. `heartbeat` in epoch milliseconds by Redis' clock."""

    model_config = ConfigDict(frozen=True)

    node: str
    state: NodeState
    capacity: Amount
    reserve: Amount
    allocatable: Amount
    gpus: tuple[Gpu, ...] = ()
    usage: NodeUsage = Field(default_factory=NodeUsage)
    heartbeat: int = 0
    workers: tuple[str, ...] = ()
    version: str = ""
    #: why the node admits nothing although it is up; '' when all is well
    trouble: str = ""


class Reservation(BaseModel):
    """One row of the ledger: what one attempt holds on one node."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    worker: str
    millicores: int
    memory: int
    disk: int
    pids: int
    gpus: tuple[str, ...] = ()
    #: epoch milliseconds at which the declared timeout ends, counted from admission
    deadline: int = 0

    @classmethod
    def of(cls, request: Request, *, attempt: int, worker: str, gpus: tuple[str, ...], deadline: int) -> Reservation:
        """The row for one job with this request."""
        return cls(
            attempt=attempt,
            worker=worker,
            millicores=request.millicores,
            memory=request.memory,
            disk=request.disk,
            pids=request.pids,
            gpus=gpus,
            deadline=deadline,
        )

    @property
    def amount(self) -> Amount:
        """What the row takes of the node."""
        return Amount(millicores=self.millicores, memory=self.memory, gpus=len(self.gpus), disk=self.disk, slots=1)


def total(rows: list[Reservation]) -> Amount:
    """The sum of rows: what is reserved now. Never a counter."""
    result = Amount()
    for row in rows:
        result = result + row.amount
    return result


def amount_view(amount: Amount) -> dict[str, Any]:
    """An amount as the outside sees it: cores as a float."""
    return {
        "cpu": amount.cpu,
        "memory": amount.memory,
        "gpus": amount.gpus,
        "disk": amount.disk,
        "slots": amount.slots,
    }


def node_view(node: Node, rows: list[Reservation], waiting: int) -> dict[str, Any]:
    """The node as every outside surface shows it (contract: `nodes --json`)."""
    return {
        "node": node.node,
        "state": node.state.value,
        "capacity": amount_view(node.capacity),
        "reserved_for_system": amount_view(node.reserve),
        "allocatable": amount_view(node.allocatable),
        "reserved": amount_view(total(rows)),
        "usage": node.usage.model_dump(),
        "running": len(rows),
        "waiting": waiting,
        "heartbeat": iso(node.heartbeat),
        "workers": list(node.workers),
        "version": node.version,
        "trouble": node.trouble,
        "gpus": [gpu.model_dump() for gpu in node.gpus],
    }
