"""What every beat puts right: rows that nobody runs, and rows of the dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from hivemind_worker.admission.hinter import Hinter
from hivemind_worker.admission.recovery import Absences
from hivemind_worker.admission.running import Running
from hivemind_worker.admission.sweep import Sweep, report
from hivemind_worker.domain.fence import standing
from hivemind_worker.domain.node import Reservation
from hivemind_worker.store.audit import Audit
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.ledger import Ledger

log = structlog.get_logger()


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
        deaf: Callable[[], None],
    ) -> None:
        self._jobs, self._ledger, self._running, self._hinter = jobs, ledger, running, hinter
        self._audit, self._sweep = audit, sweep
        self._node, self._worker, self._deaf = node, worker, deaf
        self._absences = Absences()

    def heal(self) -> None:
        """One round. The one rule of recovery: a row of mine whose job I do not run gets its hint again."""
        self._ledger.promote()
        report(self._audit.rows(self._node))
        rows = self._ledger.rows(self._node)
        self._adopt(rows)
        self._fence(rows)
        book = self._hinter.book
        book.heard(self._running.take_entered())
        mine = {task_id: row.attempt for task_id, row in rows.items() if row.worker == self._worker}
        for task_id in book.overdue(mine, self._running.ids(), time.monotonic()):
            log.info("hint sent again", job_id=task_id, attempt=mine[task_id])
            self._hinter.hint(task_id, mine[task_id])
        if book.unanswered(time.monotonic()):
            self._deaf()
        self._sweep.step()

    def redis_was_away(self) -> None:
        """Nothing that was not seen meanwhile counts as missing."""
        self._absences.forget()

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

    def _adopt(self, rows: dict[str, Reservation]) -> None:
        """Take over the rows of this node's dead workers, this worker under an older name among them."""
        others = {row.worker for row in rows.values()} - {self._worker}
        living = self._ledger.living(self._node, others) if others else frozenset()
        dead = self._absences.dead(others, living, time.monotonic())
        for task_id, row in rows.items():
            if row.worker in dead and self._ledger.adopt(self._node, task_id, row, self._worker):
                log.warning("job adopted from a dead worker", job_id=task_id, attempt=row.attempt, worker=row.worker)
