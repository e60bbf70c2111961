"""The machine's cores, memory, disk and processes, what of it may be lent, and what is used now."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from hivemind_worker.capacity.confines import Confines, cores_here
from hivemind_worker.capacity.elastic import pressure_of
from hivemind_worker.capacity.reserve import memory_reserve
from hivemind_worker.domain.node import NodeUsage
from hivemind_worker.domain.resources import GIB, Amount, describe, format_size
from hivemind_worker.settings import Settings

#: what a kernel allows where it does not say (include/linux/threads.h: PID_MAX_DEFAULT)
_PID_MAX = 32768
#: setting → the resource that it caps, and how many of the resource's units one of the setting's is
CAPS: dict[str, tuple[str, int]] = {
    "max_cpu_cores": ("millicores", 1000),
    "max_memory_gb": ("memory", GIB),
    "max_gpus": ("gpus", 1),
}
#: setting → the resource of which it keeps some for the system
RESERVES = {
    "reserve_cpu": "millicores",
    "reserve_memory": "memory",
    "reserve_disk": "disk",
    "reserve_pids": "pids",
}


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has, what its own system keeps, and what may be allocated to jobs."""

    total: Amount
    reserve: Amount
    allocatable: Amount
    #: the same at the highest factor: what may be allocated at most, however idle the machine is
    most: Amount
    #: one line for each cap that is above the machine, and for each reserve that leaves nothing of it
    warnings: tuple[str, ...] = ()


def machine_amount(settings: Settings, confines: Confines, *, gpus: int, disk: int) -> Amount:
    """What this process may use of the machine it is on."""
    memory, pids = psutil.virtual_memory().total, _pids()
    return Amount(
        millicores=int(cores_here(confines) * 1000),
        memory=memory if confines.memory is None else min(memory, confines.memory),
        gpus=gpus,
        disk=disk,
        pids=pids if confines.pids is None else min(pids, confines.pids),
        slots=settings.max_concurrent_tasks,
    )


def ceiling(machine: Amount, settings: Settings, *, cores: int) -> float:
    """How often a core may be lent at most: once where the node has only some of the `cores` of the machine. Pure.

    Use and pressure are measured for the whole machine. Jobs' containers are no part of the node's own cgroup and run
    outside its cpuset, so neither says how busy the node's part is: a full one of a calm machine would look idle.
    """
    part = machine.millicores < cores * 1000
    return 1.0 if part else max(settings.cpu_overcommit_max, settings.cpu_reclaim_max)


def part_of(machine: Amount, settings: Settings, *, cores: int) -> tuple[str, ...]:
    """A line for a node that by its settings would lend cores twice and does not (`ceiling`). Pure."""
    if max(settings.cpu_overcommit_max, settings.cpu_reclaim_max) <= ceiling(machine, settings, cores=cores):
        return ()
    has = describe("millicores", machine.millicores)
    return (
        f"this node has {has} of the machine's {cores}, whose load does not tell its own: no core is lent twice, and "
        "cpu_reclaim_max and cpu_overcommit_max have no effect (set both to 1, and this is not said)",
    )


def lend(
    machine: Amount, settings: Settings, *, disk_used: int, factor: float = 1.0, highest: float = math.inf
) -> Capacity:
    """Allocatable = what is left beside the system's reserve, within the owner's caps. Pure.

    A cap above the machine is the machine, with a warning; a reserve that leaves nothing has one too. Disk that is in
    use already is not to be had either. `factor` is how much of every core may be lent now (capacity/elastic.py),
    `highest` what it may ever be; no factor lends more than a cap.
    """
    kept = settings.reserve_memory
    reserve = Amount(
        millicores=round(settings.reserve_cpu * 1000),
        memory=memory_reserve(machine.memory) if kept is None else kept,
        disk=settings.reserve_disk,
        pids=settings.reserve_pids,
    )
    caps: dict[str, int] = {"slots": machine.slots if settings.docker_enabled else 0}
    warnings = []
    for setting, (resource, unit) in CAPS.items():
        cap, has = getattr(settings, setting), getattr(machine, resource)
        if cap is None:
            continue
        caps[resource] = int(cap * unit)
        if caps[resource] > has:
            warnings.append(
                f"HIVEMIND_{setting.upper()}={cap:g} is more than this machine has: {describe(resource, has)}; "
                "what it has is what it lends"
            )
    free = machine - Amount(disk=disk_used)
    left = (free - reserve).floor()
    warnings += _nothing_left(free, reserve)
    if "millicores" in caps:
        caps["spare"] = caps["millicores"]
    allocatable, most = (_stretched(left, settings, each, caps) for each in (factor, highest))
    return Capacity(machine, reserve, allocatable, most, tuple(warnings))


def _nothing_left(free: Amount, reserve: Amount) -> list[str]:
    """One line for each resource of which the reserve leaves nothing: no job starts then, and nobody sees why."""
    lines = []
    for setting, name in RESERVES.items():
        has, kept = getattr(free, name), getattr(reserve, name)
        if has > kept or not kept:
            continue
        said = format_size(kept) if name in ("memory", "disk") else f"{kept / (1000 if name == 'millicores' else 1):g}"
        there = describe(name, max(0, has)) + (" free" if name == "disk" else "")
        lines.append(f"HIVEMIND_{setting.upper()}={said} leaves nothing for jobs: this machine has {there}")
    return lines


def _stretched(left: Amount, settings: Settings, factor: float, caps: Mapping[str, int]) -> Amount:
    """What is lent of what is left: as often as the settings and this factor allow, within the caps."""
    lent = {
        "millicores": int(left.millicores * min(factor, settings.cpu_overcommit_max)),
        "spare": int(left.millicores * min(factor, max(settings.cpu_reclaim_max, settings.cpu_overcommit_max))),
        "memory": int(left.memory * settings.memory_overcommit),
    }
    lends = left.model_copy(update=lent)
    return lends.within(lends.model_copy(update=caps))


def _pids() -> int:
    """Processes and threads that the kernel allows in all."""
    limits = [_number(f"/proc/sys/kernel/{name}") for name in ("pid_max", "threads-max")]
    return min((limit for limit in limits if limit), default=_PID_MAX)


def _number(path: str) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text("ascii")
    except OSError:
        return ""


def read_usage(settings: Settings) -> NodeUsage:
    """What the whole machine uses now; CPU since the last call of this process, 0 at the first."""
    return NodeUsage(
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_used=(memory := psutil.virtual_memory()).total - memory.available,
        disk_used=psutil.disk_usage(str(settings.state)).used,
        load_1m=(load := os.getloadavg()[0]),
        cpu_pressure=pressure_of(_text("/proc/pressure/cpu"), load, os.cpu_count() or 1),
    )
