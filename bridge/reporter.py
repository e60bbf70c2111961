"""Tells the master what becomes of jobs: in order per job, at least once, settled only when the master has it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic

import structlog

from bridge.catch_up import CatchUp
from bridge.reports import Answer, Report, Result, Sink, SinkAway, Verdict
from bridge.results import Results
from bridge.resync import STEP, Resyncer
from bridge.window import Item, Window
from hivemind_worker.bootstrap import Stores
from hivemind_worker.delivery.absence import why_absent
from hivemind_worker.delivery.leader import backoff, rest
from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.domain.job import TERMINAL, Job, view
from hivemind_worker.store.events import order, strange
from hivemind_worker.store.outbox import Term

log = structlog.get_logger()

#: unsettled events in memory, and reports in one call
WINDOW, WAVE = 1000, 200
#: seconds that a wait for the next event may take; a stop waits for it
BLOCK = 0.5
#: seconds before a master that is away is asked again: at first, and at most
FIRST, MOST = 0.2, 30.0
_ENDED = frozenset(state.value for state in TERMINAL)


class Reporter:
    """The duty of the leader of the reports."""

    def __init__(self, stores: Stores, resyncer: Resyncer, sink: Sink, *, node: str, first: float = FIRST) -> None:
        """`first`: seconds before a master that is away is asked again for the first time."""
        self._stores = stores
        self._resyncer = resyncer
        self._sink = sink
        self._node = node
        self._results = Results(sink)
        self._walk = CatchUp(resyncer)
        self._trouble = ""
        self._first = first
        self._waits: Iterator[float] = backoff(first, MOST)

    def serve(self, term: Term, stopping: threading.Event) -> None:
        """Report until told to stop. Raises TermOver, StoreUnavailable."""
        try:
            self._report(term, stopping)
        finally:
            self._results.drop()

    def close(self) -> None:
        """Give the connection back."""
        self._sink.close()

    def _report(self, term: Term, stopping: threading.Event) -> None:
        window, after = Window(WINDOW), "0"
        self._walk = CatchUp(self._resyncer)
        self._trouble, self._waits = "", backoff(self._first, MOST)
        stale = True  # the trouble that a term before has noted; it stands until a round has come to its end
        while not stopping.is_set():
            newest = self._stores.events.last_id()
            after = self._refill(term, window, after)
            walked = self._walk.read(window.room)
            if walked is not None:
                window.put(walked)
                self._walk.settle(term, ())  # a step may be empty
            busy = self._round(term, stopping, window)
            if stale and not self._trouble:
                term.note(trouble="")
                stale = False
            if not busy and walked is None:
                self._idle(newest, window, stopping)

    # --- in ---------------------------------------------------------------------------------------------

    def _refill(self, term: Term, window: Window, after: str) -> str:
        """Read on as far as there is room: first what the leader before left unsettled, then what is new."""
        room = window.room - (STEP if self._walk.reading else 0)
        if room <= 0:
            term.note()
            return after
        taken = term.take(room, after=after)
        self._walk.follow(taken.resync)
        aside = {event.id: why for event in taken.events if (why := strange(event))}
        if aside:
            log.warning("events set aside", group="reports", events=aside)
        if aside or taken.gone:
            term.settle(taken.gone, aside)  # those that are gone stand in the resync
        window.put(Item(event) for event in taken.events if event.id not in aside)
        if after != ">":
            ids = [*taken.gone, *(event.id for event in taken.events)]
            after = max(ids, key=order) if ids else ">"
        return after

    def _idle(self, newest: str, window: Window, stopping: threading.Event) -> None:
        """Nothing can be sent: wait for an event, or for one that is held back."""
        due = window.next_at()
        wait = BLOCK if due is None else max(0.01, min(BLOCK, due - monotonic()))
        if len(self._results) or not window.room:
            stopping.wait(min(wait, 0.05))
        else:
            self._stores.events.read(newest, block=wait, count=1)

    # --- out --------------------------------------------------------------------------------------------

    def _round(self, term: Term, stopping: threading.Event, window: Window) -> bool:
        """Send what can be sent, settle what is settled; whether there was anything."""
        done, aside = self._uploaded(window)
        self._settle(term, window, done, aside)
        wave = window.wave(monotonic(), WAVE)
        reports = self._dressed(wave, window)
        sent = {item.event.task_id: item for item in wave if item.event.task_id in reports}
        if sent:
            self._send(term, stopping, window, sent, reports)
        return bool(sent or done or aside)

    def _send(
        self,
        term: Term,
        stopping: threading.Event,
        window: Window,
        sent: Mapping[str, Item],
        reports: Mapping[str, Report],
    ) -> None:
        """One wave, in as many calls as it takes. What one call brought is settled before the next is made: the calls
        may take longer in all than a term, and what the master has is not to be told anew because of the others.
        """
        waits = dict(sent)
        try:
            for answers in self._sink.deliver(term.number, [reports[task_id] for task_id in sent]):
                self._clear_trouble(term)
                told = [(waits.pop(task_id), answer) for task_id, answer in answers.items() if task_id in waits]
                self._take_in(term, window, told, reports)
                if stopping.is_set():
                    return
        except SinkAway as error:
            self._away(term, stopping, error)
            return
        self._take_in(term, window, [(item, Answer(Verdict.RETRY)) for item in waits.values()], reports)

    def _take_in(
        self, term: Term, window: Window, told: Sequence[tuple[Item, Answer]], reports: Mapping[str, Report]
    ) -> None:
        """Do as the master says."""
        done: list[Item] = []
        aside: dict[Item, str] = {}
        for item, answer in told:
            if answer.verdict is Verdict.ACCEPTED and answer.result_offset is not None:
                self._results.want(item, self._result(reports[item.event.task_id]), answer.result_offset)
                window.hold(item, math.inf)
            else:
                self._sort(item, answer, window, done, aside)
        if done or aside:
            self._settle(term, window, done, aside)
        else:
            term.note()

    def _sort(self, item: Item, answer: Answer, window: Window, done: list[Item], aside: dict[Item, str]) -> None:
        if answer.verdict is Verdict.ACCEPTED:
            done.append(item)
        elif answer.verdict is Verdict.REFUSED:
            aside[item] = f"the master refuses it: {answer.reason or 'it does not say why'}"
        else:
            window.hold(item, monotonic() + min(MOST, self._first * 2 ** min(10, window.put_off(item))))

    def _settle(self, term: Term, window: Window, done: Sequence[Item], aside: dict[Item, str]) -> None:
        """In Redis first: what is settled there and not here is only sent once more."""
        if aside:
            log.warning("reports set aside", reports={item.event.task_id: why for item, why in aside.items()})
        if done or aside:
            refused = {item.event.id: why for item, why in aside.items() if item.resync is None}
            term.settle([item.event.id for item in done if item.resync is None], refused)
        for item in (*done, *aside):
            window.settle(item)
        self._walk.settle(term, (*done, *aside))

    def _dressed(self, wave: Sequence[Item], window: Window) -> dict[str, Report]:
        """The reports of a wave by job. One whose outcome cannot be looked up now is held back."""
        jobs = {item.event.task_id: item.resync for item in wave}
        ends = [i.event.task_id for i in wave if i.event.state in _ENDED and i.resync is None]
        if ends:
            jobs |= dict(zip(ends, self._stores.jobs.get_many(ends), strict=True))
        lost = [task_id for task_id in ends if jobs[task_id] is None]
        try:
            jobs |= self._stores.history.get_many(lost)
        except HistoryUnavailable:
            for item in wave:
                if item.event.task_id in lost:
                    window.hold(item, monotonic() + MOST)
            wave = [item for item in wave if item.event.task_id not in lost]
        return {item.event.task_id: report_of(item, jobs[item.event.task_id]) for item in wave}

    # --- results ------------------------------------------------------------------------------------------

    def _result(self, report: Report) -> Result:
        """What there is to send."""
        job = self._stores.jobs.get_many([report.task_id])[0] if report.view else None
        ref = job.outcome.artifact if job and job.outcome else None
        if job is None or ref is None:
            return Result(report.task_id, report.attempt, None, "the job has no artifact, or no record any more")
        if not self._stores.artifacts.kept(ref.sha256):
            return Result(report.task_id, report.attempt, None, why_absent(job, self._node))
        return Result(report.task_id, report.attempt, ref, "")

    def _uploaded(self, window: Window) -> tuple[list[Item], dict[Item, str]]:
        """Artifacts that have arrived, and those that were refused; one that was cut off is tried again."""
        done: list[Item] = []
        aside: dict[Item, str] = {}
        for item, answer in self._results.ended():
            self._sort(item, answer, window, done, aside)
        return done, aside

    # --- a master that is away --------------------------------------------------------------------------

    def _away(self, term: Term, stopping: threading.Event, error: SinkAway) -> None:
        if not self._trouble:
            log.warning("the master does not answer; reports wait", why=str(error))
        if str(error) != self._trouble:
            self._trouble = str(error)
            term.note(trouble=self._trouble)
        rest(term, stopping, next(self._waits))

    def _clear_trouble(self, term: Term) -> None:
        if self._trouble:
            log.info("the master answers again")
            self._trouble, self._waits = "", backoff(self._first, MOST)
            term.note(trouble="")


def report_of(item: Item, job: Job | None) -> Report:
    """The report of one change. Pure."""
    event = item.event
    told = job is not None and not job.trouble and (item.resync is not None or job.state.value == event.state)
    return Report(
        sequence=item.sequence,
        task_id=event.task_id,
        state=event.state,
        attempt=event.attempt,
        cause=event.cause,
        at=event.at,
        view=view(job) if job is not None and told else None,
        resync=item.resync is not None,
    )
