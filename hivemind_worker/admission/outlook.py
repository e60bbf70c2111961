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
from hivemind_worker.admission.standing import Standing, standing_of
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Front, Promise
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
    #: places where owners take turns; None: places are by rank
    standing: Standing | None = None

    def eta_seconds(self, task_id: str, position: int | None) -> float | None:
        """Seconds until the job will probably start; behind the front, as the front moves. None: nobody can say."""
        start = self.forecast.starts.get(task_id)
        if start is None and self.promise is not None and self.promise.task_id == task_id:
            start = self.promise.at
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
        site = self._site()
        return self._of(site, list(task_ids), self._front(site) if self._rules.weights else None)

    def of_front(self) -> tuple[Front, Outlook]:
        """What is to be said about the front of the line now."""
        site = self._site()
        front = self._front(site)
        return front, self._of(site, [candidate.task_id for candidate in front.candidates], front)

    def _site(self) -> _Site:
        nodes = self._ledger.nodes()
        books = self._ledger.books(node.node for node in nodes)
        return _Site([Place(node, books.rows[node.node]) for node in nodes], books.promise, books.usage, books.now)

    def _front(self, site: _Site) -> Front:
        return self._ledger.front(FRONT, *site.head, by_turns=bool(self._rules.weights))

    def _of(self, site: _Site, wanted: Sequence[str], front: Front | None) -> Outlook:
        rules, most = self._rules, self._ledger.max_running_per_owner
        owners = OwnersRunning.of(most, (row for place in site.places for row in place.rows.values()))
        free = free_by_node(site.places)
        window = self._ledger.window(free, *wanted, *site.head, by_turns=bool(rules.weights))
        found = outlook_of(window.candidates, site.places, site.now, rules, site.promise, owners, site.usage)
        if not rules.weights or front is None:
            return replace(found, forecast=self._forecast_for(wanted, site, front, None))
        head = found.promise.task_id if found.promise else ""
        standing = standing_of(front, site.places, site.now, rules, site.usage, head)
        coming = self._forecast_for(wanted, site, front, standing)
        return replace(found, forecast=coming, standing=standing.by_starts(coming.starts, head))

    def _forecast_for(
        self, wanted: Sequence[str], site: _Site, front: Front | None, standing: Standing | None
    ) -> Forecast:
        with self._lock:
            age = time.monotonic() - self._made
            known = self._made and all(task_id in self._forecast.starts for task_id in wanted)
            if self._made and age < (GOOD_FOR if known else AT_MOST_EVERY):
                return self._forecast
            line = (front or self._front(site)).candidates
            starts = forecast(
                line,
                site.places,
                now=site.now,
                rules=self._rules,
                promise=site.promise,
                most_running=self._ledger.max_running_per_owner,
                usage=site.usage,
                steps=STEPS,
            )
            # Behind the known places others come in between, who are not in the front.
            played = [
                each.task_id for each in line if not (standing and standing.places) or each.task_id in standing.places
            ]
            starts = {task_id: starts[task_id] for task_id in played if task_id in starts}
            all_start = len(starts) == len(played) and bool(played)
            self._forecast = Forecast(starts, len(played), max(starts.values()) if all_start else 0)
            self._made = time.monotonic()
            return self._forecast


@dataclass(frozen=True, slots=True)
class _Site:
    """What was read of the site, at one time (epoch ms)."""

    places: Sequence[Place]
    promise: Promise | None
    usage: Usage
    now: int

    @property
    def head(self) -> tuple[str, ...]:
        """Who has the reservation, if anybody has."""
        return (self.promise.task_id,) if self.promise else ()
