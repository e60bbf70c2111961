"""Places in an index of jobs, newest first."""

from __future__ import annotations

from typing import Any

from hivemind_worker.store.connection import named_faults, text

#: a place in an index: creation in epoch milliseconds, and the job's id
Place = tuple[int, str]


def places(client: Any, line: str, after: Place | None, size: int) -> list[Place]:
    """The next places of an index, newest first, ties by id; none at its end. Raises StoreUnavailable."""
    wanted = size
    while True:
        top: float | str = after[0] if after else "+inf"
        with named_faults():
            rows = client.zrevrangebyscore(line, top, "-inf", start=0, num=wanted, withscores=True)
        found = [(int(score), text(member)) for member, score in rows]
        fresh = [place for place in found if after is None or place < after]
        if fresh or len(rows) < wanted:
            return fresh
        wanted *= 2  # a page of one millisecond's jobs, all seen before, needs a longer look
