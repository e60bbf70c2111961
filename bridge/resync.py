"""After a gap in the events: every job that changed since, from Redis and then from the history, as reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from bridge.window import Item
from hivemind_worker.domain.job import Job
from hivemind_worker.store.events import Event, order
from hivemind_worker.store.history import History
from hivemind_worker.store.index import Place
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.outbox import Resync
from hivemind_worker.store.walk import Walk

log = structlog.get_logger()

#: records in one step
STEP = 200
#: milliseconds by which changes before the gap are taken as well: the clock may have been set back
MARGIN = 600_000
_HISTORY = "history "


@dataclass(frozen=True, slots=True)
class ResyncStep:
    """Some reports, and where to go on once they are delivered; None: that was all."""

    items: tuple[Item, ...]
    place: str | None


class Resyncer:
    """Walks over everything that may have changed. Calls may raise StoreUnavailable, HistoryUnavailable."""

    def __init__(self, jobs: JobStore, walk: Walk, history: History) -> None:
        self._jobs = jobs
        self._walk = walk
        self._history = history

    def steps(self, resync: Resync) -> Iterator[ResyncStep]:
        """From where the walk has come to, to its end. Take the next step after the one before is delivered.

        Redis comes first: what it lets go of in between is in the history by then.
        """
        since = order(resync.since)[0] - MARGIN
        in_history = resync.place.startswith(_HISTORY)
        if not in_history:
            yield from self._redis(since, _place(resync.place))
        place = resync.place.removeprefix(_HISTORY) if in_history else ""
        yield from self._archive(since, _place(place))

    def _redis(self, since: int, after: Place | None) -> Iterator[ResyncStep]:
        while True:
            step = self._walk.step(after, STEP)
            if step.broken:
                log.warning("records that cannot be read are left out of the resync", broken=step.broken)
            changed = [job for job in step.jobs if not job.state.terminal or (job.times.finished or 0) >= since]
            after = step.after
            place = _HISTORY if after is None else f"{after[0]}:{after[1]}"
            yield ResyncStep(tuple(item_of(job, step.newest) for job in changed), place)
            if after is None:
                return

    def _archive(self, since: int, after: Place | None) -> Iterator[ResyncStep]:
        while True:
            found = self._history.ended_since(since, after, STEP)
            kept = self._jobs.get_many([job.task_id for job in found])
            only_here = [job for job, known in zip(found, kept, strict=True) if known is None]
            if len(found) < STEP:
                yield ResyncStep(tuple(item_of(job, "0-0") for job in only_here), None)
                return
            after = (found[-1].times.finished or 0, found[-1].task_id)
            yield ResyncStep(tuple(item_of(job, "0-0") for job in only_here), f"{_HISTORY}{after[0]}:{after[1]}")


def item_of(job: Job, newest: str) -> Item:
    """The job as it stood right after the event `newest`. Pure."""
    outcome, times = job.outcome, job.times
    at = times.finished or times.started or times.admitted or times.created
    cause = outcome.cause.value if outcome else ""
    # What only the history knows ended long before anything that is under way: its end is its place in the order.
    position = newest if newest != "0-0" or not times.finished else f"{times.finished}-1048575"
    return Item(Event(position, job.task_id, job.state.value, job.attempt, cause, at), job)


def _place(text: str) -> Place | None:
    number, _, task_id = text.partition(":")
    return (int(number), task_id) if task_id else None
