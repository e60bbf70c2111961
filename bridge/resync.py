"""After a gap in the events: every job that changed since, from Redis and then from the history, as reports."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from bridge.window import Item
from hivemind_worker.domain.job import Job
from hivemind_worker.store.events import Event, order
from hivemind_worker.store.history import History
from hivemind_worker.store.index import Place
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.walk import Walk

log = structlog.get_logger()

#: records in one step
STEP = 200
#: milliseconds by which changes before the gap are taken as well: the clock may have been set back
MARGIN = 600_000
_HISTORY = "history "


@dataclass(frozen=True, slots=True)
class ResyncStep:
    """Some reports, and where to go on behind them; None: that was all."""

    items: tuple[Item, ...]
    place: str | None


class Resyncer:
    """Walks over everything that may have changed. Calls may raise StoreUnavailable, HistoryUnavailable."""

    def __init__(self, jobs: JobStore, walk: Walk, history: History) -> None:
        self._jobs = jobs
        self._walk = walk
        self._history = history

    def step(self, since: str, place: str) -> ResyncStep:
        """What changed since the event `since`, from where the walk has come to.

        Redis comes first: what it lets go of in between is in the history by then.
        """
        moment = order(since)[0] - MARGIN
        if place.startswith(_HISTORY):
            return self._archive(moment, _place(place.removeprefix(_HISTORY)))
        return self._redis(moment, _place(place))

    def _redis(self, since: int, after: Place | None) -> ResyncStep:
        step = self._walk.step(after, STEP)
        if step.broken:
            log.warning("records that cannot be read are left out of the resync", broken=step.broken)
        changed = [job for job in step.jobs if not job.state.terminal or (job.times.finished or 0) >= since]
        place = _HISTORY if step.after is None else f"{step.after[0]}:{step.after[1]}"
        return ResyncStep(tuple(item_of(job, step.newest) for job in changed), place)

    def _archive(self, since: int, after: Place | None) -> ResyncStep:
        found = self._history.ended_since(since, after, STEP)
        kept = self._jobs.get_many([job.task_id for job in found])
        only_here = [job for job, known in zip(found, kept, strict=True) if known is None]
        place = None
        if len(found) == STEP:
            place = f"{_HISTORY}{found[-1].times.finished or 0}:{found[-1].task_id}"
        return ResyncStep(tuple(item_of(job, "0-0") for job in only_here), place)


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
