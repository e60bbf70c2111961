"""A job's artifact: the zip, streamed, from any byte on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse

from hivemind_worker.delivery.absence import why_absent
from hivemind_worker.domain.assignment import check_task_id
from hivemind_worker.domain.errors import NotFound
from hivemind_worker.domain.outcome import BlobRef
from hivemind_worker.monitor.context import Monitor, TheMonitor
from hivemind_worker.monitor.errors import error_response
from hivemind_worker.monitor.ranges import Span, Unsatisfiable, parse_range
from hivemind_worker.monitor.routes.answers import TaskId, answers

router = APIRouter(tags=["tasks"])

CHUNK = 256 * 1024


@router.get(
    "/api/tasks/{task_id}/artifact",
    response_class=Response,
    responses={
        **answers(None, 404, 416),
        200: {"content": {"application/zip": {}}},
        206: {"description": "The part that `Range` asked for", "content": {"application/zip": {}}},
    },
)
async def artifact(
    request: Request,
    monitor: TheMonitor,
    task_id: TaskId,
    range_: Annotated[str, Header(alias="range")] = "",
    if_range: Annotated[str, Header()] = "",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """The result zip: what the job wrote, with execution_log.txt and outcome.json. One range per call."""
    ref = await to_thread.run_sync(_ref, monitor, check_task_id(task_id))
    tag = f'"{ref.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{task_id}.zip"',
    }
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    try:
        span = parse_range(range_ if if_range in ("", tag) else "", ref.size)
    except Unsatisfiable:
        refused = {"Content-Range": f"bytes */{ref.size}"}
        return error_response(416, "range", f"the artifact has {ref.size} bytes", "Range", refused)
    part = span or Span(0, ref.size)
    if span:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{ref.size}"
    headers["Content-Length"] = str(part.end - part.start)
    status = 206 if span else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/zip")
    return StreamingResponse(_pieces(monitor, ref, part), status, headers, media_type="application/zip")


router.add_api_route("/api/tasks/{task_id}/artifact", artifact, methods=["HEAD"], include_in_schema=False)


def _ref(monitor: Monitor, task_id: str) -> BlobRef:
    """What the job's record says. Raises NotFound."""
    job = monitor.stores.catalogue.get(task_id)
    if job.outcome is None or job.outcome.artifact is None:
        raise NotFound(f"{task_id} has no artifact; it is {job.state.value}")
    ref = job.outcome.artifact
    if not monitor.stores.artifacts.exists(ref.sha256):
        raise NotFound(why_absent(job, monitor.settings.node_id))
    return ref


async def _pieces(monitor: Monitor, ref: BlobRef, part: Span) -> AsyncIterator[bytes]:
    file, left = await to_thread.run_sync(monitor.stores.artifacts.open, ref.sha256, part.start), part.end - part.start
    try:
        while left > 0 and (data := await to_thread.run_sync(file.read, min(CHUNK, left))):
            left -= len(data)
            yield data
    finally:
        file.close()
