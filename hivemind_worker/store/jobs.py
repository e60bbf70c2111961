"""Job records: created, read, listed, advanced, ended. Every write is one script, safe to repeat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from hivemind_worker.domain.assignment import Assignment, digest
from hivemind_worker.domain.errors import AlreadyExists, InvalidField, NotFound, QueueFull, RecordCorrupt, TooFast
from hivemind_worker.domain.job import Job, State, Times
from hivemind_worker.domain.limits import OwnerLimits
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.store.attempts import AttemptSteps
from hivemind_worker.store.connection import Scripts, fields, named_faults, text
from hivemind_worker.store.index import Place, places
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.records import shown_of
from hivemind_worker.store.seal import Sealer

Created = Literal["created", "same"]
#: records read in one round trip
PAGE = 200


@dataclass(frozen=True, slots=True)
class NewJob:
    """An assignment on its way into the store, with the secrets that travel beside it."""

    assignment: Assignment
    secrets: Mapping[str, str]
    #: what the sender asked for in so many words, defaults left out: the same again is the same job
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and the cursor of the next page ('' at the end)."""

    jobs: tuple[Job, ...]
    next: str


class JobStore(AttemptSteps):
    """All job records of one site. Threads may share it. Every call may raise StoreUnavailable."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        sealer: Sealer,
        *,
        ageing: float,
        max_waiting: int,
        retention: float,
        unrecorded: float = 0.0,
        flush: bool = False,
        limits: OwnerLimits = OwnerLimits(),  # noqa: B008 - frozen
    ) -> None:
        """Seconds: `unrecorded` is what an ended job stays beyond `retention` until the history has it."""
        kept = max(1, int(retention))
        super().__init__(
            keys, Scripts(client, flush=flush), log_retention=kept, record_retention=kept + int(unrecorded)
        )
        self._redis: Any = client  # redis-py types every reply as a union of its sync and async ones
        self._sealer = sealer
        self._ageing_ms = ageing * 1000
        self._max_waiting = max_waiting
        self._limits = limits

    # --- intake -------------------------------------------------------------------------------------

    def create(self, new: NewJob) -> tuple[Created, State]:
        """Make one assignment durable. Raises AlreadyExists, QueueFull."""
        answer = self.create_many([new])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def create_many(self, batch: Sequence[NewJob]) -> list[tuple[Created, State] | Exception]:
        """Make several durable in one round trip; each succeeds or fails by itself."""
        replies = self._scripts.run_many("create", [self._create_call(new) for new in batch], lasting=True)
        return [self._created(new, reply) for new, reply in zip(batch, replies, strict=True)]

    def _create_call(self, new: NewJob) -> tuple[list[str], list[str | int | float]]:
        spec, keys, limits = new.assignment, self._keys, self._limits
        shape = spec.line
        return (
            [
                keys.job(spec.task_id), keys.waiting(shape), keys.waiting_all, keys.shapes,
                keys.active, keys.index, keys.events, keys.secrets(spec.task_id),
                keys.waiting_of(spec.owner), keys.rate(spec.owner),
            ],
            [
                spec.task_id, spec.model_dump_json(), self._digest(new), shape,
                int(spec.priority * self._ageing_ms), self._sealer.seal(new.secrets), self._max_waiting,
                keys.changes(spec.task_id), keys.wake, spec.timeout_seconds,
                spec.owner, _or_nothing(limits.waiting), _or_nothing(limits.rate), limits.burst, spec.home,
            ],
        )  # fmt: skip

    def _digest(self, new: NewJob) -> str:
        return digest(new.asked, new.secrets, self._sealer.digest_key)

    def known(self, new: NewJob) -> tuple[Created, State] | AlreadyExists | None:
        """Whether this very assignment was accepted before, or another under its id; None: the id is free."""
        with named_faults():
            found = self._redis.hmget(self._keys.job(new.assignment.task_id), "digest", "state")
        if found[0] is None:
            return None
        if text(found[0]) != self._digest(new):
            return AlreadyExists(f"task_id {new.assignment.task_id} is taken by another assignment")
        return "same", State(text(found[1]))

    def _created(self, new: NewJob, reply: object) -> tuple[Created, State] | Exception:
        if isinstance(reply, Exception):
            try:
                with named_faults():
                    raise reply
            except Exception as error:  # noqa: BLE001 - handed to the caller of this very item
                return error
        assert isinstance(reply, list)
        verdict, state = text(reply[0]), text(reply[1])
        if verdict == "conflict":
            return AlreadyExists(f"task_id {new.assignment.task_id} is taken by another assignment")
        if verdict == "full":
            return QueueFull(
                f"{self._max_waiting} jobs wait already, the most that may (HIVEMIND_MAX_WAITING); "
                "try again when some have started"
            )
        if verdict in ("owner_full", "too_fast"):
            return self._owner_refused(new.assignment.owner, verdict, state)
        return ("created" if verdict == "created" else "same"), State(state)

    def _owner_refused(self, owner: str, verdict: str, detail: str) -> QueueFull:
        whose = f"of owner {owner}" if owner else "of no owner"
        if verdict == "owner_full":
            return QueueFull(
                f"{self._limits.waiting} jobs {whose} wait already, the most that may "
                "(HIVEMIND_MAX_WAITING_PER_OWNER); try again when some have started"
            )
        seconds = int(detail) / 1000
        return TooFast(
            f"assignments {whose} come faster than {self._limits.rate:g} a second (HIVEMIND_OWNER_RATE); "
            f"try again in {seconds:.3g} s",
            seconds,
        )

    # --- reading ------------------------------------------------------------------------------------

    def get(self, task_id: str) -> Job:
        """One job. Raises NotFound."""
        job = self.get_many([task_id])[0]
        if job is None:
            raise NotFound(f"there is no job {task_id}")
        return job

    def get_many(self, task_ids: Sequence[str]) -> list[Job | None]:
        """Several jobs in one round trip, None where there is none; a record that cannot be read has its `trouble`."""
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            for task_id in task_ids:
                pipe.hgetall(self._keys.job(task_id))
            replies = pipe.execute(raise_on_error=False)
        return [_shown(task_id, reply) for task_id, reply in zip(task_ids, replies, strict=True)]

    def secrets(self, task_id: str) -> dict[str, str]:
        """The job's secrets, opened."""
        with named_faults():
            sealed = self._redis.get(self._keys.secrets(task_id))
        return self._sealer.open(text(sealed)) if sealed else {}

    def stop_graces(self, task_ids: Sequence[str]) -> dict[str, float]:
        """Which of these jobs were asked to stop, with the grace in seconds."""
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            for task_id in task_ids:
                pipe.hget(self._keys.job(task_id), "stop_grace")
            replies = pipe.execute(raise_on_error=False)
        graces = ((i, _seconds(reply)) for i, reply in zip(task_ids, replies, strict=True))
        return {i: grace for i, grace in graces if grace is not None}

    def list(
        self,
        *,
        state: State | None = None,
        owner: str | None = None,
        active_only: bool = False,
        limit: int = 100,
        cursor: str = "",
    ) -> Page:
        """One page, newest first. The cursor is opaque; a page never repeats or skips a job that stays."""
        line = self._keys.active if active_only else self._keys.index
        found: list[Job] = []
        for job in self._walk(line, cursor):
            if (state is None or job.state is state) and (owner is None or job.assignment.owner == owner):
                found.append(job)
                if len(found) > limit:
                    last = found[limit - 1]
                    return Page(tuple(found[:limit]), f"{last.times.created}:{last.task_id}")
        return Page(tuple(found), "")

    def _walk(self, line: str, cursor: str) -> Iterator[Job]:
        """Jobs of an index, newest first, ties by id; ids whose record has expired are swept out on the way.

        A record that cannot be read is shown with its trouble.
        """
        after = parse_cursor(cursor)
        while found := places(self._redis, line, after, PAGE):
            expired = []
            for (created, task_id), job in zip(found, self.get_many([task_id for _, task_id in found]), strict=True):
                if job is None:
                    expired.append(task_id)
                else:
                    # A damaged record may not know when it was made; the index does, and pages go by it.
                    yield job if not job.trouble else job.model_copy(update={"times": Times(created=created)})
            if expired:
                with named_faults():
                    self._redis.zrem(line, *expired)
            after = found[-1]

    def forget_expired(self) -> None:
        """Take ids out of the index whose record Redis has let go of, from the oldest on."""
        with named_faults():
            oldest = [text(member) for member in self._redis.zrange(self._keys.index, 0, PAGE - 1)]
            pipe = self._redis.pipeline(transaction=False)
            for task_id in oldest:
                pipe.exists(self._keys.job(task_id))
            gone = [task_id for task_id, there in zip(oldest, pipe.execute(), strict=True) if not there]
            if gone:
                self._redis.zrem(self._keys.index, *gone)

    def counts(self) -> dict[str, int]:
        """How many wait, are active, are known in all."""
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zcard(self._keys.waiting_all).zcard(self._keys.active).zcard(self._keys.index)
            waiting, active, known = pipe.execute()
        return {"waiting": waiting, "active": active, "known": known}

    def bundles_in_use(self) -> frozenset[str]:
        """Digests of the bundles that jobs which have not ended came with."""
        with named_faults():
            ids = [text(member) for member in self._redis.zrange(self._keys.active, 0, -1)]
        used: set[str] = set()
        for start in range(0, len(ids), 500):
            used |= {job.assignment.bundle_sha256 for job in self.get_many(ids[start : start + 500]) if job is not None}
        return frozenset(used - {""})

    def positions(self, task_ids: Iterable[str]) -> dict[str, int]:
        """Places in the waiting line, 1 is next; ids that do not wait are left out."""
        ids = list(task_ids)
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            for task_id in ids:
                pipe.zrank(self._keys.waiting_all, task_id)
            return {i: rank + 1 for i, rank in zip(ids, pipe.execute(), strict=True) if rank is not None}

    def own_positions(self, jobs: Iterable[Job]) -> dict[str, int]:
        """Places among what the job's owner has waiting, 1 is next; jobs that do not wait are left out."""
        asked = list(jobs)
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            for job in asked:
                pipe.zrank(self._keys.waiting_of(job.assignment.owner), job.task_id)
            return {j.task_id: rank + 1 for j, rank in zip(asked, pipe.execute(), strict=True) if rank is not None}

    # --- from outside ---------------------------------------------------------------------------------

    def prioritize(self, task_id: str, priority: int) -> tuple[bool, State]:
        """Give a waiting job another priority. (accepted, state now); not accepted: it waits no more. NotFound.

        Raises RecordCorrupt for a record that cannot be read.
        """
        if not 0 <= priority <= 9:
            raise InvalidField("priority", f"must be between 0 and 9, not {priority}")
        keys = self._keys
        while True:
            job = self.get(task_id)
            if job.trouble and job.state is State.WAITING:
                raise RecordCorrupt(job.trouble)  # what would be written is not what it asks for
            spec = job.assignment
            with named_faults():
                stands = self._redis.hget(keys.job(task_id), "spec")
            changed = spec.model_copy(update={"priority": priority})
            answer = self._scripts.run(
                "prioritize",
                [
                    keys.job(task_id), keys.waiting(spec.line), keys.waiting_all, keys.waiting_of(spec.owner),
                    keys.promise,
                ],
                [
                    task_id, stands or b"", changed.model_dump_json(), int(priority * self._ageing_ms),
                    keys.changes(task_id), keys.wake,
                ],
                lasting=True,
            )  # fmt: skip
            if answer is None:
                raise NotFound(f"there is no job {task_id}")
            if text(answer) != "changed":
                return text(answer) == State.WAITING, State(text(answer))

    def cancel(self, task_id: str, grace: float) -> tuple[bool, State]:
        """Ask for a stop with this grace (seconds). (accepted, state now); not accepted: it had ended. NotFound."""
        shape, keys = self.get(task_id).assignment.line, self._keys
        outcome = Outcome(cause=Cause.CANCELLED, evidence="stopped while it waited")
        reply = self._scripts.run(
            "cancel",
            [
                keys.job(task_id), keys.waiting(shape), keys.waiting_all, keys.shapes, keys.active, keys.events,
                keys.secrets(task_id), keys.log(task_id), keys.delayed,
            ],
            [
                task_id, shape, grace, outcome.model_dump_json(), self._log_retention, keys.changes(task_id),
                keys.wake, keys.control(""), self._record_retention,
            ],
            lasting=True,
        )  # fmt: skip
        if reply is None:
            raise NotFound(f"there is no job {task_id}")
        return text(reply[0]) != "ended", State(text(reply[1]))


def _shown(task_id: str, reply: Any) -> Job | None:
    """One reply of HGETALL. Raises StoreUnavailable; a key that holds something else is a damaged record."""
    if isinstance(reply, redis.exceptions.ResponseError) and "WRONGTYPE" in str(reply):
        return shown_of({}, task_id)
    if isinstance(reply, Exception):
        with named_faults():
            raise reply
    return shown_of(fields(reply), task_id) if reply else None


def _seconds(reply: Any) -> float | None:
    """None: there is nothing, or no number of seconds."""
    try:
        seconds = float(reply) if isinstance(reply, bytes) else math.nan
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _or_nothing(limit: float | None) -> str:
    return "" if limit is None else f"{limit:.12g}"


def parse_cursor(cursor: str) -> Place | None:
    """The place behind which a page begins; None: at the newest. Raises InvalidField."""
    if not cursor:
        return None
    created, _, task_id = cursor.partition(":")
    if not (created.isascii() and created.isdigit() and len(created) <= 16 and task_id):
        raise InvalidField("cursor", "is not one that a page before gave")
    return int(created), task_id
