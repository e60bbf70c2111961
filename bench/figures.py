"""What is said of one replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.numbers import percentile
from bench.swf import TraceJob

#: seconds; a run below it counts as this long, so that the shortest jobs do not rule the mean (Feitelson's threshold)
BOUND = 10.0
#: about how many of a trace's jobs are asked when they will start
ASKED = 200


@dataclass(frozen=True, slots=True)
class Started:
    """One job of the trace and when it started, ms."""

    job: TraceJob
    at: int

    @property
    def wait(self) -> float:
        """Seconds."""
        return (self.at - self.job.submit) / 1000

    @property
    def slowdown(self) -> float:
        """Bounded slowdown."""
        run = self.job.run / 1000
        return max(1.0, (self.wait + run) / max(BOUND, run))


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds. `utilisation` is of all processors from the first arrival to the last end."""

    utilisation: float
    mean_wait: float
    p95_wait: float
    max_wait: float
    mean_bounded_slowdown: float
    makespan: float
    backfills: int
    broken_reservations: int
    eta_mean_abs_error: float | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Asked:
    """Those of a trace's jobs that are asked, as they come and wait, when they will start, held against what comes.

    Every so many of those that wait, the first in any case: some two hundred of a long trace, all of a short one.
    """

    def __init__(self, jobs: int) -> None:
        """`jobs`: how many the trace has; 0: none is to be asked."""
        self._every = max(1, jobs // ASKED) if jobs else 0
        self._waited = 0
        self._said: dict[int, int] = {}
        self._errors: list[float] = []

    def is_due(self) -> bool:
        """One more waits: whether it is to be asked."""
        self._waited += 1
        return bool(self._every) and (self._waited - 1) % self._every == 0

    def said(self, place: int, at: int | None) -> None:
        """What it was told, ms; None: nothing."""
        if at is not None:
            self._said[place] = at

    def started(self, place: int, now: int) -> None:
        """It starts."""
        if place in self._said:
            self._errors.append(abs(now - self._said.pop(place)) / 1000)

    @property
    def error(self) -> float | None:
        """Mean, s. 0 where nobody had to wait, so that nothing untrue was said; None: nobody was asked or answered."""
        if self._errors:
            return sum(self._errors) / len(self._errors)
        return 0.0 if self._every and not self._waited else None


def figures(started: Sequence[Started], processors: int, backfills: int, broken: int) -> Figures:
    """All but the ETA's error and the time it took."""
    waits = [each.wait for each in started]
    first = min(each.job.submit for each in started)
    span = max(each.at + each.job.run for each in started) - first
    work = sum(each.job.run * each.job.processors for each in started)
    return Figures(
        utilisation=work / (processors * span) if span else 0.0,
        mean_wait=sum(waits) / len(waits),
        p95_wait=percentile(waits, 0.95),
        max_wait=max(waits),
        mean_bounded_slowdown=sum(each.slowdown for each in started) / len(started),
        makespan=span / 1000,
        backfills=backfills,
        broken_reservations=broken,
    )
