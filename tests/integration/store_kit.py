"""What the store's tests share: a node that is up, a job in a worker's hands, what may be left at rest."""

from __future__ import annotations

from typing import Any

import redis

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.settings import Settings
from tests.builders import new_job, node, row

#: what is free on an empty node
FREE = node(slots=10).allocatable
OK = Outcome(cause=Cause.OK, exit_code=0)


def announce(stores: Stores, name: str = "n1", worker: str = "w1", **have: Any) -> None:
    """A node with its worker's heartbeat."""
    stores.ledger.announce(node(name, **have), worker=worker, lease_seconds=10)


def admit(stores: Stores, task_id: str = "t1", attempt: int = 1, worker: str = "w1") -> str:
    """Ask the guard for one attempt; its answer."""
    claim = Claim(task_id, stores.jobs.get(task_id).assignment.line, row(attempt, worker))
    return stores.ledger.reserve("n1", worker, [claim])[0]


def admitted(stores: Stores, task_id: str = "t1", **given: object) -> None:
    """A job in a worker's hands, not yet claimed."""
    announce(stores)
    stores.jobs.create(new_job(task_id, **given))
    assert admit(stores, task_id) == "ok"


def at_rest(client: redis.Redis) -> set[bytes]:
    """Keys of lines, rows and secrets: none of them is left once every job has ended."""
    return {key for key in client.scan_iter() if b":waiting" in key or b"reservations" in key or b"secrets" in key}


def limited(settings: Settings, **limits: object) -> Stores:
    """Stores on the same Redis with other bounds."""
    return open_stores(settings.model_copy(update=limits))
