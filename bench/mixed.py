"""Admission on a mixed workload of our making: cores, memory, whole GPUs and shares of them on one machine."""

from __future__ import annotations

import random
from typing import Any

from bench.lublin import Kind, workload
from bench.numbers import markdown
from bench.replay import Replay
from bench.swf import TraceJob, at_load
from hivemind_worker.admission.rules import Rules
from hivemind_worker.domain.node import Gpu, Node, NodeState
from hivemind_worker.domain.resources import GIB, MIB, TIB, Amount, Request

CORES = 64
GPUS = 8
JOBS = 3000
#: the load of cores alone, were every job to ask for cores as in the trace
LOADS = (0.7, 0.9)
POLICIES = {
    "ours": Rules(),
    "ours, slack for nobody": Rules(short=-1.0, wide=2.0),
}


def the_node() -> Node:
    """64 cores, 256 GiB, 8 GPUs of 80 GiB."""
    lent = Amount(
        millicores=CORES * 1000, spare=CORES * 1000, memory=256 * GIB, disk=TIB, pids=1_000_000, slots=512, gpus=GPUS
    )
    gpus = tuple(Gpu(uuid=f"gpu{number}", name="x", memory=80 * GIB, index=number) for number in range(GPUS))
    return Node(node="machine", state=NodeState.UP, capacity=lent, reserve=Amount(), allocatable=lent, gpus=gpus)


def request_of(job: TraceJob) -> Request:
    """By lot, the same for the same job: half want cores, a quarter mostly memory, an eighth GPUs, an eighth shares."""
    draw = random.Random(job.number)
    size, kind = min(job.processors, CORES), draw.random()
    base = {"cpu": float(size), "memory": 64 * MIB * size, "disk": MIB, "pids": 16}
    if kind < 0.5:
        return Request(**base)
    if kind < 0.75:
        return Request(**base | {"cpu": max(1.0, size / 4), "memory": min(256, 4 * size) * GIB})
    if kind < 0.875:
        return Request(**base | {"cpu": float(max(1, size // 4)), "gpus": max(1, min(GPUS, size // 8))})
    return Request(**base | {"cpu": 1.0, "gpus": 1, "gpu_memory": draw.choice([4, 10, 20, 40]) * GIB})


def measure() -> dict[str, Any]:
    """Each policy at each load."""
    jobs = workload(1, Kind(), jobs=JOBS, processors=CORES)
    return {
        f"{load} {name}": Replay(at_load(jobs, CORES, load), the_node(), rules, False, request_of).run(CORES).as_dict()
        for load in LOADS
        for name, rules in POLICIES.items()
    }


def table(result: dict[str, Any]) -> str:
    """Waits, slowdowns, broken promises."""
    rows = [
        [
            name,
            f"{found['mean_wait']:.0f}",
            f"{found['max_wait']:.0f}",
            f"{found['mean_bounded_slowdown']:.1f}",
            f"{found['makespan']:.0f}",
            found["broken_reservations"],
        ]
        for name, found in result.items()
    ]
    head = ["load, policy", "mean wait s", "longest wait s", "bounded slowdown", "makespan s", "broken"]
    return markdown("Admission on cores, memory and GPUs", head, rows)
