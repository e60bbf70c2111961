"""The textbook, for comparison: first come first served, and EASY backfill.

EASY as published (Lifka 1995; Mu'alem and Feitelson 2001): the first job that does not fit has a reservation at the
earliest time that declared limits allow; any other that fits now may start if it ends before, or needs no more
processors than will be left over then. Candidates are looked at in the order they came.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Sequence

from bench.figures import Figures, Started, figures
from bench.swf import TraceJob


def simulate(jobs: Sequence[TraceJob], processors: int, *, backfill: bool) -> Figures:
    """Run a trace through."""
    return _Machine(jobs, processors, backfill).run()


class _Machine:
    def __init__(self, jobs: Sequence[TraceJob], processors: int, backfill: bool) -> None:
        self._jobs, self._processors, self._backfill = jobs, processors, backfill
        self._free = processors
        self._ends: list[tuple[int, int]] = []
        self._declared: list[tuple[int, int, int]] = []
        self._started: list[Started] = []
        self._promised: dict[int, int] = {}
        self._backfills = self._broken = 0

    def run(self) -> Figures:
        queue: list[int] = []
        arrived = 0
        while arrived < len(self._jobs) or self._ends:
            arrival = self._jobs[arrived].submit if arrived < len(self._jobs) else None
            end = self._ends[0][0] if self._ends else None
            now = min(time for time in (arrival, end) if time is not None)
            while self._ends and self._ends[0][0] <= now:
                self._finish(heapq.heappop(self._ends)[1])
            while arrived < len(self._jobs) and self._jobs[arrived].submit <= now:
                queue.append(arrived)
                arrived += 1
            queue = self._schedule(queue, now)
        return figures(self._started, self._processors, self._backfills, self._broken)

    def _finish(self, place: int) -> None:
        self._free += self._jobs[place].processors
        self._declared = [entry for entry in self._declared if entry[1] != place]

    def _start(self, place: int, now: int) -> None:
        job = self._jobs[place]
        self._free -= job.processors
        heapq.heappush(self._ends, (now + job.run, place))
        insort(self._declared, (now + job.limit, place, job.processors))
        self._started.append(Started(job, now))
        self._broken += now > self._promised.get(place, now)

    def _schedule(self, queue: list[int], now: int) -> list[int]:
        first = 0
        while first < len(queue) and self._jobs[queue[first]].processors <= self._free:
            self._start(queue[first], now)
            first += 1
        queue = queue[first:]
        if not queue or not self._backfill:
            return queue
        until, extra = self._reservation(self._jobs[queue[0]].processors, now)
        self._promised.setdefault(queue[0], until)
        left = queue[:1]
        for place in queue[1:]:
            job = self._jobs[place]
            ends_before = now + job.limit <= until
            if job.processors > self._free or not (ends_before or job.processors <= extra):
                left.append(place)
                continue
            extra -= 0 if ends_before else job.processors
            self._start(place, now)
            self._backfills += 1
        return left

    def _reservation(self, size: int, now: int) -> tuple[int, int]:
        """When the head can start by declared ends, and how many processors are left over then."""
        free, at = self._free, now
        for end, _, part in self._declared:
            if free >= size and end > at:
                break
            free, at = free + part, end
        return at, free - size
