"""The live feed: server-sent events of everything that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response

from hivemind_worker.domain.errors import InvalidField
from hivemind_worker.monitor.context import Monitor, TheMonitor
from hivemind_worker.monitor.feed import MAX_EVENTS, event_view, order, state_frame
from hivemind_worker.monitor.hub import Watcher
from hivemind_worker.monitor.routes.answers import answers
from hivemind_worker.monitor.schemas import Changes
from hivemind_worker.monitor.sse import HEARTBEAT, KEEPALIVE, EventStream, frame

router = APIRouter(tags=["events"])


@router.get(
    "/api/events",
    response_class=Response,
    responses={**answers(), 200: {"content": {"text/event-stream": {}}}},
)
async def events(monitor: TheMonitor, last_event_id: Annotated[str, Header(max_length=64)] = "") -> Response:
    """Server-sent events, until the client leaves.

    `state` (with an id: a reconnect resumes after `Last-Event-ID`): one change of state ·
    `tasks`: the jobs that changed, as GET /api/tasks shows them; `reload` true: more than fit, load them anew ·
    `nodes`: every 2 s, as GET /api/nodes shows them · `store`: Redis is `up` or `away` ·
    `resync`: changes were missed, load everything anew.
    """
    after = _resume_point(last_event_id)
    missed = await to_thread.run_sync(_missed, monitor, after) if after else []

    def frames(watcher: Watcher) -> AsyncIterator[bytes]:
        return _frames(monitor, watcher, after, missed)

    return EventStream(monitor.hub.watch(), frames)


@router.get("/api/events/recent", responses=answers(Changes))
def recent(monitor: TheMonitor, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JSONResponse:
    """The newest changes of state, newest first."""
    return JSONResponse({"events": [event_view(event) for event in monitor.stores.events.recent(limit)]})


def _resume_point(last_event_id: str) -> str:
    if not last_event_id:
        return ""
    try:
        milliseconds, sequence = order(last_event_id)
    except ValueError:
        raise InvalidField("Last-Event-ID", "is not one that a stream before gave") from None
    return f"{milliseconds}-{sequence}"


def _missed(monitor: Monitor, after: str) -> list[tuple[str, bytes]] | None:
    """State changes since an id; None when they are too many or the oldest of them may be gone."""
    if order(after) > order(monitor.stores.events.last_id()):
        return None
    found = monitor.stores.events.read(after, block=0, count=MAX_EVENTS)
    return [(event.id, state_frame(event)) for event in found] if len(found) < MAX_EVENTS else None


async def _frames(
    monitor: Monitor, watcher: Watcher, after: str, missed: list[tuple[str, bytes]] | None
) -> AsyncIterator[bytes]:
    """What was missed, then what comes. What lies in both is told once."""
    last = order(after) if after else (0, 0)
    yield b"retry: 2000\n\n" + b"".join(monitor.hub.greeting.values())
    if missed is None:
        yield frame("resync", {})
        last = (0, 0)
    elif missed:
        yield b"".join(text for _, text in missed)
        last = order(missed[-1][0])
    while not watcher.closed:
        batch = await watcher.next(KEEPALIVE)
        if batch is None:
            if not watcher.closed:
                yield HEARTBEAT
            continue
        fresh = [text for event_id, text in batch.states if order(event_id) > last]
        yield b"".join(fresh) + batch.frames
