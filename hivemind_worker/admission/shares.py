"""Whose turn it is among owners: dominant-resource fairness (Ghodsi et al., NSDI 2011), weighted, over time. Pure.

An owner's use is what it has held of each resource, summed over time; half of it is forgotten in a half-life. What it
holds now counts on top, for as long as a waiting job probably runs on the average: without that, all that is free would
go to one owner at a time. The largest of the resources, divided by the owner's weight, is its share; the next job is
one of the owner whose share with half of it would be smallest (Sainte-Laguë: with all of it, as published, the larger
weight gets more than its part of few places). Within an owner the line keeps its order.

Jobs come in whole numbers and in sizes, so what is held at one moment is seldom as the weights say. Summed over time it
is: who is short now has its turn sooner. For that, who is ahead must let a larger job of who is behind come by.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from math import log

from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.admission.space import need_of
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.usage import Account, Parts, Usage

#: in weights: every owner that is not named
OTHERS = "*"
#: owners that have an account, at most: those with the largest
ACCOUNTS = 500
#: less than so many seconds of the whole site are forgotten
CRUMB = 0.001
NOTHING: Parts = (0.0, 0.0, 0.0, 0.0)


def accrue(usage: Usage, places: Sequence[Place], now: int, half_life: float) -> Usage:
    """The accounts as of `now` (epoch ms), if what is held now was held ever since they were made up."""
    passed = max(0.0, (now - usage.at) / 1000) if usage.at else 0.0
    left = 0.5 ** (passed / half_life)
    grown = (1 - left) * half_life / log(2)
    held = _held(places)
    owners = {}
    for owner in held.keys() | usage.owners.keys():
        known = usage.owners.get(owner, Account(NOTHING, now))
        holds = held.get(owner, NOTHING)
        seconds = _plus(_plus(NOTHING, known.seconds, left), holds, grown)
        if owner in held or max(seconds) >= CRUMB:
            owners[owner] = Account(seconds, now if owner in held else known.last)
    if len(owners) > ACCOUNTS:
        largest = heapq.nlargest(ACCOUNTS, owners.items(), key=lambda each: (max(each[1].seconds), each[0]))
        owners = dict(largest)
    return Usage(now, owners)


class Turns:
    """The owners' shares while one plan is made. `line`: who waits, in the line's order; times in epoch ms."""

    def __init__(
        self, line: Sequence[Candidate], places: Sequence[Place], rules: Rules, usage: Usage, now: int
    ) -> None:
        self._weights, self._whole, self._largest = rules.weights, _whole(places), _largest(places)
        self._used = accrue(usage, places, now, rules.half_life).owners
        self._held = _held(places)
        #: parts of the site, by shape
        self._known: dict[str, Parts] = {}
        self._others = rules.weights.get(OTHERS, 1.0)
        self._since = now - rules.half_life * 1000
        self._horizon = sum(each.expected for each in line) / len(line) if line else 0.0

    def order(self, line: Iterable[Candidate]) -> list[Candidate]:
        """The line in the order in which owners' turns come, if every job could start at its turn."""
        queues: defaultdict[str, deque[Candidate]] = defaultdict(deque)
        for candidate in line:
            queues[candidate.owner].append(candidate)
        held = dict(self._held)

        def turn(owner: str) -> tuple[bool, float, float, str, str]:
            first = queues[owner][0]
            share = self._share(owner, _plus(held.get(owner, NOTHING), self._parts(first), 0.5))
            return (not self._forgotten(owner, first, held), share, first.rank, first.task_id, owner)

        order: list[Candidate] = []
        turns = [turn(owner) for owner in queues]
        heapq.heapify(turns)
        while turns:
            owner = heapq.heappop(turns)[-1]
            candidate = queues[owner].popleft()
            order.append(candidate)
            held[owner] = _plus(held.get(owner, NOTHING), self._parts(candidate))
            if queues[owner]:
                heapq.heappush(turns, turn(owner))
        return order

    def start(self, candidate: Candidate) -> None:
        """It is held from now on."""
        self._held[candidate.owner] = _plus(self._held.get(candidate.owner, NOTHING), self._parts(candidate))

    def ahead(self, owner: str, head: Candidate) -> bool:
        """Whether an owner is further than the head's would be with the head running."""
        if owner == head.owner:
            return False
        with_head = _plus(self._held.get(head.owner, NOTHING), self._parts(head))
        return self._share(owner, self._held.get(owner, NOTHING)) > self._share(head.owner, with_head)

    def _share(self, owner: str, held: Parts) -> float:
        used = self._used[owner].seconds if owner in self._used else NOTHING
        return max(_plus(used, held, self._horizon)) / self._weights.get(owner, self._others)

    def _forgotten(self, owner: str, first: Candidate, held: Mapping[str, Parts]) -> bool:
        """Whether an owner has waited for a half-life, and held nothing. It is next, whatever its weight."""
        account = self._used.get(owner)
        return owner not in held and first.created <= self._since and (account is None or account.last <= self._since)

    def _parts(self, candidate: Candidate) -> Parts:
        parts = self._known.get(candidate.shape)
        if parts is None:
            request = need_of(candidate.shape).request
            devices = request.gpus * _part(request.gpu_memory, self._largest)
            parts = _of((request.millicores, request.memory, request.disk, devices), self._whole)
            self._known[candidate.shape] = parts
        return parts


def _held(places: Sequence[Place]) -> dict[str, Parts]:
    """What each owner holds, as parts of the site."""
    whole, largest = _whole(places), _largest(places)
    held: dict[str, Parts] = {}
    for place in places:
        for row in place.rows.values():
            devices = len(row.gpus) * _part(row.gpu_memory, largest)
            parts = _of((row.millicores, row.memory, row.disk, devices), whole)
            held[row.owner] = _plus(held.get(row.owner, NOTHING), parts)
    return held


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


def _of(amounts: Parts, whole: Parts) -> Parts:
    cores, memory, disk, devices = (part / most if most > 0 else 0.0 for part, most in zip(amounts, whole, strict=True))
    return (cores, memory, disk, devices)


def _plus(some: Parts, more: Parts, times: float = 1.0) -> Parts:
    return (
        some[0] + more[0] * times,
        some[1] + more[1] * times,
        some[2] + more[2] * times,
        some[3] + more[3] * times,
    )
