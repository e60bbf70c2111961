"""What every beat puts right: rows that nobody runs, rows of dead workers, jobs of lost nodes, fenced bodies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from hivemind_worker.admission.hinter import Hinter
from hivemind_worker.admission.recovery import Absences, Watchman, lost_outcome
from hivemind_worker.admission.running import Running
from hivemind_worker.admission.suspects import Suspects
from hivemind_worker.admission.sweep import Sweep, report
from hivemind_worker.domain.errors import StaleAttempt, StoreUnavailable
from hivemind_worker.domain.fence import standing
from hivemind_worker.domain.job import HELD
from hivemind_worker.domain.node import Reservation
from hivemind_worker.domain.retry import next_step
from hivemind_worker.killpoints import reach
from hivemind_worker.settings import Settings
from hivemind_worker.store.audit import Audit
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.ledger import Ledger

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient recovery is: seconds, and attempts that the infrastructure may lose."""

    node_lost_after: float
    budget: int
    backoff: float
    poison_after: int = 3
    beat: float = 2.0

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """As the settings say."""
        return cls(
            node_lost_after=settings.node_lost_after,
            budget=settings.infrastructure_retries,
            backoff=settings.infrastructure_backoff,
            poison_after=settings.poison_after,
            beat=settings.beat,
        )


class Healer:
    """Recovery for one worker of one node. Owned by the admission thread. Calls may raise StoreUnavailable."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        ledger: Ledger,
        audit: Audit,
        sweep: Sweep,
        running: Running[Any],
        hinter: Hinter,
        node: str,
        worker: str,
        boot: str,
        rules: Rules,
        deaf: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs, self._ledger, self._running, self._hinter = jobs, ledger, running, hinter
        self._audit, self._sweep = audit, sweep
        self._node, self._worker, self._rules = node, worker, rules
        self._deaf, self._clock = deaf, clock
        self._absences = Absences(rules.beat)
        self._silences = Watchman(rules.node_lost_after, rules.beat)
        self._suspects = Suspects(jobs, worker=worker, boot=boot, limit=rules.poison_after, born=clock())

    def heal(self) -> None:
        """One round. The one rule of recovery: a row of mine whose job I do not run gets its hint again.

        Each step by itself: what one stumbles over must not keep the others from their work, nor the sweep from mending
        it.
        """
        rows: dict[str, Reservation] = {}
        for step in (
            self._promote,
            lambda: report(self._audit.rows(self._node)),
            lambda: rows.update(self._ledger.rows(self._node)),
            lambda: self._adopt(rows),
            lambda: self._fence(rows),
            self._tell,
            lambda: self._suspects.clear(self._running.held(), self._clock()),
            lambda: self._hint(rows),
            self._take_from_lost_nodes,
            self._sweep.step,
        ):
            try:
                step()
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("healing stumbled")

    def _promote(self) -> None:
        if self._ledger.promote():
            reach("promoted")

    def redis_is_away(self) -> None:
        """Nothing that was not seen meanwhile counts as missing."""
        self._absences.forget()
        self._silences.forget()
        self._hinter.book.forget()

    def _hint(self, rows: dict[str, Reservation]) -> None:
        book, now = self._hinter.book, self._clock()
        book.heard(self._running.take_entered())
        mine = {task_id: row.attempt for task_id, row in rows.items() if row.worker == self._worker}
        overdue = book.overdue(mine, self._running.ids(), now)
        for task_id in self._suspects.due(overdue, mine, now):
            log.info("hint sent again", job_id=task_id, attempt=mine[task_id])
            self._hinter.send_again(task_id, mine[task_id])
        if book.unanswered(now):
            self._deaf()

    def _fence(self, rows: dict[str, Reservation]) -> None:
        """Bodies of this worker whose row is another's by now: the record decides, the body is told."""
        suspects = {
            task_id: attempt
            for task_id, attempt in self._running.held().items()
            if (row := rows.get(task_id)) is None or (row.attempt, row.worker) != (attempt, self._worker)
        }
        records = self._jobs.get_many(list(suspects)) if suspects else []
        for (task_id, attempt), record in zip(suspects.items(), records, strict=True):
            if standing(record, attempt, self._worker) != "mine" and self._running.fence(task_id, attempt):
                log.warning("body fenced off", job_id=task_id, attempt=attempt)

    def _tell(self) -> None:
        """What Redis missed of this worker's bodies, which have other things to do than to ask whether it is back."""
        for task_id, tell in self._running.owed().items():
            try:
                tell()
            except StaleAttempt as stale:
                log.info("told too late", job_id=task_id, why=str(stale))
            self._running.told(task_id, tell)

    def _adopt(self, rows: dict[str, Reservation]) -> None:
        """Take over the rows of this node's dead workers, this worker under an older name among them."""
        others = {row.worker for row in rows.values()} - {self._worker}
        living = self._ledger.living(self._node, others) if others else frozenset()
        dead = self._absences.dead(others, living, self._clock())
        for task_id, row in rows.items():
            if row.worker in dead and self._ledger.adopt(self._node, task_id, row, self._worker):
                log.warning("job adopted from a dead worker", job_id=task_id, attempt=row.attempt, worker=row.worker)
                reach("adopted", task_id)

    def _take_from_lost_nodes(self) -> None:
        """Jobs of nodes that this worker has not seen beat for too long go back to the line, or end."""
        heartbeats = self._ledger.heartbeats()
        heartbeats.pop(self._node, None)
        for node in sorted(self._silences.unchanged(heartbeats, self._clock())):
            for job in self._jobs.get_many(list(self._ledger.rows(node))):
                if job is None or job.trouble or job.node != node or job.state not in HELD:
                    continue
                outcome = lost_outcome(job, self._rules.node_lost_after)
                step = next_step(job, outcome, budget=self._rules.budget, backoff=self._rules.backoff)
                if self._jobs.lose(job, outcome, step, heartbeat=heartbeats[node]):
                    log.warning(
                        "job taken from a lost node",
                        job_id=job.task_id,
                        attempt=job.attempt,
                        node=node,
                        goes="back to the line" if step else outcome.state,
                    )
                    reach("node-lost", job.task_id)
