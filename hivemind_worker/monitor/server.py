"""The web server: uvicorn without its clock, its signals or its logs; ends open streams before it stops."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from hivemind_worker.monitor.hub import Hub


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, then ends within about a second, and returns."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                limit_concurrency=512,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
            )
        )
        self.hub: Hub | None = None
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin to end. Call it in the server's loop."""
        self._stop.set()

    async def main_loop(self) -> None:
        """Wait to be stopped. (uvicorn would look ten times a second.)"""
        await self._stop.wait()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams in order, then the rest."""
        if self.hub is not None:
            self.hub.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal, and do not raise it again afterwards: a stop that was asked for is no failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def bind(host: str, port: int) -> socket.socket:
    """A listening address of our own. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    server = socket.socket(family, kind, protocol)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(128)
    except OSError:
        server.close()
        raise
    server.setblocking(False)
    return server
