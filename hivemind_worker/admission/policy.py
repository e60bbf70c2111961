"""The plan: which waiting jobs may start now on this node. Pure; the guard in reserve.lua has the last word.

The order is by rank: creation time less a head start per priority level (`ageing` seconds each), so a higher priority
overtakes, and a job that waits overtakes in turn whatever was submitted `levels × ageing` seconds after it.
What does not fit now is passed over, so one large job does not idle the node. A job that has waited longer than
`patience` is passed over no more: what it needs is set aside from all behind it, so that the node drains into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hivemind_worker.domain.line import Candidate, Claim
from hivemind_worker.domain.node import Gpu, Node, NodeState, Reservation, total
from hivemind_worker.domain.resources import Amount, Request


@dataclass(frozen=True, slots=True)
class Plan:
    """What to admit, in order, and for each job passed over the resources it lacks."""

    claims: tuple[Claim, ...] = ()
    lacking: Mapping[str, dict[str, int]] = field(default_factory=dict)


def plan(
    waiting: Sequence[Candidate],
    node: Node,
    rows: Mapping[str, Reservation],
    *,
    worker: str,
    now: int,
    patience: float,
) -> Plan:
    """Choose from the waiting line (in its order) what starts on this node now. `now` in epoch ms, patience in s."""
    if node.state is not NodeState.UP:
        return Plan()
    free = (node.allocatable - total(list(rows.values()))).floor()
    devices = free_devices(node.gpus, rows)
    claims: list[Claim] = []
    lacking: dict[str, dict[str, int]] = {}
    for candidate in waiting:
        if free.slots < 1:
            break
        request = Request.from_shape(candidate.shape)
        wanted = Amount.of(request)
        chosen = choose_devices(request, devices)
        missing = free.lacks(wanted)
        if missing or chosen is None:
            lacking[candidate.task_id] = missing or {"gpus": request.gpus}
            if now - candidate.created >= patience * 1000 and could_hold(node, request):
                left = without(devices, request)
                aside = wanted.model_copy(update={"gpus": len(devices) - len(left)})
                free, devices = (free - aside).floor(), left
            continue
        free = free - wanted
        devices = tuple(gpu for gpu in devices if gpu.uuid not in chosen)
        claims.append(_claim(candidate, request, chosen, worker, now))
    return Plan(tuple(claims), lacking)


def could_hold(node: Node, request: Request) -> bool:
    """Whether the node, empty, has room: nothing is set aside for a job that only another node can run."""
    return node.allocatable.covers(Amount.of(request)) and choose_devices(request, node.gpus) is not None


def without(devices: Sequence[Gpu], request: Request) -> tuple[Gpu, ...]:
    """The devices that are left when as many as are asked for are set aside, of those that are large enough."""
    aside = {gpu.uuid for gpu in [gpu for gpu in devices if gpu.memory >= request.gpu_memory][: request.gpus]}
    return tuple(gpu for gpu in devices if gpu.uuid not in aside)


def free_devices(gpus: Sequence[Gpu], rows: Mapping[str, Reservation]) -> tuple[Gpu, ...]:
    """Devices that no row holds, smallest memory first, so that large ones stay for who needs them."""
    held = {uuid for row in rows.values() for uuid in row.gpus}
    return tuple(sorted((gpu for gpu in gpus if gpu.uuid not in held), key=lambda gpu: (gpu.memory, gpu.uuid)))


def choose_devices(request: Request, devices: Sequence[Gpu]) -> tuple[str, ...] | None:
    """The smallest devices that are large enough; None when there are too few."""
    fitting = [gpu.uuid for gpu in devices if gpu.memory >= request.gpu_memory]
    return tuple(fitting[: request.gpus]) if len(fitting) >= request.gpus else None


def _claim(candidate: Candidate, request: Request, gpus: tuple[str, ...], worker: str, now: int) -> Claim:
    deadline = now + int(candidate.timeout_seconds * 1000)
    row = Reservation.of(request, attempt=candidate.attempt, worker=worker, gpus=gpus, deadline=deadline)
    return Claim(candidate.task_id, candidate.shape, row)
