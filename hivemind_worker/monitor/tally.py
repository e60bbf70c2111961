"""What jobs came to: endings by cause, times waited and run. Summed up from the stream of events when asked."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hivemind_worker.domain.job import TERMINAL
from hivemind_worker.store.events import Event

#: seconds; from a job that starts at once to one that runs for a day
BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
#: starts remembered while their end is awaited; the oldest is forgotten beyond
MAX_OPEN = 50_000
ENDED = frozenset(state.value for state in TERMINAL)


@dataclass
class Histogram:
    """Observations in seconds, by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Pairs of upper bound and how many lie at or below it."""
        total, pairs = 0, []
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self.counts, strict=True):
            total += count
            pairs.append((bound, float(total)))
        return pairs


@dataclass
class Tally:
    """Folds events, oldest first. Owned by one thread at a time."""

    cursor: str = "0-0"
    finished: Counter[str] = field(default_factory=Counter)
    waited: Histogram = field(default_factory=Histogram)
    ran: Histogram = field(default_factory=Histogram)
    #: task_id → the state whose end is awaited, and when it began
    _open: dict[str, tuple[str, int]] = field(default_factory=dict)

    def fold(self, events: Iterable[Event]) -> None:
        """Take these in."""
        for event in events:
            self.cursor = event.id
            before, since = self._open.pop(event.task_id, ("", 0))
            if before == "waiting" and event.state == "admitted":
                self.waited.observe(max(0, event.at - since) / 1000)
            elif before == "running":
                self.ran.observe(max(0, event.at - since) / 1000)
            if event.state in ("waiting", "running"):
                self._open[event.task_id] = (event.state, event.at)
                if len(self._open) > MAX_OPEN:
                    del self._open[next(iter(self._open))]
            elif event.state in ENDED:
                self.finished[event.cause or "internal"] += 1
