"""The live feed: server-sent events of everything that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from anyio import move_on_after, to_thread
from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response

from hivemind_worker.domain.errors import InvalidField, StoreUnavailable
from hivemind_worker.monitor.context import Monitor, TheMonitor
from hivemind_worker.monitor.feed import MAX_EVENTS, event_view, state_frame
from hivemind_worker.monitor.hub import Watcher
from hivemind_worker.monitor.routes.answers import answers
from hivemind_worker.monitor.schemas import Changes
from hivemind_worker.monitor.sse import HEARTBEAT, KEEPALIVE, EventStream, frame
from hivemind_worker.store.events import order

router = APIRouter(tags=["events"])

#: seconds that a stream's beginning waits for Redis
PATIENCE = 2.0


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
    after, newest = _resume_point(last_event_id), ""
    # Without an answer the stream begins all the same: the feed tells that Redis is away, and that it is back.
    with suppress(StoreUnavailable), move_on_after(PATIENCE):
        newest = await to_thread.run_sync(monitor.stores.events.last_id, abandon_on_cancel=True)
    return EventStream(monitor.hub.watch(newest), lambda watcher: _frames(monitor, watcher, after or newest))


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
    """State changes since an id; None when they cannot be told one by one."""
    try:
        if order(after) > order(monitor.stores.events.last_id()):
            return None
        found = monitor.stores.events.read(after, block=0, count=MAX_EVENTS)
    except StoreUnavailable:
        return None
    return [(event.id, state_frame(event)) for event in found] if len(found) < MAX_EVENTS else None


async def _frames(monitor: Monitor, watcher: Watcher, after: str) -> AsyncIterator[bytes]:
    """What came before this watcher took part and after `after`, then what comes. What is in both is told once."""
    yield b"retry: 2000\n\n" + b"".join(monitor.hub.greeting.values())
    last = (0, 0)
    if after:
        missed = await to_thread.run_sync(_missed, monitor, after)
        if missed is None:
            yield frame("resync", {})
        else:
            yield b"".join(text for _, text in missed)
            last = order(missed[-1][0] if missed else after)
    while not watcher.closed:
        batch = await watcher.next(KEEPALIVE)
        if batch is None:
            if not watcher.closed:
                yield HEARTBEAT
            continue
        fresh = [text for event_id, text in batch.states if order(event_id) > last]
        yield b"".join(fresh) + batch.frames
