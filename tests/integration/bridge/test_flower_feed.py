"""Waiting jobs in Flower: what a monitor of Celery's events gets to hear from the bridge."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from celery import Celery
from celery.events.state import State

from bridge.client import Client
from bridge.flower_feed import FlowerFeed
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from tests.integration.bridge.conftest import OwnRedis, bridge_settings, running
from tests.site import Site


class Monitor:
    """Listens as Flower does."""

    def __init__(self, broker: str) -> None:
        self.state = State()
        self._heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._app = Celery("monitor", broker=broker, set_as_current=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._app.connection_for_read() as connection:
                    receiver = self._app.events.Receiver(connection, handlers={"*": self._hear})
                    while not self._stop.is_set():
                        try:
                            receiver.capture(limit=None, timeout=0.2, wakeup=False)
                        except TimeoutError:
                            continue
            except Exception:  # noqa: BLE001 - Redis away: listen again
                self._stop.wait(0.1)

    def _hear(self, event: dict[str, Any]) -> None:
        self.state.event(event)
        self._heard.put(event)

    def until(self, kind: str, task_id: str, again: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """The event of this kind for this job; `again` is done for as long as it has not come."""
        for _ in range(600):
            try:
                event = self._heard.get(timeout=0.1)
            except Empty:
                again()
                continue
            if event["type"] == kind and event["uuid"].startswith(task_id):
                return event
        raise AssertionError(f"no {kind} for {task_id}")

    @contextmanager
    def on(self, client: Client, prefix: str = "warm") -> Iterator[Monitor]:
        """Listening for sure: the first event has come."""
        self._thread.start()
        count = iter(range(1000))
        try:
            self.until("task-sent", prefix, lambda: client.assign({"task_id": f"{prefix}{next(count)}"}))
            yield self
        finally:
            self._stop.set()
            self._thread.join(10)
            self._app.close()


def flowering(settings: Settings) -> Settings:
    return bridge_settings(settings, flower_enabled=True)


@contextmanager
def watched(stores: Stores, settings: Settings) -> Iterator[tuple[Client, Monitor]]:
    """A bridge with its feed on, and a monitor that hears it."""
    with (
        running(stores, flowering(settings)) as address,
        Client(address) as client,
        Monitor(settings.celery_broker).on(client) as monitor,
    ):
        yield client, monitor


def test_a_waiting_job_appears_with_its_id_and_without_its_secrets(stores: Stores, settings: Settings) -> None:
    with watched(stores, settings) as (client, monitor):
        client.assign({"task_id": "t1", "env": {"A": "sesame"}, "secrets": {"B": "hunter2"}})
        event = monitor.until("task-sent", "t1")
    task = monitor.state.tasks["t1"]
    assert (task.state, task.name, task.args) == ("PENDING", "hivemind.run_job", "('t1',)")
    assert "hunter2" not in str(event)
    assert "sesame" not in str(event)


def test_a_job_cancelled_while_it_waits_is_revoked(stores: Stores, settings: Settings) -> None:
    with watched(stores, settings) as (client, monitor):
        client.assign({"task_id": "t1"})
        client.cancel("t1")
        assert monitor.until("task-revoked", "t1")["terminated"] is False
    assert monitor.state.tasks["t1"].state == "REVOKED"


def test_what_happens_to_a_held_job_is_its_workers_to_tell(stores: Stores, settings: Settings, site: Site) -> None:
    with watched(stores, settings) as (client, monitor):
        site.announce()
        site.end(site.start("held"), Cause.CANCELLED)
        client.assign({"task_id": "later"})
        monitor.until("task-sent", "later")
    assert monitor.state.tasks["held"].state == "PENDING"


def test_a_burst_arrives_whole(stores: Stores, settings: Settings) -> None:
    with watched(stores, settings) as (client, monitor):
        for number in range(300):
            client.assign({"task_id": f"b{number}"})
        client.assign({"task_id": "end"})
        monitor.until("task-sent", "end")
    assert {f"b{number}" for number in range(300)} <= set(monitor.state.tasks)


def test_the_feed_outlasts_an_outage_of_redis_and_catches_up(
    own_redis: OwnRedis, own_stores: tuple[Stores, Settings]
) -> None:
    stores, settings = own_stores
    with watched(stores, settings) as (client, monitor):
        own_redis.stop()
        own_redis.start()
        count = iter(range(1000))
        monitor.until("task-sent", "again", lambda: client.assign({"task_id": f"again{next(count)}"}))


def test_a_feed_that_begins_without_redis_goes_by_its_clock_and_not_by_the_machines(
    own_redis: OwnRedis, own_stores: tuple[Stores, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, settings = own_stores
    own_redis.stop()
    feed = FlowerFeed(stores, flowering(settings))
    ahead = time.time() + 3600
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: ahead)
        feed.start()
    try:
        own_redis.start()
        with (
            running(stores, settings) as address,
            Client(address) as client,
            Monitor(settings.celery_broker).on(client, "early"),
        ):
            pass
    finally:
        feed.stop(10)


def test_assignments_do_not_wait_for_a_feed_that_fails(stores: Stores, settings: Settings, monkeypatch: Any) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Celery is in trouble")

    monkeypatch.setattr("celery.Celery.connection_for_write", broken)
    with running(stores, flowering(settings)) as address, Client(address) as client:
        assert client.assign({"task_id": "t1"})["created"]
        assert client.cancel("t1")["accepted"]
