"""What the policy would say now about jobs that wait, and when it will probably start them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hivemind_worker.admission.devices import free_by_node
from hivemind_worker.admission.forecast import forecast
from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Passed, Place, Rules
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Promise
from hivemind_worker.domain.node import Node
from hivemind_worker.domain.usage import Usage
from hivemind_worker.store.ledger import Ledger

#: jobs of the line's front that are played forward, and plans made for it: some tens of milliseconds
FRONT = 100
STEPS = 200
#: seconds that a forecast is good for, and after which one without the job in question is made anew
GOOD_FOR = 5.0
AT_MOST_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Forecast:
    """Probable starts (epoch ms) of the line's front; `last`: the last of them, `played`: how many were played."""

    starts: Mapping[str, int] = field(default_factory=dict)
    played: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one plan, made now, says. `starting`: jobs that it would start."""

    now: int
    nodes: Sequence[Node] = ()
    owners: OwnersRunning = OwnersRunning()  # noqa: RUF009 - frozen
    promise: Promise | None = None
    passed: Mapping[str, Passed] = field(default_factory=dict)
    starting: frozenset[str] = frozenset()
    forecast: Forecast = Forecast()

    def eta_seconds(self, task_id: str, position: int | None) -> float | None:
        """Seconds until the job will probably start; behind the front, as the front moves. None: nobody can say."""
        start = self.forecast.starts.get(task_id)
        if start is None and position is not None and self.forecast.last and position > self.forecast.played:
            start = self.now + (self.forecast.last - self.now) * position // self.forecast.played
        return None if start is None else max(0.0, round((start - self.now) / 1000, 1))


def outlook_of(
    window: Sequence[Candidate],
    places: Sequence[Place],
    now: int,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    promise: Promise | None = None,
    owners: OwnersRunning = OwnersRunning(),  # noqa: B008 - frozen
    usage: Usage = Usage(),  # noqa: B008 - frozen
) -> Outlook:
    """The plan that would be made now, read for its reasons. Pure."""
    made = plan(window, places, worker="", now=now, rules=rules, promise=promise, owners=owners, usage=usage)
    return Outlook(
        now=now,
        nodes=[place.node for place in places],
        owners=owners,
        promise=made.promise,
        passed=made.passed,
        starting=frozenset(claim.task_id for claim in made.claims),
    )


class Outlooks:
    """Makes outlooks. Threads may share it; a forecast is kept for some seconds. Calls may raise StoreUnavailable."""

    def __init__(self, ledger: Ledger, rules: Rules) -> None:
        self._ledger, self._rules = ledger, rules
        self._lock = threading.Lock()
        self._forecast, self._made = Forecast(), 0.0

    def of(self, task_ids: Iterable[str]) -> Outlook:
        """What is to be said about these jobs now."""
        wanted = list(task_ids)
        nodes = self._ledger.nodes()
        books = self._ledger.books(node.node for node in nodes)
        promise, now, held = books.promise, books.now, books.rows
        places = [Place(node, held[node.node]) for node in nodes]
        owners = OwnersRunning.of(
            self._ledger.max_running_per_owner, (row for rows in held.values() for row in rows.values())
        )
        free = free_by_node(places)
        also = [*wanted, *([promise.task_id] if promise else [])]
        window = self._ledger.window(free, *also, by_turns=bool(self._rules.weights))
        found = outlook_of(window.candidates, places, now, self._rules, promise, owners, books.usage)
        return replace(found, forecast=self._forecast_for(wanted, places, promise, now, books.usage))

    def _forecast_for(
        self, wanted: Sequence[str], places: Sequence[Place], promise: Promise | None, now: int, usage: Usage
    ) -> Forecast:
        with self._lock:
            age = time.monotonic() - self._made
            known = self._made and all(task_id in self._forecast.starts for task_id in wanted)
            if self._made and age < (GOOD_FOR if known else AT_MOST_EVERY):
                return self._forecast
            front = self._ledger.front(FRONT, by_turns=bool(self._rules.weights)).candidates
            starts = forecast(
                front,
                places,
                now=now,
                rules=self._rules,
                promise=promise,
                most_running=self._ledger.max_running_per_owner,
                usage=usage,
                steps=STEPS,
            )
            all_start = len(starts) == len(front) and bool(front)
            self._forecast = Forecast(starts, len(front), max(starts.values()) if all_start else 0)
            self._made = time.monotonic()
            return self._forecast
