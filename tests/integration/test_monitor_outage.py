"""The monitor while Redis is away: it says so, holds up nobody, and recovers by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hivemind_worker.bootstrap import open_stores
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings, load_settings
from tests.processes import eventually
from tests.redis_server import OwnRedis
from tests.serving import monitor_process, watching
from tests.site import Site


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    server.up()
    try:
        yield server
    finally:
        server.down()


@pytest.fixture
def own_settings(own_redis: OwnRedis, tmp_path: Path) -> Settings:
    return load_settings(state=tmp_path / "state", redis_url=own_redis.url, node_id="n1")


@pytest.fixture
def site(own_settings: Settings) -> Iterator[Site]:
    opened = open_stores(own_settings)
    yield Site(opened)
    opened.close()


def test_while_redis_is_away_calls_say_so_and_all_recovers_by_itself(
    own_redis: OwnRedis, own_settings: Settings, site: Site, tmp_path: Path
) -> None:
    site.announce()
    job = site.start()
    output = tmp_path / "monitor.log"
    with (
        monitor_process(own_settings, output) as (_, address),
        httpx.Client(base_url=address, timeout=20) as client,
        watching(address, "/api/events") as events,
        watching(address, "/api/tasks/t1/logs?follow=1") as log,
    ):
        events.until("nodes")
        own_redis.down()
        events.until("store", state="away")
        log.until("store", state="away")
        refused = client.get("/api/tasks")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_away")
        assert refused.headers["retry-after"]
        assert client.post("/api/tasks/t1/stop").status_code == 503
        health = client.get("/health")
        assert (health.status_code, health.json()["checks"]["redis"]["status"]) == (503, "fail")
        assert "hivemind_redis_up 0.0" in client.get("/metrics").text
        assert client.get("/dashboard").status_code == 200
        own_redis.up()
        events.until("store", state="up")
        log.until("store", state="up")
        site.write("t1", b"after\n")
        site.end(job)
        assert log.until("chunk")[1]["text"] == "after\n"
        log.until("end", state="completed")
        events.until("state", state=State.COMPLETED.value)
    assert "Traceback" not in output.read_text()


def test_started_before_redis_it_waits_for_it(own_redis: OwnRedis, own_settings: Settings, tmp_path: Path) -> None:
    own_redis.down()
    with (
        monitor_process(own_settings, tmp_path / "monitor.log") as (_, address),
        watching(address, "/api/events") as events,
    ):
        events.until("store", state="away")
        own_redis.up()
        events.until("store", state="up")
        assert httpx.get(f"{address}/api/status").status_code == 200


def test_a_frozen_redis_holds_up_neither_health_nor_metrics_nor_the_end(
    own_redis: OwnRedis, own_settings: Settings, site: Site, tmp_path: Path
) -> None:
    site.announce()
    site.start()
    with (
        monitor_process(own_settings, tmp_path / "monitor.log") as (child, address),
        watching(address, "/api/events") as events,
    ):
        events.until("nodes")
        own_redis.signal(signal.SIGSTOP)
        try:
            for _ in range(3):
                found = httpx.get(f"{address}/health", timeout=20).json()["checks"]["redis"]
                assert found == {"status": "fail", "detail": "no answer within 2 s", "warnings": []}
            with ThreadPoolExecutor(1) as aside:
                waits_for_redis = aside.submit(httpx.get, f"{address}/api/nodes", timeout=60)
                for _ in range(2):  # one alone might end with the call aside by chance
                    assert "hivemind_redis_up 0.0" in httpx.get(f"{address}/metrics", timeout=60).text
                assert not waits_for_redis.done()
                for _ in range(3):  # with those above, more than there are threads for it
                    assert "hivemind_build_info" in httpx.get(f"{address}/metrics", timeout=60).text
            child.terminate()
            assert child.wait(10) == 0
        finally:
            own_redis.signal(signal.SIGCONT)


def test_metrics_come_back_with_a_redis_that_was_frozen(
    own_redis: OwnRedis, own_settings: Settings, site: Site, tmp_path: Path
) -> None:
    site.announce()
    with monitor_process(own_settings, tmp_path / "monitor.log") as (_, address):
        own_redis.signal(signal.SIGSTOP)
        try:
            assert "hivemind_redis_up 0.0" in httpx.get(f"{address}/metrics", timeout=20).text
        finally:
            own_redis.signal(signal.SIGCONT)
        eventually(lambda: "hivemind_redis_up 1.0" in httpx.get(f"{address}/metrics", timeout=20).text)
