"""The machine's cores, memory and disk, what of it may be lent, and what is used now (psutil)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from hivemind_worker.domain.node import Gpu, NodeUsage
from hivemind_worker.domain.resources import Amount
from hivemind_worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has, what its own system keeps, and what may be allocated to jobs."""

    total: Amount
    reserve: Amount
    allocatable: Amount


def read_capacity(settings: Settings, gpus: tuple[Gpu, ...]) -> Capacity:
    """Measure this machine. The state directory must exist."""
    disk = psutil.disk_usage(str(settings.state))
    machine = Amount(
        millicores=len(os.sched_getaffinity(0)) * 1000,
        memory=psutil.virtual_memory().total,
        gpus=len(gpus),
        disk=disk.total,
        pids=int(Path("/proc/sys/kernel/pid_max").read_text("ascii")),
        slots=settings.max_concurrent_tasks,
    )
    # What the file system keeps for root is in use as far as we are concerned.
    return lend(machine, settings, disk_used=disk.total - disk.free)


def lend(machine: Amount, settings: Settings, *, disk_used: int) -> Capacity:
    """Allocatable = what is left beside the system's reserve, within the owner's caps. Pure.

    A cap above the machine changes nothing. Disk that is in use already is not to be had either.
    """
    reserve = Amount(
        millicores=round(settings.reserve_cpu * 1000),
        memory=settings.reserve_memory,
        disk=settings.reserve_disk,
        pids=settings.reserve_pids,
    )
    cap = Amount(
        millicores=_or(settings.max_cpu_cores, 1000, machine.millicores),
        memory=_or(settings.max_memory_gb, 1024**3, machine.memory),
        gpus=machine.gpus,
        disk=machine.disk,
        pids=machine.pids,
        slots=machine.slots if settings.docker_enabled else 0,
    )
    used = Amount(disk=disk_used)
    return Capacity(machine, reserve, (machine - reserve - used).floor().within(cap))


def _or(cap: float | None, unit: int, otherwise: int) -> int:
    return otherwise if cap is None else int(cap * unit)


def read_usage(settings: Settings) -> NodeUsage:
    """What the whole machine uses now; CPU since the last call of this process, 0 at the first."""
    return NodeUsage(
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_used=(memory := psutil.virtual_memory()).total - memory.available,
        disk_used=psutil.disk_usage(str(settings.state)).used,
        load_1m=os.getloadavg()[0],
    )
