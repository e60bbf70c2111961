"""Server-sent events: frames as bytes, and the response that carries them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

#: seconds of silence after which a comment proves that the line is open; proxies cut at 30 to 60
KEEPALIVE = 15.0
HEARTBEAT = b": still here\n\n"


class Droppable(Protocol):
    """A member of the hub."""

    dropped: asyncio.Event


M = TypeVar("M", bound=Droppable)


def frame(event: str, data: Any, event_id: str | None = None) -> bytes:
    """One event. JSON on one line of ASCII, so nothing in it can end it early, whatever a reader takes for a line."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    body = json.dumps(data, separators=(",", ":"))
    return f"{head}event: {event}\ndata: {body}\n\n".encode()


class EventStream(StreamingResponse, Generic[M]):
    """Frames for one member of the hub, for as long as it is one.

    Ends with its frames, with its client, or when the member is dropped: then a write may be stuck, and is cancelled.
    """

    media_type = "text/event-stream"

    def __init__(self, membership: AbstractContextManager[M], frames: Callable[[M], AsyncIterator[bytes]]) -> None:
        super().__init__((), headers={"X-Accel-Buffering": "no"})
        self._membership = membership
        self._frames = frames
        self._dropped: asyncio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._membership as member:
            self._dropped = member.dropped
            self.body_iterator = self._frames(member)
            await super().__call__(scope, receive, send)

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Return when the client is gone or given up."""
        waits = [
            asyncio.create_task(super().listen_for_disconnect(receive)),
            asyncio.create_task(self._dropped.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
