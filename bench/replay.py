"""A trace in virtual time through the production policy: `policy.plan` decides, nothing else does."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.figures import Asked, Figures, Started, figures
from bench.progress import Tell, nobody
from bench.swf import TraceJob
from hivemind_worker.admission.forecast import forecast
from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.domain.line import REMEMBERED, Candidate, Claim, Promise, predict, typical
from hivemind_worker.domain.node import Node, NodeState, Reservation
from hivemind_worker.domain.resources import MAX_BYTES, MAX_CPU, MIB, TIB, Amount, Request


def machine(processors: int) -> Node:
    """One node on which nothing but processors is scarce: as cores, or, where they are too many for that, as disk."""
    cores, disk = (processors, TIB) if processors <= MAX_CPU else (max(MAX_CPU, processors / 100), processors * MIB)
    lent = Amount(
        millicores=round(cores * 1000),
        spare=round(cores * 1000),
        memory=max(TIB, processors * 8 * MIB),
        disk=disk,
        pids=max(4_000_000, processors),
        slots=processors,
    )
    return Node(node="machine", state=NodeState.UP, capacity=lent, reserve=Amount(), allocatable=lent)


#: the largest machine that can be replayed: a job may ask for all of it
MOST_PROCESSORS = MAX_BYTES // MIB


def simulate(
    jobs: Sequence[TraceJob],
    processors: int,
    *,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    eta: bool = True,
    tell: Tell = nobody,
) -> Figures:
    """Run a trace through. Without `eta` none is asked for, and it is faster."""

    def processors_alone(job: TraceJob) -> Request:
        if processors <= MAX_CPU:
            return Request(cpu=job.processors, memory=8 * MIB, disk=MIB, pids=1)
        return Request(cpu=0.01, memory=8 * MIB, disk=job.processors * MIB, pids=1)

    return Replay(jobs, machine(processors), rules, eta, processors_alone).run(processors, tell)


def kind_of(job: TraceJob) -> tuple[str, ...]:
    """What jobs have in common whose run times tell of each other (Assignment.kind)."""
    return (job.user, job.application) if job.user else ("", job.application, str(job.limit))


class Replay:
    """One run. What the site keeps in Redis stands here in memory. `request_of`: what a job of the trace asks for."""

    def __init__(
        self,
        jobs: Sequence[TraceJob],
        node: Node,
        rules: Rules,
        eta: bool,
        request_of: Callable[[TraceJob], Request],
    ) -> None:
        self._jobs, self._node, self._rules = jobs, node, rules
        self._request_of = request_of
        self._rows: dict[str, Reservation] = {}
        self._line: dict[str, Candidate] = {}
        self._ends: list[tuple[int, int]] = []
        self._started: list[Started] = []
        self._runs: defaultdict[tuple[str, ...], deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._promise: Promise | None = None
        self._promised: dict[str, int] = {}
        self._asked = Asked(len(jobs) if eta else 0)
        self._backfills = self._broken = 0

    def run(self, processors: int, tell: Tell = nobody) -> Figures:
        """From the first arrival to the last end."""
        arrived = 0
        while arrived < len(self._jobs) or self._ends:
            arrival = self._jobs[arrived].submit if arrived < len(self._jobs) else None
            end = self._ends[0][0] if self._ends else None
            now = min(time for time in (arrival, end) if time is not None)
            while self._ends and self._ends[0][0] <= now:
                self._finish(heapq.heappop(self._ends)[1])
            fresh = []
            while arrived < len(self._jobs) and self._jobs[arrived].submit <= now:
                fresh.append(arrived)
                self._arrive(arrived)
                arrived += 1
            self._admit(now)
            self._ask(fresh, now)
            tell(len(self._started))
        made = figures(self._started, processors, self._backfills, self._broken)
        return replace(made, eta_mean_abs_error=self._asked.error)

    def _arrive(self, place: int) -> None:
        job = self._jobs[place]
        self._line[str(place)] = self._predicted(
            Candidate(
                task_id=str(place),
                shape=self._request_of(job).shape,
                rank=float(job.submit),
                attempt=1,
                created=job.submit,
                timeout_seconds=job.limit / 1000,
            ),
            job,
        )

    def _predicted(self, candidate: Candidate, job: TraceJob) -> Candidate:
        """From earlier runs, by the rules that production has for jobs with and without an owner."""
        kind = kind_of(job)
        runs = self._runs[(*kind, str(job.processors))], self._runs[kind]
        return replace(candidate, predicted=predict(*runs, shared=not job.user), typical=typical(*runs))

    def _finish(self, place: int) -> None:
        """The end of a job is news of its kind: those that wait are predicted anew."""
        job = self._jobs[place]
        del self._rows[str(place)]
        kind = kind_of(job)
        self._runs[kind].append(job.run / 1000)
        self._runs[(*kind, str(job.processors))].append(job.run / 1000)
        for task_id, candidate in self._line.items():
            other = self._jobs[int(task_id)]
            if kind_of(other) == kind:
                self._line[task_id] = self._predicted(candidate, other)

    def _admit(self, now: int) -> None:
        made = plan(
            list(self._line.values()),
            [Place(self._node, self._rows)],
            worker="replay",
            now=now,
            rules=self._rules,
            promise=self._promise,
            reasons=False,
        )
        self._promise = made.promise
        if made.promise is not None:
            self._promised.setdefault(made.promise.task_id, made.promise.at)
        for claim in made.claims:
            self._start(claim, now)

    def _start(self, claim: Claim, now: int) -> None:
        place = int(claim.task_id)
        job = self._jobs[place]
        del self._line[claim.task_id]
        self._rows[claim.task_id] = claim.row
        heapq.heappush(self._ends, (now + job.run, place))
        self._started.append(Started(job, now))
        self._backfills += claim.why != "turn"
        self._broken += now > self._promised.get(claim.task_id, now)
        self._asked.started(place, now)

    def _ask(self, fresh: Sequence[int], now: int) -> None:
        """Ask for some of the new ones when they will start; the answer is held against what comes."""
        for place in fresh:
            task_id = str(place)
            if task_id not in self._line or not self._asked.is_due():
                continue
            starts = forecast(
                list(self._line.values()),
                [Place(self._node, self._rows)],
                now=now,
                rules=self._rules,
                promise=self._promise,
                wanted=[task_id],
            )
            self._asked.said(place, starts.get(task_id))
