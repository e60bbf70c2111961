"""Events on their way to the master: few at a time, one at a time of each job. Plain data, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from hivemind_worker.domain.job import Job
from hivemind_worker.store.events import Event, order


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One report in the making, and only equal to itself. A resync's has the job as it stood right after `event.id`."""

    event: Event
    resync: Job | None = None

    @property
    def sequence(self) -> int:
        """The event's id as one number: 44 bits of milliseconds, 20 of what came in the same one."""
        milliseconds, number = order(self.event.id)
        return (milliseconds << 20) | min(number, (1 << 20) - 1)


class Window:
    """At most `size` unsettled items. A job's next item is on offer once the one before is settled. One thread's."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._lines: dict[str, deque[Item]] = {}
        #: job → when its first item may be tried again, and how often that was put off
        self._held: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def room(self) -> int:
        """How many more it takes."""
        return self._size - self._count

    def put(self, items: Iterable[Item]) -> None:
        """Take these in, in their order."""
        for item in items:
            self._lines.setdefault(item.event.task_id, deque()).append(item)
            self._count += 1
        assert self._count <= self._size

    def wave(self, now: float, most: int) -> list[Item]:
        """What may be sent now: the first item of each job that is not held back, the oldest first."""
        due = [line[0] for job, line in self._lines.items() if self._held.get(job, (0.0, 0))[0] <= now]
        return sorted(due, key=lambda item: item.sequence)[:most]

    def settle(self, item: Item) -> None:
        """The first item of its job is done with."""
        job = item.event.task_id
        line = self._lines[job]
        assert line[0] is item
        line.popleft()
        self._count -= 1
        self._held.pop(job, None)
        if not line:
            del self._lines[job]

    def hold(self, item: Item, until: float) -> int:
        """Offer the job's first item again at `until`; how often it was put off before."""
        times = self._held.get(item.event.task_id, (0.0, 0))[1]
        self._held[item.event.task_id] = (until, times + 1)
        return times

    def put_off(self, item: Item) -> int:
        """How often the job's first item was put off."""
        return self._held.get(item.event.task_id, (0.0, 0))[1]

    def next_at(self) -> float | None:
        """When the first of those held back is due; None: none is held back."""
        return min((until for until, _ in self._held.values()), default=None)
