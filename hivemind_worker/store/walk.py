"""Walks over all records that Redis keeps, newest first, in steps that can be taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from hivemind_worker.domain.job import Job
from hivemind_worker.store.connection import Scripts, fields, text
from hivemind_worker.store.index import Place, places
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.records import UNREADABLE, job_of


@dataclass(frozen=True, slots=True)
class Step:
    """Some records of one moment, right after the event `newest`. `broken`: ids of records that cannot be read."""

    newest: str
    jobs: tuple[Job, ...]
    broken: tuple[str, ...]
    #: where to go on; None: this was the end
    after: Place | None


class Walk:
    """Steps over the index. Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis: Any = client
        self._scripts = Scripts(client)
        self._keys = keys

    def step(self, after: Place | None, size: int) -> Step:
        """The next records behind a place."""
        found = places(self._redis, self._keys.index, after, size)
        ids = [task_id for _, task_id in found]
        newest, *raw = self._scripts.run("outbox_snapshot", [self._keys.events, *map(self._keys.job, ids)], [])
        jobs, broken = [], []
        for task_id, record in zip(ids, raw, strict=True):
            try:
                if record:
                    jobs.append(job_of(fields(record), task_id))
            except UNREADABLE:
                broken.append(task_id)
        return Step(text(newest), tuple(jobs), tuple(broken), found[-1] if found else None)
