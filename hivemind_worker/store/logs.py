"""The live tail of a job's log: numbered chunks in a Redis stream, each written once.

The number is the entry's id, so a repeated write of a chunk is refused by Redis itself. Every chunk carries how many
bytes of stdout and of stderr had been read when it was written: a worker that re-attaches knows where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import redis

from hivemind_worker.domain.errors import AdoptedAttempt, StaleAttempt
from hivemind_worker.store.connection import Scripts, named_faults, text
from hivemind_worker.store.keys import Keys

#: chunks looked at from the end for one that can be read
LOOK_BACK = 16
#: seconds that what was put aside stays
KEPT = 30 * 86400


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
        keys = self._keys
        args: list[str | bytes | int] = [attempt, worker, keys.changes(task_id), task_id, KEPT]
        for chunk in chunks:
            args += [chunk.number, int(chunk.stream), chunk.data, chunk.at, chunk.stdout_end, chunk.stderr_end]
        # A script is all or nothing: a server that is full refuses all of it, not a chunk in the middle.
        records = [keys.job(task_id), keys.log(task_id), keys.quarantined_chunks, keys.quarantine]
        verdict = text(self._sound(task_id, lambda: self._scripts.run("append", records, args)))
        if verdict == "adopted":
            raise AdoptedAttempt(f"attempt {attempt} of {task_id} was adopted by another worker")
        if verdict != "done":
            raise StaleAttempt(f"attempt {attempt} of {task_id} was fenced off")

    def say(self, task_id: str, attempt: int, words: str, *, worker: str) -> None:
        """The node's own word at the end of a log; said again, it stands there once. Raises as `append` does."""
        last, data = self.last(task_id), f"[hivemind] {words}\n".encode()
        if last and (last.attempt, last.stream, last.data) == (attempt, Stream.NOTICE, data):
            return
        ends = (last.stdout_end, last.stderr_end) if last and last.attempt == attempt else (0, 0)
        number = last.number + 1 if last else 1
        at = int(time.time() * 1000)
        self.append(task_id, [Chunk(number, Stream.NOTICE, data, at, attempt, *ends)], worker=worker)

    def trim(self, task_id: str, first_kept: int) -> None:
        """Forget chunks before a number."""
        key, first = self._keys.log(task_id), f"{first_kept}-0"
        self._sound(task_id, lambda: self._redis.xtrim(key, minid=first, approximate=False))

    def read(self, task_id: str, first: int, *, count: int = 64) -> list[Chunk]:
        """Chunks from number `first` on. A first result with a larger number means: what lies before is gone.

        A chunk that cannot be read is put aside, and the node's word stands in its place.
        """
        key, start = self._keys.log(task_id), f"{max(first, 0)}-0"
        entries = self._sound(task_id, lambda: self._redis.xrange(key, min=start, count=count))
        return [self._readable(task_id, text(i), body) for i, body in entries]

    def last(self, task_id: str) -> Chunk | None:
        """The newest chunk, with what had been read by the newest one that can be read."""
        key = self._keys.log(task_id)
        entries = self._sound(task_id, lambda: self._redis.xrevrange(key, count=LOOK_BACK))
        chunks = [self._readable(task_id, text(i), body) for i, body in entries]
        if not chunks or chunks[0].attempt:
            return chunks[0] if chunks else None
        readable = next((chunk for chunk in chunks if chunk.attempt), chunks[0])
        return replace(readable, number=chunks[0].number)

    def _sound(self, task_id: str, call: Callable[[], Any]) -> Any:
        """The call's answer; a log that is no stream is put aside first, and there is none then."""
        keys = self._keys
        with named_faults():
            try:
                return call()
            except redis.exceptions.ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
            log = keys.log(task_id)
            self._scripts.run("set_aside", [log, keys.aside(log), keys.quarantine], ["stream", KEPT])
            return call()

    def _readable(self, task_id: str, entry_id: str, body: dict[bytes, bytes]) -> Chunk:
        try:
            return _chunk(entry_id, body)
        except (KeyError, ValueError):
            number = _number(entry_id)
            raw = b" ".join(name + b"=" + value[:1000] for name, value in body.items())
            keys = self._keys
            name = f"{task_id}/{number}"
            self._scripts.run("quarantine_chunk", [keys.quarantined_chunks, keys.quarantine], [name, raw, KEPT])
            words = b"[hivemind] a piece of the log is missing here: it was damaged and put aside\n"
            return Chunk(number, Stream.NOTICE, words, at=0, attempt=0)


def _chunk(entry_id: str, body: dict[bytes, bytes]) -> Chunk:
    return Chunk(
        number=_number(entry_id),
        stream=Stream(int(body[b"s"])),
        data=body[b"d"],
        at=int(body[b"t"]),
        attempt=int(body[b"a"]),
        stdout_end=int(body[b"o"]),
        stderr_end=int(body[b"e"]),
    )


def _number(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
