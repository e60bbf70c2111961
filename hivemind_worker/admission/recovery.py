"""Which hints to send again, and when silence means that this worker's consumer is deaf. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

#: A Celery consumer takes up to 12 s to come back after a long Redis outage (kombu's fixed back-off); silence beyond
#: this many seconds while Redis answers is deafness.
DEAF_AFTER = 30.0


class Hints:
    """Remembers hints that were sent and not yet taken up. Owned by the admission thread."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._last: dict[tuple[str, int], float] = {}
        self._first: dict[tuple[str, int], float] = {}

    def sent(self, task_id: str, attempt: int, now: float) -> None:
        """Note a hint."""
        self._last[task_id, attempt] = now
        self._first.setdefault((task_id, attempt), now)

    def heard(self, task_ids: Iterable[str]) -> None:
        """Some body has taken a hint up: the consumer is not deaf, whatever became of the attempt."""
        taken = set(task_ids)
        self._first = {key: at for key, at in self._first.items() if key[0] not in taken}

    def overdue(self, rows: Mapping[str, int], running: Collection[str], now: float) -> list[str]:
        """Jobs with a row of ours that do not run here and whose last hint is older than the patience (s)."""
        waiting = {(task_id, attempt) for task_id, attempt in rows.items() if task_id not in running}
        self._last = {key: at for key, at in self._last.items() if key in waiting}
        self._first = {key: at for key, at in self._first.items() if key in waiting}
        return sorted(
            task_id for task_id, attempt in waiting
            if now - self._last.get((task_id, attempt), -self._patience) >= self._patience
        )  # fmt: skip

    def unanswered(self, now: float) -> bool:
        """Whether some hint has gone unheard for so long, in spite of repeats, that the consumer must be deaf."""
        return any(
            now - first > DEAF_AFTER and self._last.get(key, first) > first for key, first in self._first.items()
        )


#: seconds that a worker's lease must have been missing, Redis answering all the while, before its rows are adopted
ADOPT_AFTER = 6.0


class Absences:
    """Since when which worker's lease has been missing. Owned by the admission thread."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def dead(self, workers: Collection[str], living: Collection[str], now: float) -> frozenset[str]:
        """Those of `workers` whose lease has been missing for ADOPT_AFTER."""
        self._since = {worker: self._since.get(worker, now) for worker in workers if worker not in living}
        return frozenset(worker for worker, since in self._since.items() if now - since >= ADOPT_AFTER)

    def forget(self) -> None:
        """Redis was away: leases lapsed for everyone, so nobody is dead on that account."""
        self._since.clear()
