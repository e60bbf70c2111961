"""A bridge in this process, on a port of its own, and a Redis that a test may kill."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge.client import Client
from bridge.server import Bridge
from bridge.wire.hivemind.v1 import node_pb2_grpc, task_pb2_grpc
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.settings import Settings, load_settings
from tests.conftest import valkey_binary
from tests.master import Master


@contextmanager
def running(stores: Stores, settings: Settings) -> Iterator[str]:
    """A bridge on an event loop of its own; its address."""
    ready: asyncio.Queue[Any] | Any = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        bridge = Bridge(stores, settings)
        found["told"], found["loop"] = asyncio.Event(), asyncio.get_running_loop()
        try:
            found["port"] = await bridge.start()
        finally:
            ready.set()
        try:
            await found["told"].wait()
        finally:
            await bridge.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield f"127.0.0.1:{found['port']}"
    finally:
        found["loop"].call_soon_threadsafe(found["told"].set)
        thread.join(20)
        assert not thread.is_alive()


def bridge_settings(base: Settings, **given: Any) -> Settings:
    """The node's settings with a free port, and no Flower unless asked for."""
    fixed = {"state": base.state, "redis_url": base.redis, "node_id": base.node_id, "bridge_port": 0}
    return load_settings(**{**fixed, "flower_enabled": False, **given})


@pytest.fixture
def address(stores: Stores, settings: Settings) -> Iterator[str]:
    """A bridge that runs."""
    with running(stores, bridge_settings(settings)) as found:
        yield found


@pytest.fixture
def bridge(address: str) -> Iterator[Client]:
    """A client of it."""
    with Client(address) as client:
        yield client


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    """A bare channel to it."""
    with grpc.insecure_channel(address) as opened:
        yield opened


@pytest.fixture
def tasks(channel: grpc.Channel) -> task_pb2_grpc.TaskServiceStub:
    """The generated stub, as any master would use it."""
    return task_pb2_grpc.TaskServiceStub(channel)


@pytest.fixture
def nodes(channel: grpc.Channel) -> node_pb2_grpc.NodeControlServiceStub:
    """The generated stub, as any master would use it."""
    return node_pb2_grpc.NodeControlServiceStub(channel)


@pytest.fixture
def master() -> Iterator[Master]:
    """One that answers."""
    found = Master()
    found.up()
    yield found
    found.down()


class OwnRedis:
    """A Redis that keeps its data over a restart. A test may stop it, freeze it and start it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/r.sock"
        self._server: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Up when this returns."""
        command = [str(valkey_binary()), "--port", "0", "--unixsocket", f"{self._folder}/r.sock"]
        command += ["--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if "accept connections" in line:
                return
        pytest.fail("valkey-server did not start")

    def stop(self) -> None:
        """Gone when this returns."""
        if self._server is not None:
            self._server.send_signal(signal.SIGCONT)
            self._server.terminate()
            self._server.wait(10)
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._server = None

    def freeze(self) -> None:
        """It answers no more, and hangs up on nobody."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """One that runs."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = OwnRedis(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_stores(own_redis: OwnRedis, tmp_path: Path) -> Iterator[tuple[Stores, Settings]]:
    """Stores on it, and the settings of a bridge that goes with them."""
    chosen = load_settings(
        state=tmp_path / "own", redis_url=own_redis.url, node_id="n1", bridge_port=0, flower_enabled=False
    )
    opened = open_stores(chosen)
    yield opened, chosen
    opened.close()


@contextmanager
def refused(code: str, field: str | None = None, says: str = "") -> Iterator[None]:
    """The call inside must fail with this code, blame this field, and say this."""
    from bridge.client import CallError

    with pytest.raises(CallError) as caught:
        yield
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.message
    assert says in caught.value.message
    assert "Traceback" not in caught.value.message
