"""Shows waiting jobs in Flower: each new job's event becomes Celery's `task-sent`, off the path of assignments.

A waiting job is no Celery message, so nothing else would tell Flower of it before a worker takes it up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings
from hivemind_worker.store.events import Event
from hivemind_worker.store.keys import INTAKE_QUEUE, TASK

log = structlog.get_logger()

#: seconds: one read of the stream, the pause in which a burst gathers, the pause after a failure
_BLOCK, _GATHER, _RETRY = 1.0, 0.05, 1.0


class FlowerFeed:
    """One thread that follows the events stream. It may lag or fail; assignments never wait for it."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        self._broker = settings.celery_broker
        self._host = f"bridge@{settings.node_id}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flower feed", daemon=True)
        self._after: str | None = None
        self._began = 0.0

    def start(self) -> None:
        """Begin with the jobs that come from now on."""
        self._began = time.monotonic()
        with contextlib.suppress(StoreUnavailable):
            self._after = self._stores.events.last_id()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End; wait for that so many seconds."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._dispatcher() as dispatcher:
                    self._follow(dispatcher)
            except Exception as error:  # noqa: BLE001 - Redis away, or Celery's own trouble: neither may end the feed
                log.warning("flower feed interrupted", error=str(error))
                self._stop.wait(_RETRY)

    def _follow(self, dispatcher: Any) -> None:
        if self._after is None:
            # The stream's ids are times by Redis' clock. It was away; this machine's clock may say another time.
            elapsed = time.monotonic() - self._began
            self._after = f"{self._stores.ledger.now_ms() - int(elapsed * 1000)}-0"
        while not self._stop.is_set():
            events = self._stores.events.read(self._after, block=_BLOCK)
            for event in self._told(events):
                if event.state == State.WAITING:
                    dispatcher.send("task-sent", **sent_fields(event))
                else:
                    dispatcher.send("task-revoked", uuid=event.task_id, terminated=False, signum=None, expired=False)
            if events:
                dispatcher.flush()
                self._after = events[-1].id
                self._stop.wait(_GATHER)

    def _told(self, events: Sequence[Event]) -> list[Event]:
        """New jobs, and those that were stopped before anybody took them up; workers tell of all others."""
        stopped = [event for event in events if event.state == State.STOPPED]
        jobs = self._stores.jobs.get_many([event.task_id for event in stopped]) if stopped else []
        never_held = {job.task_id for job in jobs if job is not None and job.times.admitted is None}
        return [
            event
            for event in events
            if (event.state == State.WAITING and event.attempt == 0)
            or (event.state == State.STOPPED and event.task_id in never_held)
        ]

    @contextlib.contextmanager
    def _dispatcher(self) -> Iterator[Any]:
        """Celery's own sender of events, on a connection of its own. Imported here: Celery takes its time to load."""
        from celery import Celery

        app = Celery("hivemind_bridge", broker=self._broker, set_as_current=False)
        app.conf.broker_transport_options = {"max_retries": 1, "socket_timeout": 5.0}
        with (
            app.connection_for_write() as connection,
            app.events.Dispatcher(
                connection,
                hostname=self._host,
                buffer_while_offline=False,
                buffer_group=frozenset({"task"}),
                buffer_limit=100,
            ) as dispatcher,
        ):
            yield dispatcher


def sent_fields(event: Event) -> dict[str, Any]:
    """What Flower shows of a job that waits: its id, and nothing that could hold a secret. Pure."""
    return {
        "uuid": event.task_id,
        "root_id": event.task_id,
        "parent_id": None,
        "name": TASK,
        "args": f"('{event.task_id}',)",
        "kwargs": "{}",
        "retries": 0,
        "eta": None,
        "expires": None,
        "queue": INTAKE_QUEUE,
        "exchange": "",
        "routing_key": INTAKE_QUEUE,
        "timestamp": event.at / 1000,
    }
