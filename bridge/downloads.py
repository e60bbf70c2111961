"""Artifacts on their way out: streamed from any offset, never whole in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor

from bridge.options import CHUNK
from bridge.status import NotReady
from bridge.wire.hivemind.v1 import task_pb2
from hivemind_worker.delivery.absence import why_absent
from hivemind_worker.domain.errors import InvalidField, NotFound
from hivemind_worker.domain.job import Job
from hivemind_worker.domain.outcome import BlobRef
from hivemind_worker.store.blobs import BlobStore


def artifact_of(job: Job) -> BlobRef:
    """The artifact of a job that has ended. Raises NotReady, saying what is missing."""
    if job.outcome is None:
        raise NotReady(f"job {job.task_id} has not ended, it is {job.state.value}; its artifact comes with its end")
    if job.outcome.artifact is None:
        said = f": {job.outcome.evidence}" if job.outcome.evidence else ""
        raise NotReady(f"job {job.task_id} ended without an artifact ({job.outcome.cause.value}{said})")
    return job.outcome.artifact


async def send_artifact(
    job: Job, offset: int, artifacts: BlobStore, executor: Executor, node_id: str
) -> AsyncGenerator[task_pb2.DownloadResultResponse, None]:
    """The artifact's messages, the first with digest and size; `node_id` is this bridge's node.

    Raises NotReady, NotFound, InvalidField.
    """
    ref = artifact_of(job)
    if not 0 <= offset <= ref.size:
        raise InvalidField("offset", f"{offset} is not within 0 and the artifact's size, {ref.size}")
    loop = asyncio.get_running_loop()
    try:
        file = await loop.run_in_executor(executor, artifacts.open, ref.sha256, offset)
    except NotFound:
        raise NotFound(why_absent(job, node_id)) from None
    try:
        data = await loop.run_in_executor(executor, file.read, CHUNK)
        yield task_pb2.DownloadResultResponse(sha256=ref.sha256, size=ref.size, chunk=data)
        while data:
            data = await loop.run_in_executor(executor, file.read, CHUNK)
            if data:
                yield task_pb2.DownloadResultResponse(chunk=data)
    finally:
        file.close()
