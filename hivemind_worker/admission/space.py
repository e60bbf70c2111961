"""One node while a plan is made: what is free now, what will be free when, and what is kept for the head of the line.

Mutable, and private to the making of one plan. Devices follow admission/devices.py; all else is additive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from hivemind_worker.admission.devices import Devices, empty
from hivemind_worker.domain.node import Node, Reservation
from hivemind_worker.domain.resources import Amount, Request

#: millicores, memory, disk, pids, slots, spare millicores
Vector = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Need:
    """What one job takes, ready for arithmetic."""

    request: Request
    amount: Amount
    vector: Vector
    #: it runs on spare cores and takes no others; every other job leaves so much less to spare
    reclaimable: bool


@lru_cache(maxsize=20_000)
def need_of(shape: str) -> Need:
    """The need behind a shape."""
    request = Request.from_shape(shape)
    vector = _vector(request.millicores, request.memory, request.disk, request.pids, request.reclaimable)
    return Need(request, Amount.of(request), vector, request.reclaimable)


def _vector(millicores: int, memory: int, disk: int, pids: int, reclaimable: bool) -> Vector:
    return (0 if reclaimable else millicores, memory, disk, pids, 1, millicores)


def twice(need: Need) -> Need:
    """Room for two of it, devices left aside."""
    first, second, third, fourth, fifth, sixth = need.vector
    return replace(need, vector=(2 * first, 2 * second, 2 * third, 2 * fourth, 2 * fifth, 2 * sixth))


@dataclass(frozen=True, slots=True)
class Held:
    """One row's part: until when it is declared to be held (epoch ms), and what it gives back."""

    until: int
    #: when it will probably be given back (epoch ms)
    probably: int
    vector: Vector
    gpus: tuple[str, ...]
    gpu_memory: int


class Space:
    """One node's room. `now` in epoch ms."""

    def __init__(self, node: Node, rows: Mapping[str, Reservation], now: int) -> None:
        self.node, self.name, self._now = node, node.node, now
        lent = node.allocatable
        self.whole: Vector = (lent.millicores, lent.memory, lent.disk, lent.pids, lent.slots, lent.spare)
        self._held = [
            Held(
                row.ends_by(now),
                row.probably_ends(now),
                _vector(row.millicores, row.memory, row.disk, row.pids, row.reclaimable),
                row.gpus,
                row.gpu_memory,
            )
            for row in rows.values()
        ]
        self.free = list(self.whole)
        for held in self._held:
            _less(self.free, held.vector)
        self.devices = Devices.of(node.gpus, rows.values(), node.devices_at_once)
        self._barrier: int | None = None
        self._soon = 0
        self._spare: list[int] = []
        self._spare_devices = self.devices
        self._head: Need | None = None

    # --- now --------------------------------------------------------------------------------------------

    def covers(self, need: Need) -> bool:
        """Whether it fits now, what is kept for the head left aside."""
        return _covers(self.free, need) and (not need.request.gpus or self.devices.place(need.request) is not None)

    def place(self, need: Need) -> tuple[str, ...]:
        """The devices for what `covers` said fits."""
        return (self.devices.place(need.request) or ()) if need.request.gpus else ()

    def lacks(self, need: Need) -> dict[str, int]:
        """What is missing now, by the resources' names."""
        millicores, memory, disk, pids, slots, spare = self.free
        free = Amount(
            millicores=millicores,
            memory=memory,
            disk=disk,
            pids=pids,
            slots=slots,
            spare=spare,
            gpus=self.devices.unused,
        ).floor()
        return free.lacks(need.amount) | self.devices.lacks(need.request)

    def lacks_empty(self, need: Need) -> dict[str, int]:
        """What would be missing with nobody on the node."""
        return self.node.allocatable.lacks(need.amount) | empty(self.node).lacks(need.request)

    def could_hold(self, need: Need) -> bool:
        """Whether the node, empty, has room."""
        return _covers(self.whole, need) and (not need.request.gpus or empty(self.node).place(need.request) is not None)

    def share(self, need: Need) -> float:
        """The part of the node that it takes, of the resource it takes most of; processes and slots do not count."""
        largest = 0.0
        for at in (0, 1, 2):
            if self.whole[at] > 0:
                largest = max(largest, need.vector[at] / self.whole[at])
        gpus = sum(1 for gpu in self.node.gpus if gpu.usable) if need.request.gpus else 0
        if gpus:
            lent = max(gpu.lendable for gpu in self.node.gpus if gpu.usable)
            part = need.request.gpu_memory / lent if need.request.gpu_memory and lent else 1.0
            largest = max(largest, need.request.gpus * part / gpus)
        return largest

    def tightness(self, need: Need) -> float:
        """How much of the node would be left: smaller is the better place, so that large holes stay whole."""
        left = [
            (free - part) / whole
            for free, part, whole in zip(self.free[:3], need.vector[:3], self.whole[:3], strict=True)
            if whole > 0
        ]
        if self.devices.rooms:
            left.append(self.devices.unused - (0 if need.request.gpu_memory else need.request.gpus))
        return sum(left)

    def take(self, need: Need, gpus: tuple[str, ...], until: int, probably: int) -> None:
        """One job more, held until its declared end, or when it will probably end."""
        _less(self.free, need.vector)
        if gpus:
            self.devices = self.devices.take(gpus, need.request.gpu_memory)
        if self._barrier is not None and until > self._barrier:
            _less(self._spare, need.vector)
            if gpus:
                self._spare_devices = self._spare_devices.take(gpus, need.request.gpu_memory)
        self._held.append(Held(until, probably, need.vector, gpus, need.request.gpu_memory))

    # --- later ------------------------------------------------------------------------------------------

    def earliest(self, need: Need, *, probably: bool = False) -> int | None:
        """When, by declared ends, it fits at the latest, or when it probably does (epoch ms). None: not even empty."""
        if self.covers(need):
            return self._now
        free, devices, wants = list(self.free), self.devices, bool(need.request.gpus)
        ends = sorted((held.probably if probably else held.until, at) for at, held in enumerate(self._held))
        for place, (end, at) in enumerate(ends):
            held = self._held[at]
            _more(free, held.vector)
            if held.gpus:
                devices = devices.give(held.gpus, held.gpu_memory)
            if place + 1 < len(ends) and ends[place + 1][0] == end:
                continue
            if _covers(free, need) and (not wants or devices.place(need.request) is not None):
                return end
        return None

    def keep(self, need: Need, at: int, soon: int | None = None) -> bool:
        """Keep room for the head at that time; whether it is certain to have it, by declared ends.

        `soon`: when it will probably start.
        """
        self._head, self._barrier, self._soon = need, at, soon or 0
        self._spare, self._spare_devices = list(self.free), self.devices
        for held in self._held:
            if held.until <= at:
                _more(self._spare, held.vector)
                if held.gpus:
                    self._spare_devices = self._spare_devices.give(held.gpus, held.gpu_memory)
        certain = _covers(self._spare, need)
        if need.request.gpus:
            certain = certain and self._spare_devices.place(need.request) is not None
        _less(self._spare, need.vector)
        return certain

    def let_go(self) -> None:
        """Keep nothing for anyone."""
        self._barrier = self._head = None

    def spares(self, need: Need, until: int, *, humble: bool = False) -> bool:
        """Whether a job that fits now, held until then, leaves the head's room alone.

        `humble`: it gives way to the head even before that was promised its start: what the head waits for is not taken
        for longer than it will probably wait.
        """
        head = self._head
        if self._barrier is None or head is None:
            return True
        if humble and until > self._soon:
            left = list(self.free)
            _less(left, head.vector)
            if not self._beside(left, self.devices, need, head):
                return False
        return until <= self._barrier or self._beside(self._spare, self._spare_devices, need, head)

    def _beside(self, left: list[int], devices: Devices, need: Need, head: Need) -> bool:
        """Whether it fits into what the head leaves, and leaves the head what it needs."""
        if not _covers(left, need) or (head.reclaimable and left[5] < need.vector[5]):
            return False
        if not (head.request.gpus and need.request.gpus):
            return True
        return devices.take(self.place(need), need.request.gpu_memory).place(head.request) is not None


def _covers(free: list[int] | Vector, need: Need) -> bool:
    """Whether the additive part of a need fits; reserve.lua says the same."""
    cores = 5 if need.reclaimable else 0
    wanted = need.vector
    return (
        free[cores] >= wanted[cores]
        and free[1] >= wanted[1]
        and free[2] >= wanted[2]
        and free[3] >= wanted[3]
        and free[4] >= wanted[4]
    )


def _less(free: list[int], part: Vector) -> None:
    free[0] -= part[0]
    free[1] -= part[1]
    free[2] -= part[2]
    free[3] -= part[3]
    free[4] -= part[4]
    free[5] -= part[5]


def _more(free: list[int], part: Vector) -> None:
    free[0] += part[0]
    free[1] += part[1]
    free[2] += part[2]
    free[3] += part[3]
    free[4] += part[4]
    free[5] += part[5]
