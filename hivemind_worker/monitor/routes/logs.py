"""A job's log: a piece of it as JSON or plain text, or followed live."""

from __future__ import annotations

import base64
import codecs
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse

from hivemind_worker.domain.assignment import check_task_id
from hivemind_worker.domain.errors import InvalidField, NotFound, StoreUnavailable
from hivemind_worker.domain.job import Job, iso
from hivemind_worker.monitor.context import Monitor, TheMonitor
from hivemind_worker.monitor.hub import Follower
from hivemind_worker.monitor.routes.answers import TaskId, answers
from hivemind_worker.monitor.schemas import Log
from hivemind_worker.monitor.sse import HEARTBEAT, KEEPALIVE, EventStream, frame
from hivemind_worker.store.logs import Chunk, Stream

router = APIRouter(tags=["tasks"])

#: bytes of output in one JSON answer, about; the rest is asked for with `next`
PAGE_BYTES = 4 * 1024 * 1024
#: seconds between two looks at Redis while it is away
RETRY = 2.0

Encoding = Literal["text", "base64"]


@router.get("/api/tasks/{task_id}/logs", response_class=Response, responses=answers(Log, 404))
async def logs(
    monitor: TheMonitor,
    task_id: TaskId,
    first: Annotated[int, Query(alias="from", ge=0, description="First chunk wanted; 0 or 1: the first")] = 0,
    follow: Annotated[bool, Query(description="Server-sent events until the job has ended")] = False,
    encoding: Annotated[Encoding, Query(description="`base64` is exact for output that is not UTF-8")] = "text",
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[str, Header(description="Resume a followed log after this chunk")] = "",
) -> Response:
    """The live tail of a job's log; the artifact holds the whole of it.

    JSON by default; with `Accept: text/plain` the bytes as the job wrote them. Followed: events `chunk` with the
    chunk's number as id, then one `end` with the job's state, cause and exit code, then the stream closes.
    """
    task_id = check_task_id(task_id)
    job = await to_thread.run_sync(monitor.stores.catalogue.get, task_id)
    if job.archived is not None:
        raise NotFound(f"the log of {task_id} is gone; if its artifact is kept, the artifact has it")
    if follow:
        wanted = _after(last_event_id) or max(first, 1)
        return EventStream(
            monitor.hub.follow(task_id), lambda follower: _follow(monitor, follower, task_id, wanted, encoding)
        )
    if accept.startswith("text/plain"):
        return StreamingResponse(_plain(monitor, task_id, first), media_type="text/plain; charset=utf-8")
    return JSONResponse(await to_thread.run_sync(_page, monitor, job, max(first, 1), encoding))


def _after(last_event_id: str) -> int:
    """The chunk after the one that came last; 0 without one."""
    if not last_event_id:
        return 0
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise InvalidField("Last-Event-ID", "is not a chunk's number")
    return int(last_event_id) + 1


class Reader:
    """Turns chunks into what is sent. A character split between two chunks of one stream comes out whole."""

    def __init__(self, encoding: Encoding) -> None:
        self._exact = encoding == "base64"
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in Stream}

    def view(self, chunk: Chunk) -> dict[str, Any]:
        """One chunk as the outside sees it."""
        head = {
            "number": chunk.number,
            "stream": chunk.stream.name.lower(),
            "time": iso(chunk.at),
            "attempt": chunk.attempt,
        }
        if self._exact:
            return {**head, "data": base64.b64encode(chunk.data).decode("ascii")}
        return {**head, "text": self._decoders[chunk.stream].decode(chunk.data)}


def _chunks(monitor: Monitor, task_id: str, first: int) -> Iterator[Chunk]:
    """Chunks from a number on, as many as are there now."""
    while found := monitor.stores.logs.read(task_id, first):
        yield from found
        first = found[-1].number + 1


def _page(monitor: Monitor, job: Job, first: int, encoding: Encoding) -> dict[str, Any]:
    reader, size, views, whole = Reader(encoding), 0, [], True
    for chunk in _chunks(monitor, job.task_id, first):
        if size > PAGE_BYTES:
            whole = False
            break
        size += len(chunk.data)
        views.append(reader.view(chunk))
    after = views[-1]["number"] + 1 if views else first
    return {"task_id": job.task_id, "chunks": views, "next": after, "ended": whole and job.state.terminal}


async def _plain(monitor: Monitor, task_id: str, first: int) -> AsyncIterator[bytes]:
    while found := await to_thread.run_sync(monitor.stores.logs.read, task_id, first):
        for chunk in found:
            yield chunk.data
        first = found[-1].number + 1


async def _follow(
    monitor: Monitor, follower: Follower, task_id: str, first: int, encoding: Encoding
) -> AsyncIterator[bytes]:
    """Every chunk once, in order, then the end. The job is read before its log: what it wrote last is not missed."""
    reader, jobs, log = Reader(encoding), monitor.stores.jobs, monitor.stores.logs
    away = False
    yield b"retry: 2000\n\n"
    while not follower.closed:
        try:
            job = await to_thread.run_sync(jobs.get, task_id)
            found = await to_thread.run_sync(log.read, task_id, first)
        except StoreUnavailable:
            if not away:
                yield frame("store", {"state": "away"})
            away = True
            await follower.wait(RETRY)
            continue
        except NotFound:
            yield frame("end", {"state": None, "cause": None, "exit_code": None})
            return
        if away:
            away = False
            yield frame("store", {"state": "up"})
        if found:
            yield b"".join(frame("chunk", reader.view(chunk), str(chunk.number)) for chunk in found)
            first = found[-1].number + 1
        elif job.state.terminal:
            outcome = job.outcome
            cause, code = (outcome.cause.value, outcome.exit_code) if outcome else (None, None)
            yield frame("end", {"state": job.state.value, "cause": cause, "exit_code": code})
            return
        elif not await follower.wait(KEEPALIVE):
            yield HEARTBEAT
