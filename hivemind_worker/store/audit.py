"""Records, lines and ledger held against each other: the record is the truth, what disagrees with it is put right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from hivemind_worker.domain.errors import RecordCorrupt, RecordTooNew
from hivemind_worker.domain.node import Reservation
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.store.connection import Scripts, fields, named_faults, text
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.logs import KEPT
from hivemind_worker.store.records import current, job_of

#: ids in one script: a few milliseconds of Redis' time
BATCH = 500

#: an id or key, and what was put right about it
Finding = tuple[str, str]


class Audit:
    """Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        *,
        log_retention: int,
        record_retention: int,
        starting: float,
        ending: float,
    ) -> None:
        """Seconds: `starting` and `ending` are what a job may be held for beside its timeout, as admission allows."""
        self._redis: Any = client  # redis-py types every reply as a union of its sync and async ones
        self._keys = keys
        self._scripts = Scripts(client)
        self._log_retention, self._record_retention = log_retention, record_retention
        self._starting, self._ending = starting, ending

    def is_sweeper(self, worker: str, term: float) -> bool:
        """Whether this worker sweeps the site for the next `term` seconds: one does at a time."""
        return bool(self._scripts.run("sweeper", [self._keys.sweeper], [worker, int(term * 1000)]))

    def rows(self, node: str) -> list[Finding]:
        """Hold one node's rows against their records."""
        keys = self._keys
        kinds = {
            keys.active: "zset", keys.index: "zset", keys.waiting_all: "zset", keys.delayed: "zset",
            keys.shapes: "set", keys.nodes: "set", keys.events: "stream", keys.owners: "set", keys.runs: "hash",
            keys.runs_used: "zset", keys.promise: "string", keys.usage: "string", keys.sweeper: "string",
        }  # fmt: skip
        found = self._scripts.run(
            "audit_rows",
            [keys.reservations(node), keys.node(node), keys.quarantine, keys.quarantined_rows, *kinds],
            [node, keys.job(""), keys.aside(""), KEPT, *kinds.values()],
        )
        return _pairs(found)

    def jobs(self, task_ids: Sequence[str], *, active: bool = False) -> list[Finding]:
        """Hold what belongs to these jobs against their records; `active`: that is where they were found."""
        keys = self._keys
        found = self._scripts.run(
            "audit",
            [keys.active, keys.index, keys.waiting_all, keys.shapes, keys.delayed, keys.nodes],
            [keys.prefix, "active" if active else "any", *task_ids],
        )
        return [(task_id, told) for task_id, what in _pairs(found) if (told := self._see_to(task_id, what))]

    # --- where ids come from ------------------------------------------------------------------------------

    def active(self) -> Iterator[list[str]]:
        """Ids of all jobs that have not ended, in batches."""
        return self._scan(self._keys.active)

    def lines(self) -> Iterator[tuple[int, list[Finding]]]:
        """See to strays in the lines: in the whole line what is not active, in a shape's what is not in the whole.

        Batch by batch, how many were looked at and what was put right. What else may be wrong with a line is the
        guard's affair: it takes out what it cannot admit.
        """
        keys = self._keys
        with named_faults():
            shapes = sorted(text(shape) for shape in self._redis.smembers(keys.shapes))
            owners = sorted(text(owner) for owner in self._redis.smembers(keys.owners))
        yield from self._other_kinds([*map(keys.waiting, shapes), *map(keys.waiting_of, owners)])
        yield from self._strays(keys.waiting_all, keys.active, "")
        for shape in shapes:
            yield from self._strays(keys.waiting(shape), keys.waiting_all, shape)

    def _other_kinds(self, lines: Sequence[str]) -> Iterator[tuple[int, list[Finding]]]:
        """Put aside what stands in a line's place and is none: every plan of the site would stumble over it."""
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            answers = self._scripts.run_many(
                "set_aside", [([line, self._keys.aside(line), self._keys.quarantine], ["zset", KEPT]) for line in batch]
            )
            found = [line for line, answer in zip(batch, answers, strict=True) if answer == 1]
            yield len(batch), [(line, "put aside: it is no line") for line in found]

    def _strays(self, line: str, whole: str, shape: str) -> Iterator[tuple[int, list[Finding]]]:
        for batch in itertools.chain(self._scan(line), [list[str]()]):  # the last look is for an empty line
            keys = self._keys
            found = self._scripts.run("strays", [line, whole, keys.shapes, keys.active], [shape, keys.job(""), *batch])
            yield len(batch), _pairs(found)

    def index_is_short(self) -> bool:
        """Whether the index lacks jobs that are known, so that others may be missing there as well."""
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zcard(self._keys.index).zcard(self._keys.active)
            known, active = pipe.execute()
        return int(known) == 0 or int(known) < int(active)

    def records(self) -> Iterator[list[str]]:
        """Ids of all records there are, whatever the indexes say, in batches that may be empty. Slow."""
        start, cursor = self._keys.job(""), 0
        pattern = start.replace("[", "\\[").replace("{", "\\{") + "*"
        while True:
            with named_faults():
                cursor, found = self._redis.scan(cursor, match=pattern, count=BATCH)
            yield [text(key).removeprefix(start) for key in found]
            if int(cursor) == 0:
                return

    def _scan(self, key: str) -> Iterator[list[str]]:
        cursor = 0
        while True:
            with named_faults():
                cursor, found = self._redis.zscan(key, cursor, count=BATCH)
            if found:
                yield [text(member) for member, _ in found]
            if int(cursor) == 0:
                return

    # --- what a script cannot put right ---------------------------------------------------------------------

    def _see_to(self, task_id: str, what: str) -> str:
        """Finish what the script found; '' when there is nothing to tell."""
        if what == "old":
            return self._migrate(task_id)
        if what == "rowless":
            return self._give_row(task_id)
        if what.startswith("damaged: "):
            return self.put_aside(task_id, what.removeprefix("damaged: "))
        return what

    def _record(self, task_id: str) -> dict[str, str]:
        with named_faults():
            return fields(self._redis.hgetall(self._keys.job(task_id)))

    def _migrate(self, task_id: str) -> str:
        record = self._record(task_id)
        try:
            fresh = current(record, task_id)
        except RecordTooNew:
            return ""
        except RecordCorrupt as error:
            return self.put_aside(task_id, str(error))
        new = [word for name, value in fresh.items() if record.get(name) != value for word in (name, value)]
        done = self._scripts.run("migrate", [self._keys.job(task_id)], [record["version"], *new])
        if not done:
            return ""
        return (
            f"migrated from version {record['version']}" if fresh["version"] != record["version"] else "line named anew"
        )

    def _give_row(self, task_id: str) -> str:
        try:
            job = job_of(self._record(task_id), task_id)
        except RecordTooNew:
            return ""
        except RecordCorrupt as error:
            return self.put_aside(task_id, str(error))
        spec, started = job.assignment, job.times.started
        holds = int((spec.timeout_seconds + self._ending) * 1000)
        starts_by = started or (job.times.admitted or job.times.created) + int(self._starting * 1000)
        row = Reservation.of(
            spec.requests,
            attempt=job.attempt,
            worker=job.worker,
            gpus=(),
            deadline=starts_by + holds,
            from_start=0 if started else holds,
            owner=spec.owner,
        )
        self._scripts.run(
            "restore",
            [self._keys.job(task_id), self._keys.reservations(job.node)],
            [task_id, job.attempt, job.worker, row.model_dump_json()],
        )
        return "row made anew from its request"

    def put_aside(self, task_id: str, why: str) -> str:
        """Quarantine a damaged record; its job ends as failed, of `internal`. What was done, '' for nothing."""
        keys = self._keys
        copy = keys.aside(keys.job(task_id))
        outcome = Outcome(cause=Cause.INTERNAL, evidence=f"its record was damaged ({why}) and is kept as {copy}")
        done = self._scripts.run(
            "quarantine",
            [
                keys.job(task_id), copy, keys.quarantine, keys.active, keys.index, keys.waiting_all, keys.shapes,
                keys.delayed, keys.nodes, keys.events, keys.secrets(task_id), keys.log(task_id),
            ],
            [
                task_id, outcome.model_dump_json(), keys.reservations(""), KEPT, self._record_retention,
                self._log_retention, keys.changes(task_id), keys.wake,
            ],
        )  # fmt: skip
        return f"put aside: {why}" if done else ""

    def quarantined(self) -> int:
        """How many things were put aside and are still kept."""
        with named_faults():
            return int(self._redis.zcard(self._keys.quarantine))

    def put_aside_last(self, most: int) -> list[tuple[str, int]]:
        """What was put aside last, newest first: where it is kept, and when it was put there (epoch ms)."""
        with named_faults():
            found = self._redis.zrevrange(self._keys.quarantine, 0, most - 1, withscores=True)
        return [(text(name), int(when)) for name, when in found]

    def keeps_file(self) -> bool:
        """Whether the server keeps what it knows in an append-only file."""
        with named_faults():
            return bool(self._redis.info("persistence").get("aof_enabled", 0))


def _pairs(flat: Sequence[bytes]) -> list[Finding]:
    words = iter(flat)
    return [(text(one), text(other)) for one, other in zip(words, words, strict=True)]
