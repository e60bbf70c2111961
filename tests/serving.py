"""The monitor behind a real socket: in a thread of the test, or as its own process."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
from fastapi import FastAPI

from hivemind_worker.bootstrap import Stores
from hivemind_worker.monitor.app import create_app
from hivemind_worker.monitor.context import Monitor
from hivemind_worker.monitor.schemas import Error
from hivemind_worker.monitor.server import Server, bind
from hivemind_worker.settings import Settings
from tests.processes import environment, process


class ThreadServer(Server):
    """Leaves the process' signals alone."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


@contextmanager
def serving(
    settings: Settings, stores: Stores, extend: Callable[[FastAPI], None] = lambda _: None
) -> Iterator[httpx.Client]:
    """A client of the application, served from this process. `extend` may add routes first."""
    loops: list[asyncio.AbstractEventLoop] = []

    def ready(monitor: Monitor) -> None:
        loops.append(asyncio.get_running_loop())
        server.hub = monitor.hub
        up.set()

    up = threading.Event()
    guarded, app = create_app(settings, stores, ready)
    extend(app)
    server = ThreadServer(guarded)
    listener = bind("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        assert up.wait(10), "the application did not start"
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
            yield client
    finally:
        loops[0].call_soon_threadsafe(server.stop)
        thread.join(10)
        listener.close()
    assert not thread.is_alive(), "the application did not stop"


@contextmanager
def monitor_process(settings: Settings, output: Path, **extra: str) -> Iterator[tuple[Popen[bytes], str]]:
    """`python -m hivemind_worker.monitor` on a free port: the process and its address, once it says it is ready."""
    env = environment(settings, HIVEMIND_API_PORT="0", **extra)
    output.touch()
    with process([sys.executable, "-m", "hivemind_worker.monitor"], env, output) as child, output.open() as lines:
        while not (found := re.search(r"monitor ready url=(\S+)", lines.readline())):
            assert child.poll() is None, output.read_text()
            threading.Event().wait(0.01)
        yield child, found[1]


def refused(api: httpx.Client, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str | None]:
    """Status, code and field of an error in its one shape."""
    response = api.request(method, path, headers=headers)
    error = Error.model_validate(response.json()).error
    assert error.message
    return response.status_code, error.code, error.field


class Events:
    """The events of one stream, read as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, str, Any]:
        """Id, name and data of the next event."""
        event_id, name = "", ""
        for line in self._lines:
            field, _, value = line.partition(": ")
            if field == "id":
                event_id = value
            elif field == "event":
                name = value
            elif field == "data":
                return event_id, name, json.loads(value)
        raise EOFError

    def until(self, wanted: str, **having: Any) -> tuple[str, Any]:
        """The next event of this name whose data has these values; others are passed over."""
        while True:
            event_id, name, data = self.next()
            if name == wanted and all(data.get(key) == value for key, value in having.items()):
                return event_id, data

    def rest(self) -> list[str]:
        """The names of all events until the stream ends in order."""
        names = []
        while True:
            try:
                names.append(self.next()[1])
            except EOFError:
                return names


@contextmanager
def watching(url: str, path: str, **headers: str) -> Iterator[Events]:
    """The events of one stream, from a client of its own."""
    with httpx.Client(base_url=url, timeout=20) as client, client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)
