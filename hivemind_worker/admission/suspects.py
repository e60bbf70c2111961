"""Which jobs this worker takes up again now, and which it has cleared by living with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from hivemind_worker.domain.poison import TRIAL, due_of
from hivemind_worker.store.jobs import JobStore

log = structlog.get_logger()


class Suspects:
    """Owned by the admission thread. `now` is monotonic seconds. Calls may raise StoreUnavailable."""

    def __init__(self, jobs: JobStore, *, worker: str, boot: str, limit: int, born: float) -> None:
        self._jobs = jobs
        self._worker, self._boot, self._limit, self._born = worker, boot, limit, born
        self._since: dict[tuple[str, int], float] = {}
        self._cleared: set[tuple[str, int]] = set()
        self._on_trial: str | None = None

    def clear(self, held: Mapping[str, int], now: float) -> None:
        """Bodies that have lived long enough clear their jobs."""
        present = set(held.items())
        self._since = {one: self._since.get(one, now) for one in present}
        self._cleared &= present
        fresh = {one for one in present - self._cleared if now - self._since[one] >= TRIAL}
        self._jobs.prove(dict(fresh), worker=self._worker)
        self._cleared |= fresh

    def due(self, overdue: Sequence[str], mine: Mapping[str, int], now: float) -> tuple[str, ...]:
        """Those of the overdue jobs to take up now; `mine`: the attempts whose rows are this worker's."""
        if not overdue:
            return ()
        known = self._on_trial
        if known is not None and (known not in mine or (known, mine[known]) in self._cleared):
            self._on_trial = None
        downs = self._jobs.downs(overdue)
        proven = now - self._born >= TRIAL
        due = due_of(overdue, downs, self._limit, on_trial=self._on_trial, proven=proven)
        self._on_trial = due.last_chance
        acquitted = tuple(one for one in due.held_back if self._held_back(one, mine[one]))
        return due.now + acquitted

    def _held_back(self, task_id: str, attempt: int) -> bool:
        """Note that this boot lives without the job; whether an earlier one died doing so, which acquits it."""
        acquitted = self._jobs.hold_back(task_id, attempt, worker=self._worker, boot=self._boot)
        if acquitted:
            log.info("job acquitted: a worker died without it", job_id=task_id, attempt=attempt)
        return acquitted
