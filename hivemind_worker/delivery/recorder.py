"""Writes ended jobs into the history before Redis lets go of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

import structlog

from hivemind_worker.delivery.leader import backoff, rest
from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.domain.job import TERMINAL, Job
from hivemind_worker.store.events import Event, Events, order, strange
from hivemind_worker.store.history import History
from hivemind_worker.store.history_sql import RowsRefused
from hivemind_worker.store.index import Place
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.ledger import Ledger
from hivemind_worker.store.outbox import Resync, Term
from hivemind_worker.store.recorded import Recorded
from hivemind_worker.store.walk import Walk

log = structlog.get_logger()

#: events, records or rows in one step: what is lost by a kill in the middle is done again
BATCH = 500
#: seconds that a wait for the next event may take; a stop waits for it
BLOCK = 0.5
#: seconds between two rounds of forgetting
FORGET_EVERY = 3600.0
#: milliseconds by which ends before a gap are taken as well: the clock may have been set back
MARGIN = 600_000
_ENDED = frozenset(state.value for state in TERMINAL)


class Recorder:
    """The duty of the history's leader."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        events: Events,
        ledger: Ledger,
        walk: Walk,
        recorded: Recorded,
        history: History,
        retention: float,
    ) -> None:
        """`retention` in seconds: how long the history remembers a job after its end."""
        self._jobs = jobs
        self._events = events
        self._ledger = ledger
        self._walk = walk
        self._recorded = recorded
        self._history = history
        self._retention_ms = int(retention * 1000)
        self._forget_at = 0.0

    def serve(self, term: Term, stopping: threading.Event) -> None:
        """Follow the events. Raises TermOver, StoreUnavailable."""
        self._insist(term, stopping, self._history.database().prepare)
        after = "0"  # what the leader before took and did not settle, then what is new
        stale = True  # the trouble that a term before has noted; it stands until what that left is written
        while not stopping.is_set():
            newest = self._events.last_id()
            taken = term.take(BATCH, after=after)
            if taken.resync is not None:
                self._catch_up(term, stopping, taken.resync)
            if taken.events or taken.gone:
                self._record(term, stopping, taken.events, taken.gone)
                after = after if after == ">" else max([*taken.gone, *(e.id for e in taken.events)], key=order)
            elif after != ">":
                after = ">"
            else:
                self._forget(term, stopping)
                self._events.read(newest, block=BLOCK, count=1)
            if stale:
                term.note(trouble="")
                stale = False

    def close(self) -> None:
        """Holds nothing."""

    # --- what is written ----------------------------------------------------------------------------

    def _record(self, term: Term, stopping: threading.Event, events: Sequence[Event], gone: Sequence[str]) -> None:
        aside = {event.id: why for event in events if (why := strange(event))}
        ended = {event.task_id: event for event in events if event.id not in aside and event.state in _ENDED}
        found = dict(zip(ended, self._jobs.get_many(list(ended)), strict=True))
        jobs = [job for job in found.values() if job is not None and job.state.terminal and not job.trouble]
        aside |= {ended[i].id: job.trouble for i, job in found.items() if job is not None and job.trouble}
        missing = [task_id for task_id, job in found.items() if job is None]
        known: dict[str, Job] = {}

        def look_up() -> None:
            known.update(self._history.database().get_many(missing))

        if missing:
            self._insist(term, stopping, look_up)
        refused = self._write(term, stopping, jobs)
        if stopping.is_set():
            return  # not settled: the next leader takes it again
        aside |= {ended[task_id].id: f"the database refuses it: {why}" for task_id, why in refused.items()}
        aside |= {ended[i].id: "its record was gone before it was written" for i in missing if i not in known}
        if aside:
            log.warning("events set aside", group="history", events=aside)
        term.settle([*(event.id for event in events if event.id not in aside), *gone], aside)

    def _write(self, term: Term, stopping: threading.Event, jobs: Sequence[Job]) -> dict[str, str]:
        """Keep ended jobs, then let Redis forget them in time. Ids that the database refuses, with its words."""
        refused: dict[str, str] = {}

        def write() -> None:
            try:
                self._history.database().write(jobs)
            except RowsRefused:  # one row's fault: find it
                for job in jobs:
                    try:
                        self._history.database().write([job])
                    except RowsRefused as error:
                        refused[job.task_id] = str(error)

        if jobs:
            self._insist(term, stopping, write)
            if not stopping.is_set():
                self._recorded.release([job.task_id for job in jobs if job.task_id not in refused])
        return refused

    def _catch_up(self, term: Term, stopping: threading.Event, resync: Resync) -> None:
        """Look through all records: what ended since the gap is written, whether it was already or not."""
        since = order(resync.since)[0] - MARGIN
        log.warning("the history was behind; looking through all records", since=resync.since)
        after = _place(resync.place)
        while not stopping.is_set():
            step = self._walk.step(after, BATCH)
            ended = [job for job in step.jobs if job.state.terminal and (job.times.finished or 0) >= since]
            refused = self._write(term, stopping, ended)
            if refused or step.broken:
                log.warning("records set aside", group="history", refused=refused, broken=step.broken)
            if stopping.is_set():
                return
            after = step.after
            if term.walked(resync, None if after is None else f"{after[0]}:{after[1]}") is None:
                return

    def _forget(self, term: Term, stopping: threading.Event) -> None:
        """Now and then: what is older than the history remembers goes, some at a time."""
        if monotonic() < self._forget_at:
            return
        self._forget_at = monotonic() + FORGET_EVERY
        before = self._ledger.now_ms() - self._retention_ms
        try:
            more = True
            while more and not stopping.is_set():
                with self._asking(term):
                    more = self._history.database().forget(before, BATCH) == BATCH
        except HistoryUnavailable as error:
            log.info("forgetting put off", why=str(error))

    def _insist(self, term: Term, stopping: threading.Event, call: Callable[[], None]) -> None:
        """Do it, however long the database is away; say so where /health finds it. Returns early on a stop."""
        waits, troubled = backoff(0.5, 30.0), False
        while not stopping.is_set():
            try:
                with self._asking(term):
                    call()
            except HistoryUnavailable as error:
                if not troubled:
                    log.warning("the history does not answer; jobs stay in Redis", why=str(error))
                troubled = True
                term.note(trouble=str(error))
                rest(term, stopping, next(waits))
            else:
                if troubled:
                    term.note(trouble="")
                    log.info("the history answers again")
                return

    @contextmanager
    def _asking(self, term: Term) -> Iterator[None]:
        """Note since when the database is asked: a call to one that hangs says nothing more, and outlasts the term."""
        term.note(asked=str(self._ledger.now_ms()))
        try:
            yield
        finally:
            term.note(asked="")


def _place(text: str) -> Place | None:
    created, _, task_id = text.partition(":")
    return (int(created), task_id) if task_id else None
