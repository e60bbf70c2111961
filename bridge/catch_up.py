"""The walk after a gap, a step ahead of what is settled: what a master puts off holds up neither it nor the events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic

import structlog

from bridge.resync import STEP, Resyncer
from bridge.window import Item
from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.store.outbox import Resync, Term

log = structlog.get_logger()

#: unsettled items of the walk at most; the rest of the window is for events
AHEAD = 500
#: seconds to leave a history alone that is away
REST = 30.0


@dataclass(slots=True)
class _Step:
    """What is not settled of a step, and the place behind it; None: the walk's end."""

    left: set[Item]
    place: str | None


class CatchUp:
    """The walk of one leader. Its place in Redis is before the oldest step that is not settled whole, so whoever leads
    next walks on from there: something may be told twice, and nothing is left out. One thread's.
    """

    def __init__(self, resyncer: Resyncer) -> None:
        self._resyncer = resyncer
        self._noted: Resync | None = None
        self._place: str | None = None
        self._steps: list[_Step] = []
        self._rest_until = 0.0

    @property
    def reading(self) -> bool:
        """Whether there are records left to read."""
        return self._place is not None

    def follow(self, noted: Resync | None) -> None:
        """Redis has this noted. If that is not what this walk noted last, there was a gap: it begins there."""
        if noted == self._noted:
            return
        if noted is not None:
            log.warning("events were lost; reporting every job that changed", since=noted.since)
        self._noted, self._place, self._steps = noted, noted.place if noted else None, []

    def read(self, room: int) -> tuple[Item, ...] | None:
        """The next step's items; None: not now. Raises StoreUnavailable."""
        ahead = sum(len(step.left) for step in self._steps)
        if self._noted is None or self._place is None or room < STEP or ahead + STEP > AHEAD:
            return None
        if monotonic() < self._rest_until:
            return None
        try:
            found = self._resyncer.step(self._noted.since, self._place)
        except HistoryUnavailable as error:
            log.warning("the rest of the resync waits for the history", why=str(error))
            self._rest_until = monotonic() + REST
            return None
        self._place = found.place
        self._steps = [*_joined(self._steps), _Step(set(found.items), found.place)]
        return found.items

    def settle(self, term: Term, items: Iterable[Item]) -> None:
        """These are done with. Notes how far all is. Raises TermOver, StoreUnavailable."""
        for step in self._steps:
            step.left.difference_update(items)
        self._steps = _joined(self._steps)
        if self._noted is not None and self._steps and not self._steps[0].left:
            self._noted = term.walked(self._noted, self._steps.pop(0).place)


def _joined(steps: list[_Step]) -> list[_Step]:
    """A step that is settled goes to the one before it: as many steps stay as have something left, and one. Pure."""
    kept: list[_Step] = []
    for step in steps:
        if kept and not step.left:
            kept[-1] = _Step(kept[-1].left, step.place)
        else:
            kept.append(step)
    return kept
