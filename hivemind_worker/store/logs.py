"""The live tail of a job's log: numbered chunks in a Redis stream, each written once.

The number is the entry's id, so a repeated write of a chunk is refused by Redis itself. Every chunk carries how many
bytes of stdout and of stderr had been read when it was written: a worker that re-attaches knows where to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import redis

from hivemind_worker.domain.errors import AdoptedAttempt, StaleAttempt
from hivemind_worker.store.connection import Scripts, named_faults, text
from hivemind_worker.store.keys import Keys


class Stream(IntEnum):
    """Where a chunk came from; the wire's numbers."""

    STDOUT = 1
    STDERR = 2
    #: the node's own word: a gap, a cut
    NOTICE = 3


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a log. `stdout_end` and `stderr_end` count bytes read of this attempt; `at` epoch ms."""

    number: int
    stream: Stream
    data: bytes
    at: int
    attempt: int
    stdout_end: int = 0
    stderr_end: int = 0


class LogStore:
    """All logs' tails. Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis: Any = client  # redis-py types every reply as a union of its sync and async ones
        self._keys = keys
        self._scripts = Scripts(client)

    def append(self, task_id: str, chunks: Sequence[Chunk], *, worker: str) -> None:
        """Write chunks of one attempt in order and tell the followers. Those that are there already stay as they are.

        Raises StaleAttempt, AdoptedAttempt when the attempt is not in this worker's hands (any more).
        """
        if not chunks:
            return
        attempt = chunks[0].attempt
        args: list[str | bytes | int] = [attempt, worker, self._keys.changes(task_id)]
        for chunk in chunks:
            args += [chunk.number, int(chunk.stream), chunk.data, chunk.at, chunk.stdout_end, chunk.stderr_end]
        # A script is all or nothing: a server that is full refuses all of it, not a chunk in the middle.
        verdict = text(self._scripts.run("append", [self._keys.job(task_id), self._keys.log(task_id)], args))
        if verdict == "adopted":
            raise AdoptedAttempt(f"attempt {attempt} of {task_id} was adopted by another worker")
        if verdict != "done":
            raise StaleAttempt(f"attempt {attempt} of {task_id} was fenced off")

    def trim(self, task_id: str, first_kept: int) -> None:
        """Forget chunks before a number."""
        with named_faults():
            self._redis.xtrim(self._keys.log(task_id), minid=f"{first_kept}-0", approximate=False)

    def read(self, task_id: str, first: int, *, count: int = 64) -> list[Chunk]:
        """Chunks from number `first` on. A first result with a larger number means: what lies before is gone."""
        with named_faults():
            entries = self._redis.xrange(self._keys.log(task_id), min=f"{max(first, 0)}-0", count=count)
        return [_chunk(text(i), body) for i, body in entries]

    def last(self, task_id: str) -> Chunk | None:
        """The newest chunk."""
        with named_faults():
            entries = self._redis.xrevrange(self._keys.log(task_id), count=1)
        return _chunk(text(entries[0][0]), entries[0][1]) if entries else None

    def exists(self, task_id: str) -> bool:
        """Whether any chunk is kept."""
        with named_faults():
            return bool(self._redis.exists(self._keys.log(task_id)))


def _chunk(entry_id: str, body: dict[bytes, bytes]) -> Chunk:
    return Chunk(
        number=int(entry_id.partition("-")[0]),
        stream=Stream(int(body[b"s"])),
        data=body[b"d"],
        at=int(body[b"t"]),
        attempt=int(body[b"a"]),
        stdout_end=int(body[b"o"]),
        stderr_end=int(body[b"e"]),
    )
