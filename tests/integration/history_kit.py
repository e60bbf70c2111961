"""Histories for tests: each with a database of its own, empty, on the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from bridge.leaders import build_recorder
from hivemind_worker.bootstrap import Stores
from hivemind_worker.delivery.leader import Leader
from hivemind_worker.domain.job import Job, State, Times
from hivemind_worker.domain.outcome import BlobRef, Cause, Outcome
from hivemind_worker.settings import Settings
from hivemind_worker.store.outbox import Outbox, history_group
from hivemind_worker.store.outbox_status import OutboxStatus, read_status
from tests.builders import job
from tests.postgres import Postgres
from tests.site import Site

_NUMBERS = count()


def fresh_database(server: Postgres) -> str:
    """The URL of a new database on this server."""
    import psycopg

    name = f"t{next(_NUMBERS)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        # A language that sorts "a" before "B", unlike Redis; PostgreSQL 14 has only the language of its cluster.
        language = " TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        modern = connection.info.server_version >= 150_000
        connection.execute(f"CREATE DATABASE {name}{language if modern else ''}")  # type: ignore[call-overload]
    return server.url.replace("/postgres?", f"/{name}?")


def ended(task_id: str, created: int = 1_700_000_000_000, cause: Cause = Cause.OK, **given: str) -> Job:
    """A job that has ended a minute after it came."""
    outcome = Outcome(cause=cause, exit_code=0, evidence="seen", artifact=BlobRef(sha256="a" * 64, size=3))
    times = Times(created=created, admitted=created + 1, started=created + 2, finished=created + 60_000)
    made = job(task_id, State(outcome.state), times=times, outcome=outcome, attempt=1, node="n1", worker="w1")
    return made.model_copy(update={"assignment": made.assignment.model_copy(update=given)})


def run(stores: Stores, task_id: str, cause: Cause = Cause.OK, **given: Any) -> None:
    """A job from its arrival to its end."""
    site = Site(stores)
    site.announce()
    site.end(site.start(task_id, **given), cause)


@contextmanager
def recording(stores: Stores, settings: Settings, who: str = "p1", term: float = 15) -> Iterator[Leader]:
    """A recorder at work in a thread of the test; `term` in seconds."""
    outbox = Outbox(
        stores.redis,
        stores.keys,
        history_group(settings.history, settings.node_id),
        who=who,
        place=settings.node_id,
        term=term,
        whole=True,
    )
    leader = Leader(outbox, build_recorder(stores, settings))
    leader.start()
    try:
        yield leader
    finally:
        leader.stop(30)


def status(stores: Stores, settings: Settings) -> OutboxStatus:
    """How the recorder fares, as /health sees it."""
    return read_status(stores.redis, stores.keys, history_group(settings.history, settings.node_id))
