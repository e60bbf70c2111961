"""A door to Redis for one node or worker, which the nemesis may shut in two ways: with a bang, or without a word."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal

#: pass: all through · refuse: connections break and no new one is taken · mute: nothing comes through, nothing breaks
Mode = Literal["pass", "refuse", "mute"]


class Proxies:
    """All doors, in one event loop of their own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self.doors: dict[str, Door] = {}

    def open(self, name: str, port: int) -> None:
        """A door on a port of 127.0.0.1."""
        self.doors[name] = door = Door(port, self._target)
        self._do(door.listen())

    def set(self, name: str, mode: Mode) -> None:
        """Change a door."""
        self._do(self.doors[name].set(mode))

    def close(self) -> None:
        """Shut all of them."""
        for door in self.doors.values():
            self._do(door.set("refuse"))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


class Door:
    """One listening port. Lives in the loop's thread."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._open = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Take connections."""
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def set(self, mode: Mode) -> None:
        """Open, shut, or fall silent."""
        if mode == "mute":
            self._open.clear()
            return
        if mode == "pass":
            self._open.set()
            if self._server is None:
                await self.listen()
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            _reset(writer)
        self._open.set()  # whoever was silenced finds its connection gone

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far_writer = None
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            ways = [self._copy(reader, far_writer), self._copy(far_reader, writer)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
        except OSError:
            pass
        finally:
            for one in (writer, far_writer):
                if one is not None:
                    self._writers.discard(one)
                    _reset(one)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection as a peer does that is gone."""
    transport = writer.transport
    raw: Callable[[str], Any] = transport.get_extra_info
    if (connected := raw("socket")) is not None:
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    transport.abort()
