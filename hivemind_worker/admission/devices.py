"""Which devices a job gets: whole ones by count, or a share of memory on each. Pure; reserve.lua re-checks the sums.

Without `gpu_memory` a job gets whole devices that nobody else is on. With it, it gets that many bytes on each of N
different devices, beside others. A share lies on one device, never across two. Shares go where they fit most tightly,
whole jobs to the smallest devices, so that large and empty ones stay for who needs them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from hivemind_worker.admission.rules import Place
from hivemind_worker.domain.node import Gpu, Node, NodeState, Reservation, total
from hivemind_worker.domain.resources import Amount, Request

#: devices and nodes whose troubles one sentence names
MOST_TROUBLES = 4


@dataclass(frozen=True, slots=True)
class Room:
    """One device: what it lends, what of that is free (bytes), how many jobs are on it, whether it takes more."""

    uuid: str
    memory: int
    free: int
    jobs: int
    open: bool

    def holds(self, request: Request) -> bool:
        """Whether one device's part of the request fits beside what is on it now."""
        if not self.open:
            return False
        if request.gpu_memory:
            return self.free >= request.gpu_memory
        return self.jobs == 0


@dataclass(frozen=True, slots=True)
class Devices:
    """The well devices of one node at one moment. `most`: how many may be in use at once, cordoned ones too."""

    rooms: tuple[Room, ...] = ()
    most: int = 0

    @classmethod
    def of(cls, gpus: Iterable[Gpu], rows: Iterable[Reservation], most: int) -> Devices:
        """What the rows leave of the devices. Cordoned ones are there, but closed; the jobs of ill ones end."""
        well = (gpu for gpu in gpus if not gpu.trouble)
        empty = cls(tuple(Room(gpu.uuid, gpu.lendable, gpu.lendable, 0, gpu.usable) for gpu in well), most)
        if not empty.rooms:
            return empty
        held = empty
        for row in rows:
            if row.gpus:
                held = held.take(row.gpus, row.gpu_memory)
        return held

    @property
    def unused(self) -> int:
        """How many whole devices can be given away now."""
        return max(0, min(self.most - self._in_use(), sum(1 for room in self.rooms if room.open and not room.jobs)))

    def place(self, request: Request) -> tuple[str, ...] | None:
        """The devices for one job, () when it asks for none, None when there is no room for it now."""
        if not request.gpus:
            return ()
        fresh = self.most - self._in_use()
        chosen: list[str] = []
        for room in sorted((room for room in self.rooms if room.holds(request)), key=_tightest):
            if len(chosen) == request.gpus:
                break
            if room.jobs == 0:
                if fresh <= 0:
                    continue
                fresh -= 1
            chosen.append(room.uuid)
        return tuple(chosen) if len(chosen) == request.gpus else None

    def take(self, uuids: Collection[str], gpu_memory: int) -> Devices:
        """The same with a job on these devices: `gpu_memory` bytes on each, or all of each where that is 0."""
        return self._changed(uuids, gpu_memory, 1)

    def give(self, uuids: Collection[str], gpu_memory: int) -> Devices:
        """The same without such a job: the inverse of `take`."""
        return self._changed(uuids, gpu_memory, -1)

    def lacks(self, request: Request) -> dict[str, int]:
        """What is missing for the request: devices, or bytes on the device that comes closest. Empty when it fits."""
        if self.place(request) is not None:
            return {}
        able = sum(1 for room in self.rooms if room.holds(request))
        rooms = sorted((room.free for room in self.rooms if room.open), reverse=True)
        if request.gpu_memory and len(rooms) >= request.gpus > able:
            return {"gpu_memory": request.gpu_memory - rooms[request.gpus - 1]}
        return {"gpus": max(1, request.gpus - (self.unused if not request.gpu_memory else able))}

    def _in_use(self) -> int:
        return sum(1 for room in self.rooms if room.jobs)

    def _changed(self, uuids: Collection[str], gpu_memory: int, sign: int) -> Devices:
        def changed(room: Room) -> Room:
            share = gpu_memory or room.memory
            return replace(room, free=room.free - sign * share, jobs=room.jobs + sign)

        return replace(self, rooms=tuple(changed(room) if room.uuid in uuids else room for room in self.rooms))


def _tightest(room: Room) -> tuple[int, int, int, str]:
    """Shared devices before empty ones, then the least room, then the smallest."""
    return (0 if room.jobs else 1, room.free, room.memory, room.uuid)


def empty(node: Node) -> Devices:
    """The node's devices with nobody on them."""
    return Devices.of(node.gpus, (), node.devices_at_once)


def free_on(node: Node, rows: Iterable[Reservation]) -> tuple[Amount, Devices]:
    """What is free of a node: the amounts, never below zero, and the devices. `gpus` counts whole unused devices."""
    held = list(rows)
    devices = Devices.of(node.gpus, held, node.devices_at_once)
    free = (node.allocatable - total(held)).floor()
    return free.model_copy(update={"gpus": devices.unused}), devices


def out_of_service(nodes: Iterable[Node], *, cordons: bool = True) -> str:
    """Which devices take no jobs and why, in brackets and not at any length; '' when all of them do.

    What is wrong with a node's driver or engine is said once, not of each of its devices.
    """
    said = []
    for node in nodes:
        if node.gpu_trouble:
            said.append(f"{node.node}: {node.gpu_trouble}")
        for gpu in node.gpus:
            if gpu.trouble and gpu.trouble != node.gpu_trouble:
                said.append(f"GPU {gpu.index} of {node.node} is out: {gpu.trouble}")
            elif gpu.cordoned and cordons and not gpu.trouble:
                said.append(f"GPU {gpu.index} of {node.node} is cordoned")
    more = f"; and {len(said) - MOST_TROUBLES} more" if len(said) > MOST_TROUBLES else ""
    return f" ({'; '.join(said[:MOST_TROUBLES])}{more})" if said else ""


def free_by_node(places: Sequence[Place]) -> dict[str, Amount]:
    """What is free on each node that takes jobs, by its name."""
    return {
        place.node.node: free_on(place.node, place.rows.values())[0]
        for place in places
        if place.node.state is NodeState.UP
    }
