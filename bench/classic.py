"""The textbook, for comparison: first come first served, and EASY backfill.

EASY as published (Lifka 1995; Mu'alem and Feitelson 2001): the first job that does not fit has a reservation at the
earliest time that declared limits allow; any other that fits now may start if it ends before, or needs no more
processors than will be left over then. Candidates are looked at in the order they came.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace

from bench.figures import Asked, Figures, Started, figures
from bench.progress import Tell, nobody
from bench.swf import TraceJob


def simulate(
    jobs: Sequence[TraceJob], processors: int, *, backfill: bool, eta: bool = True, tell: Tell = nobody
) -> Figures:
    """Run a trace through. Without `eta` none is asked for, and it is faster."""
    return _Machine(jobs, processors, backfill, Asked(len(jobs) if eta else 0)).run(tell)


class _Machine:
    def __init__(self, jobs: Sequence[TraceJob], processors: int, backfill: bool, asked: Asked) -> None:
        self._jobs, self._processors, self._backfill, self._asked = jobs, processors, backfill, asked
        self._free = processors
        self._ends: list[tuple[int, int]] = []
        self._declared: list[tuple[int, int, int]] = []
        self._started: list[Started] = []
        self._promised: dict[int, int] = {}
        self._backfills = self._broken = 0
        self._by_limits = False

    def run(self, tell: Tell) -> Figures:
        queue: list[int] = []
        arrived = 0
        while arrived < len(self._jobs) or self._ends:
            arrival = self._jobs[arrived].submit if arrived < len(self._jobs) else None
            end = self._ends[0][0] if self._ends else None
            now = min(time for time in (arrival, end) if time is not None)
            while self._ends and self._ends[0][0] <= now:
                self._finish(heapq.heappop(self._ends)[1])
            known = arrived
            while arrived < len(self._jobs) and self._jobs[arrived].submit <= now:
                queue.append(arrived)
                arrived += 1
            queue = self._schedule(queue, now)
            self._ask(queue, known, now)
            tell(len(self._started))
        made = figures(self._started, self._processors, self._backfills, self._broken)
        return replace(made, eta_mean_abs_error=self._asked.error)

    def _ask(self, queue: list[int], known: int, now: int) -> None:
        """Ask for some of those that came now and wait when they will start."""
        for at in range(bisect_left(queue, known), len(queue)):
            if self._asked.is_due():
                self._asked.said(queue[at], self._forecast(queue[: at + 1], now))

    def _forecast(self, queue: list[int], now: int) -> int:
        """When the last of the queue starts if every job takes all that it declares."""
        last = queue[-1]
        ahead = _Machine(self._jobs, self._processors, self._backfill, Asked(0))
        ahead._free, ahead._declared, ahead._by_limits = self._free, list(self._declared), True
        ahead._ends = [(end, place) for end, place, _ in self._declared]
        while queue and queue[-1] == last:
            now = ahead._ends[0][0]
            while ahead._ends and ahead._ends[0][0] <= now:
                ahead._finish(heapq.heappop(ahead._ends)[1])
            queue = ahead._schedule(queue, now)
        return now

    def _finish(self, place: int) -> None:
        self._free += self._jobs[place].processors
        self._declared = [entry for entry in self._declared if entry[1] != place]

    def _start(self, place: int, now: int) -> None:
        job = self._jobs[place]
        self._free -= job.processors
        heapq.heappush(self._ends, (now + (job.limit if self._by_limits else job.run), place))
        insort(self._declared, (now + job.limit, place, job.processors))
        self._started.append(Started(job, now))
        self._broken += now > self._promised.get(place, now)
        self._asked.started(place, now)

    def _schedule(self, queue: list[int], now: int) -> list[int]:
        first = 0
        while first < len(queue) and self._jobs[queue[first]].processors <= self._free:
            self._start(queue[first], now)
            first += 1
        queue = queue[first:] if first else queue
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
