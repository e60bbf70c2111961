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
    """One device, or one MIG instance of a device that is divided. Memory in bytes."""

    model_config = ConfigDict(frozen=True)

    uuid: str
    name: str
    #: all of it; the driver keeps `reserved` for itself
    memory: int
    reserved: int = 0
    #: as nvidia-smi counts the device
    index: int = 0
    #: the device that a MIG instance is a part of
    parent: str = ""
    #: why it is out of capacity; '' when it is well
    trouble: str = ""
    #: an operator keeps new jobs off it
    cordoned: bool = False

    @property
    def lendable(self) -> int:
        """Bytes that jobs can have."""
        return max(0, self.memory - self.reserved)

    @property
    def usable(self) -> bool:
        """Whether new jobs may be placed on it."""
        return not self.trouble and not self.cordoned


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
    #: why devices that are there cannot be lent: a driver that does not answer; '' when all is well
    gpu_trouble: str = ""
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
    #: bytes held on each of `gpus`; 0: all of each
    gpu_memory: int = 0
    #: whose job it is, for limits and fair shares
    owner: str = ""
    #: epoch milliseconds at which the declared timeout ends, counted from admission
    deadline: int = 0

    @classmethod
    def of(
        cls, request: Request, *, attempt: int, worker: str, gpus: tuple[str, ...], deadline: int, owner: str = ""
    ) -> Reservation:
        """The row for one job with this request."""
        return cls(
            attempt=attempt,
            worker=worker,
            millicores=request.millicores,
            memory=request.memory,
            disk=request.disk,
            pids=request.pids,
            gpus=gpus,
            gpu_memory=request.gpu_memory if gpus else 0,
            owner=owner,
            deadline=deadline,
        )

    @property
    def amount(self) -> Amount:
        """What the row takes of the node. `gpus` are whole devices; shares are bytes on each (admission/devices.py)."""
        whole = 0 if self.gpu_memory else len(self.gpus)
        return Amount(
            millicores=self.millicores, memory=self.memory, gpus=whole, disk=self.disk, pids=self.pids, slots=1
        )


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
        "pids": amount.pids,
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
        "reserved": amount_view(total(rows)) | {"gpus": len({uuid for row in rows for uuid in row.gpus})},
        "usage": node.usage.model_dump(),
        "running": len(rows),
        "waiting": waiting,
        "heartbeat": iso(node.heartbeat),
        "workers": list(node.workers),
        "version": node.version,
        "trouble": node.trouble,
        "gpu_trouble": node.gpu_trouble,
        "gpus": [gpu_view(gpu, rows) for gpu in node.gpus],
    }


def gpu_view(gpu: Gpu, rows: list[Reservation]) -> dict[str, Any]:
    """One device as the outside sees it: `held` bytes by `jobs` jobs."""
    here = [row for row in rows if gpu.uuid in row.gpus]
    return gpu.model_dump() | {"held": sum(row.gpu_memory or gpu.lendable for row in here), "jobs": len(here)}
