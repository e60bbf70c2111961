"""A site without workers: jobs are moved by hand through real stores, as a worker would move them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.node import Reservation
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.store.logs import Chunk, Stream
from tests.builders import new_job, node


def hold(stores: Stores, task_id: str, attempt: int = 1, worker: str = "w1") -> None:
    """Say in a record that this worker has this attempt, where a test has no job that came there on its way."""
    key = stores.keys.job(task_id)
    if stores.redis.hget(key, "worker") != worker.encode():
        stores.redis.hset(key, mapping={"attempt": attempt, "worker": worker})


@dataclass(frozen=True)
class Site:
    """One node `n1` with one worker `w1`."""

    stores: Stores

    def announce(self, changes: Mapping[str, Any] | None = None, **have: Any) -> None:
        """A heartbeat of a node with so much, and `changes` to what it says of itself."""
        here = node(**have).model_copy(update=dict(changes or {}))
        self.stores.ledger.announce(here, worker="w1", lease_seconds=60)

    def submit(self, task_id: str = "t1", **given: Any) -> str:
        """A job that waits."""
        self.stores.jobs.create(new_job(task_id, **given))
        return task_id

    def start(self, task_id: str = "t1", *, gpus: tuple[str, ...] = (), deadline: int = 0, **given: Any) -> Job:
        """A job that runs, on these devices; `deadline` in epoch milliseconds."""
        self.submit(task_id, **given)
        job = self.stores.jobs.get(task_id)
        asked = job.assignment.requests
        row = Reservation.of(asked, attempt=1, worker="w1", gpus=gpus, deadline=deadline, owner=job.assignment.owner)
        assert self.stores.ledger.reserve("n1", "w1", [Claim(task_id, job.assignment.line, row)]) == ["ok"]
        self.stores.jobs.claim(task_id, 1, node="n1", worker="w1")
        self.stores.jobs.advance(task_id, 1, State.RUNNING, worker="w1")
        return self.stores.jobs.get(task_id)

    def end(self, job: Job, cause: Cause = Cause.OK, **given: Any) -> None:
        """The end of a job that runs."""
        self.stores.jobs.advance(job.task_id, job.attempt, State.COLLECTING, worker=job.worker)
        self.stores.jobs.finish(job, Outcome(**{"cause": cause, "exit_code": 0 if cause is Cause.OK else 1} | given))

    def write(self, task_id: str, *texts: bytes, first: int = 1, stream: Stream = Stream.STDOUT) -> None:
        """Log chunks, numbered from `first`."""
        hold(self.stores, task_id)
        chunks = [Chunk(first + i, stream, data, 1_700_000_000_000, 1) for i, data in enumerate(texts)]
        self.stores.logs.append(task_id, chunks, worker="w1")

    def artifact(self, folder: Path, content: bytes) -> Any:
        """A blob among the artifacts."""
        path = folder / "made"
        path.write_bytes(content)
        return self.stores.artifacts.add(path)
