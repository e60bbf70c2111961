"""A node: what it has, what it lends, what runs on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hivemind_worker.domain.errors import InvalidField, NotFound
from hivemind_worker.domain.job import iso
from hivemind_worker.domain.resources import Amount, Request, describe

#: milliseconds; a row that is late is not expected to be given back sooner than this after it should have been
SOON = 1000


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
    #: how fast it is; 100 is the reference of capacity/bench_gpu.py; 0: not measured
    score: float = 0.0
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


class NodeCaps(BaseModel):
    """What an operator lets a node lend at most, set while it runs. None: as much as its settings say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    millicores: int | None = None
    memory: int | None = None
    gpus: int | None = None
    slots: int | None = None

    def within(self, amount: Amount) -> Amount:
        """The amount with nothing above a cap. Idle cores are cores too."""
        caps = {name: cap for name, cap in self.model_dump().items() if cap is not None}
        if self.millicores is not None:
            caps["spare"] = self.millicores
        return amount.within(amount.model_copy(update=caps))

    def warnings(self, capacity: Amount, lends: Amount) -> tuple[str, ...]:
        """One line for each cap that changes nothing: above the most that the node `lends` without it."""
        lines = []
        for name, cap in self.model_dump().items():
            has, lent = getattr(capacity, name), getattr(lends, name)
            if cap is None or cap <= lent:
                continue
            if cap > has:
                than = f"the node has: {describe(name, has)}"
            else:
                than = f"the node lends by its settings, beside what it keeps: {describe(name, lent)}"
            lines.append(f"{cap_words(name, cap)} is more than {than}")
        return tuple(lines)


def cap_words(name: str, cap: int) -> str:
    """How a cap is called, by its name in NodeCaps: 'the cap of 2 cores'."""
    return f"the cap of {describe(name, cap)}"


class NodeUsage(BaseModel):
    """What the machine as a whole uses now, jobs or not."""

    model_config = ConfigDict(frozen=True)

    cpu_percent: float = 0.0
    memory_used: int = 0
    disk_used: int = 0
    load_1m: float = 0.0
    #: per cent of the last ten seconds in which some task waited for a core
    cpu_pressure: float = 0.0


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
    #: what it would lend without an operator's caps; None: the same
    lends: Amount | None = None
    #: what it would lend without them were all its cores idle: what its settings ever let it; None: `lends`
    most: Amount | None = None
    #: what an operator set while it ran; `allocatable` is within it
    caps: NodeCaps = Field(default_factory=NodeCaps)
    #: how much of every core is lent: 1 is all of it, more lends what is idle
    cpu_factor: float = 1.0
    #: how fast one core is; 100 is the machine that docs/capacity.md names; 0: not measured yet
    cpu_score: float = 0.0
    usage: NodeUsage = Field(default_factory=NodeUsage)
    heartbeat: int = 0
    workers: tuple[str, ...] = ()
    version: str = ""
    #: why the node admits nothing although it is up; '' when all is well
    trouble: str = ""
    #: what is odd about its own settings: caps above the machine, or what has no effect
    remarks: tuple[str, ...] = ()
    #: what becomes of its containers when Redis stays away, `keep` or `stop`; what an acknowledged job survives,
    #: `always` or `everysec`; '' of a release that does not say
    on_partition: str = ""
    durability: str = ""

    @property
    def cores(self) -> int:
        """What one container may use at most where its request is less, in thousandths of a core: what is lent, though
        no more than there is where some is lent twice. Nothing where fewer are lent than there are beside the reserve:
        containers with limits could together pass what the owner lends."""
        beside_reserve = self.capacity.millicores - self.reserve.millicores
        if self.allocatable.millicores < beside_reserve:
            return 0
        return min(self.capacity.millicores, self.allocatable.millicores)

    @property
    def ever(self) -> Amount:
        """The most that it may ever lend as it is set up: neither its load nor an operator's caps count."""
        return self.most or self.lends or self.allocatable

    def lowered(self, lacking: Collection[str]) -> tuple[str, ...]:
        """The operator's caps, in words, that keep it from lending more of these resources. Idle cores are cores."""
        wanted = {"millicores" if name == "spare" else name for name in lacking}
        caps = self.caps.model_dump(exclude_none=True)
        return tuple(
            cap_words(name, cap)
            for name, cap in caps.items()
            if name in wanted and getattr(self.allocatable, name) == cap
        )

    @property
    def devices_at_once(self) -> int:
        """How many devices jobs may be on at the same time, within caps. Cordoned ones count while jobs are on them."""
        return self.caps.within(self.lends or self.allocatable).gpus


class Reservation(BaseModel):
    """One row of the ledger: what one attempt holds on one node."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    worker: str
    millicores: int
    memory: int
    disk: int
    pids: int
    #: runs on idle cores
    reclaimable: bool = False
    gpus: tuple[str, ...] = ()
    #: bytes held on each of `gpus`; 0: all of each
    gpu_memory: int = 0
    #: whose job it is, for limits and fair shares
    owner: str = ""
    #: epoch milliseconds by which it should be given back. At admission that allows for the container's start; the
    #: start, once it is known, moves it (scripts/advance.lua)
    deadline: int = 0
    #: milliseconds that it is held at most once its container runs; 0: it does, and `deadline` counts from there
    from_start: int = 0
    #: epoch milliseconds at which it will probably end, by earlier runs of its kind; 0: not known
    expected: int = 0

    @classmethod
    def of(
        cls,
        request: Request,
        *,
        attempt: int,
        worker: str,
        gpus: tuple[str, ...],
        deadline: int,
        from_start: int = 0,
        owner: str = "",
        expected: int = 0,
    ) -> Reservation:
        """The row for one job with this request."""
        return cls(
            attempt=attempt,
            worker=worker,
            millicores=request.millicores,
            memory=request.memory,
            disk=request.disk,
            pids=request.pids,
            reclaimable=request.reclaimable,
            gpus=gpus,
            gpu_memory=request.gpu_memory if gpus else 0,
            owner=owner,
            deadline=deadline,
            from_start=from_start,
            expected=expected,
        )

    def ends_by(self, now: int) -> int:
        """By when it is given back, as far as is declared; always after `now`. Epoch ms.

        One that is late, with its start or with its end, is given as long again as it is late, a second at least, and
        in doublings: what is promised on its account is put off a few times, not at every look.
        """
        late = now - (self.deadline - self.from_start)
        return self.deadline if late < 0 else self.deadline + max(SOON, 1 << late.bit_length())

    def probably_ends(self, now: int) -> int:
        """When it is probably given back, epoch ms. One that outlives that gets as much again as it is over by."""
        latest = self.ends_by(now)
        if not self.expected:
            return latest
        return min(latest, self.expected if self.expected > now else now + max(1, now - self.expected))

    @property
    def amount(self) -> Amount:
        """What the row takes of the node. `gpus` are whole devices; shares are bytes on each (admission/devices.py)."""
        whole = 0 if self.gpu_memory else len(self.gpus)
        return Amount(
            millicores=0 if self.reclaimable else self.millicores,
            spare=self.millicores,
            memory=self.memory,
            gpus=whole,
            disk=self.disk,
            pids=self.pids,
            slots=1,
        )


def total(rows: list[Reservation]) -> Amount:
    """The sum of rows: what is reserved now. Never a counter."""
    return Amount(
        millicores=sum(0 if row.reclaimable else row.millicores for row in rows),
        spare=sum(row.millicores for row in rows),
        memory=sum(row.memory for row in rows),
        gpus=sum(0 if row.gpu_memory else len(row.gpus) for row in rows),
        disk=sum(row.disk for row in rows),
        pids=sum(row.pids for row in rows),
        slots=len(rows),
    )


def amount_view(amount: Amount) -> dict[str, Any]:
    """An amount as the outside sees it: cores as a float."""
    return {
        "cpu": amount.cpu,
        "memory": amount.memory,
        "gpus": amount.gpus,
        "disk": amount.disk,
        "pids": amount.pids,
        "slots": amount.slots,
        "spare_cpu": amount.spare / 1000,
    }


def node_view(node: Node, held: Mapping[str, Reservation], waiting: int) -> dict[str, Any]:
    """The node as every outside surface shows it (contract: `nodes --json`); `held`: its rows by task_id."""
    rows = list(held.values())
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
        "caps": caps_view(node.caps),
        "warnings": [*node.remarks, *node.caps.warnings(node.capacity, node.ever)],
        "cpu_factor": node.cpu_factor,
        "cpu_score": node.cpu_score,
        "gpus": [gpu_view(gpu, held) for gpu in node.gpus],
        "empty_by": iso(max((row.deadline for row in rows), default=0) or None),
        "empty_expected": iso(max((row.expected or row.deadline for row in rows), default=0) or None),
        "on_partition": node.on_partition,
        "durability": node.durability,
    }


def caps_view(caps: NodeCaps) -> dict[str, Any]:
    """Caps as the outside sees them: cores as a float, None where there is none."""
    cores = None if caps.millicores is None else caps.millicores / 1000
    return {"max_cpu": cores, "max_memory": caps.memory, "max_gpus": caps.gpus, "max_tasks": caps.slots}


def find_gpus(node: Node, wanted: str) -> tuple[str, ...]:
    """The devices that a person means: by UUID or its beginning, or by number; the number or UUID of a divided device
    means all its instances. Raises NotFound, InvalidField."""
    if wanted.isascii() and wanted.isdigit():
        found = [gpu for gpu in node.gpus if gpu.index == int(wanted)]
    else:
        found = [gpu for gpu in node.gpus if wanted in (gpu.uuid, gpu.parent)]
        if not found and len(wanted) >= 4:
            found = [gpu for gpu in node.gpus if gpu.uuid.startswith(wanted)]
            if len(found) > 1:
                raise InvalidField("gpu", f"{wanted} is the beginning of {len(found)} devices; write more of it")
    if not found:
        there = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in node.gpus) or "none"
        raise NotFound(f"node {node.node} has no GPU {wanted[:80]!r}; it has {there}")
    return tuple(gpu.uuid for gpu in found)


def gpu_view(gpu: Gpu, held: Mapping[str, Reservation]) -> dict[str, Any]:
    """One device as the outside sees it: `held` bytes of the `lendable` ones by `jobs` jobs, who are its `holders`."""
    here = {task_id: row for task_id, row in sorted(held.items()) if gpu.uuid in row.gpus}
    return gpu.model_dump() | {
        "lendable": gpu.lendable,
        "held": sum(row.gpu_memory or gpu.lendable for row in here.values()),
        "jobs": len(here),
        "holders": [
            {
                "task_id": task_id,
                "owner": row.owner,
                "memory": row.gpu_memory or gpu.lendable,
                "whole": not row.gpu_memory,
            }
            for task_id, row in here.items()
        ],
    }
