"""Whose turn it is among owners: dominant-resource fairness (Ghodsi et al., NSDI 2011), weighted. Pure.

An owner's dominant share is the largest part that it holds of any resource of the site. The next job is always one of
the owner whose share with that job, divided by its weight, would be smallest; within an owner the line keeps its order.

Shares are of what is held now: who used a machine that nobody else wanted owes nothing for it. An owner whose every job
is more than its share, as on a node that one job fills, would so never have a turn while others flood the node. So an
owner who holds nothing, and whose first job has waited too long, has the next turn, in the line's order.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from hivemind_worker.admission.rules import Place
from hivemind_worker.admission.space import need_of
from hivemind_worker.domain.line import Candidate

#: cores, memory, disk, devices
Parts = tuple[float, float, float, float]


def fair_order(
    line: Sequence[Candidate], places: Sequence[Place], weights: Mapping[str, float], overdue: float = float("-inf")
) -> list[Candidate]:
    """The line in the order in which owners' turns come, if every job could start at its turn.

    `overdue`: who came before it (epoch ms) and has nothing yet has waited too long.
    """
    whole, largest = _whole(places), _largest(places)
    held: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
    for place in places:
        for row in place.rows.values():
            devices = len(row.gpus) * _part(row.gpu_memory, largest)
            _add(held[row.owner], (row.millicores, row.memory, row.disk, devices), whole)
    queues: defaultdict[str, deque[Candidate]] = defaultdict(deque)
    for candidate in line:
        queues[candidate.owner].append(candidate)

    def turn(owner: str) -> tuple[float, float, str, str]:
        first = queues[owner][0]
        after = list(held[owner])
        _add(after, _parts(first, largest), whole)
        return (max(after) / weights.get(owner, 1.0), first.rank, first.task_id, owner)

    order: list[Candidate] = []

    def take(owner: str) -> None:
        candidate = queues[owner].popleft()
        order.append(candidate)
        _add(held[owner], _parts(candidate, largest), whole)

    forgotten = [owner for owner in queues if not any(held[owner]) and queues[owner][0].created <= overdue]
    for owner in sorted(forgotten, key=lambda owner: (queues[owner][0].rank, queues[owner][0].task_id)):
        take(owner)
    turns = [turn(owner) for owner in queues if queues[owner]]
    heapq.heapify(turns)
    while turns:
        owner = heapq.heappop(turns)[3]
        take(owner)
        if queues[owner]:
            heapq.heappush(turns, turn(owner))
    return order


def _parts(candidate: Candidate, largest: int) -> Parts:
    request = need_of(candidate.shape).request
    devices = request.gpus * _part(request.gpu_memory, largest)
    return (request.millicores, request.memory, request.disk, devices)


def _whole(places: Sequence[Place]) -> Parts:
    lent = [place.node.allocatable for place in places]
    return (
        sum(each.millicores for each in lent),
        sum(each.memory for each in lent),
        sum(each.disk for each in lent),
        sum(each.gpus for each in lent),
    )


def _largest(places: Sequence[Place]) -> int:
    """The memory of the site's largest device."""
    return max((gpu.lendable for place in places for gpu in place.node.gpus), default=0)


def _part(gpu_memory: int, largest: int) -> float:
    """A share of memory as a part of a device, the same on each; without a share it is the whole of one."""
    return min(1.0, gpu_memory / largest) if gpu_memory and largest else 1.0


def _add(held: list[float], parts: Parts, whole: Parts) -> None:
    for place, (part, most) in enumerate(zip(parts, whole, strict=True)):
        if most > 0:
            held[place] += part / most
