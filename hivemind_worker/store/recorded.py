"""Lets Redis forget ended jobs in time, once the history has them."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from hivemind_worker.store.connection import Scripts, named_faults
from hivemind_worker.store.keys import Keys


class Recorded:
    """Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, keys: Keys, *, retention: float) -> None:
        """`retention` in seconds: how long ended jobs stay in Redis."""
        self._scripts = Scripts(client)
        self._keys = keys
        self._keep_ms = max(1, int(retention)) * 1000

    def release(self, task_ids: Sequence[str]) -> tuple[bool, ...]:
        """These stay no longer than ended jobs do. False: not ended, or not there any more."""
        calls = [([self._keys.job(task_id)], [self._keep_ms]) for task_id in task_ids]
        replies = self._scripts.run_many("recorded", calls) if calls else []
        for reply in replies:
            if isinstance(reply, Exception):
                with named_faults():
                    raise reply
        return tuple(int(reply) >= 0 for reply in replies)
