"""The plan: which waiting jobs may start now on this node. Pure; the guard in reserve.lua has the last word.

The order is by rank: creation time less a head start per priority level (`ageing` seconds each), so a higher priority
overtakes, and a job that waits overtakes in turn whatever was submitted `levels × ageing` seconds after it.
What does not fit now is passed over, so one large job does not idle the node. A job that has waited longer than
`patience` is passed over no more: what it needs is set aside from all behind it, so that the node drains into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hivemind_worker.admission.devices import could_place, free_on
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Claim
from hivemind_worker.domain.node import Node, NodeState, Reservation
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
    owners: OwnersRunning = OwnersRunning(),  # noqa: B008 - frozen
) -> Plan:
    """Choose from the waiting line (in its order) what starts on this node now. `now` in epoch ms, patience in s."""
    if node.state is not NodeState.UP:
        return Plan()
    free, devices = free_on(node, rows.values())
    claims: list[Claim] = []
    lacking: dict[str, dict[str, int]] = {}
    for candidate in waiting:
        if free.slots < 1:
            break
        if owners.full(candidate.owner):
            continue
        request = Request.from_shape(candidate.shape)
        wanted = Amount.of(request)
        chosen = devices.place(request)
        missing = free.lacks(wanted) | devices.lacks(request)
        if missing or chosen is None:
            lacking[candidate.task_id] = missing
            if now - candidate.created >= patience * 1000 and could_hold(node, request):
                devices = devices.without(request)
                free = (free - wanted).floor().model_copy(update={"gpus": devices.unused})
            continue
        devices = devices.take(chosen, request.gpu_memory)
        free = (free - wanted).model_copy(update={"gpus": devices.unused})
        owners = owners.with_one_more(candidate.owner)
        claims.append(_claim(candidate, request, chosen, worker, now))
    return Plan(tuple(claims), lacking)


def could_hold(node: Node, request: Request) -> bool:
    """Whether the node, empty, has room: nothing is set aside for a job that only another node can run."""
    return node.allocatable.covers(Amount.of(request)) and could_place(node, request)


def _claim(candidate: Candidate, request: Request, gpus: tuple[str, ...], worker: str, now: int) -> Claim:
    deadline = now + int(candidate.timeout_seconds * 1000)
    row = Reservation.of(
        request, attempt=candidate.attempt, worker=worker, gpus=gpus, deadline=deadline, owner=candidate.owner
    )
    return Claim(candidate.task_id, candidate.shape, row)
