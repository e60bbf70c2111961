"""A job's log on its way out: chunks from any number on, gaps named, and the artifact's copy when no chunk is kept."""

from __future__ import annotations

import asyncio
import contextlib
import zipfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import IO, Any

from google.protobuf.timestamp_pb2 import Timestamp

from bridge.changes import Changes
from bridge.wire.hivemind.v1 import task_pb2
from hivemind_worker.delivery.absence import why_no_log
from hivemind_worker.domain.errors import NotFound
from hivemind_worker.domain.job import Job
from hivemind_worker.store.blobs import BlobStore
from hivemind_worker.store.logs import Chunk

LOG_FILE = "execution_log.txt"
#: bytes of the artifact's log in one message
_PIECE = 64 * 1024

ReadJob = Callable[[str], Awaitable[Job]]
#: (task_id, first number) → chunks, empty at the end
ReadChunks = Callable[[tuple[str, int]], Awaitable[Sequence[Chunk]]]


class LogStream:
    """Sends logs. Holds nothing of a job between two reads, so a thousand followers are cheap."""

    def __init__(
        self, read_job: ReadJob, read_chunks: ReadChunks, changes: Changes, artifacts: BlobStore, executor: Executor
    ) -> None:
        self._read_job = read_job
        self._read_chunks = read_chunks
        self._changes = changes
        self._artifacts = artifacts
        self._executor = executor

    async def send(
        self, task_id: str, first: int, *, follow: bool, found: Callable[[], Awaitable[object]] | None = None
    ) -> AsyncGenerator[task_pb2.LogChunk, None]:
        """Chunks from number `first` (1 begins) on; with `follow` until the job has ended. Raises NotFound.

        `found` is awaited once the job is known, before any chunk.
        """
        with self._changes.follow(task_id) as follower:
            job = await self._read_job(task_id)
            if found is not None:
                await found()
            begin, number = first, first
            while True:
                # Read after the job: what an ended job has written is all there by now.
                while chunks := await self._read_chunks((task_id, number)):
                    for chunk in chunks:
                        if chunk.number > number:
                            yield gap(task_id, number, chunk)
                        yield message(chunk)
                        number = chunk.number + 1
                if job.state.terminal or not follow:
                    break
                await follower.wait()
                if follower.state_changed():
                    job = await self._read_job(task_id)
        if number == begin and job.state.terminal:
            sent = False
            async for piece in self._from_artifact(job, begin):
                sent = True
                yield piece
            if job.archived is not None and begin == 1 and not sent:
                raise NotFound(why_no_log(job))

    async def _from_artifact(self, job: Job, first: int) -> AsyncGenerator[task_pb2.LogChunk, None]:
        """The log as the artifact holds it, numbered in pieces. Nothing where chunks are kept, or no artifact is."""
        if job.outcome is None or job.outcome.artifact is None or await self._read_chunks((job.task_id, 1)):
            return
        loop = asyncio.get_running_loop()
        file = await loop.run_in_executor(self._executor, _open_log, self._artifacts, job.outcome.artifact.sha256)
        if file is None:
            return
        try:
            number = 0
            while data := await loop.run_in_executor(self._executor, file.read, _PIECE):
                number += 1
                if number >= first:
                    yield task_pb2.LogChunk(
                        number=number, stream=task_pb2.LogChunk.STDOUT, data=data, attempt=job.attempt
                    )
        finally:
            file.close()


def message(chunk: Chunk) -> task_pb2.LogChunk:
    """One chunk as it goes over the wire."""
    stream: Any = int(chunk.stream)
    return task_pb2.LogChunk(
        number=chunk.number,
        stream=stream,
        data=chunk.data,
        time=_stamp(chunk.at),
        attempt=chunk.attempt,
    )


def gap(task_id: str, wanted: int, found: Chunk) -> task_pb2.LogChunk:
    """The node's word for chunks that are gone. It has the last lost number, so that a resume goes on behind it."""
    lost = found.number - wanted
    text = (
        f"[hivemind] {lost} log chunk{'s' if lost > 1 else ''} from number {wanted} on "
        f"{'are' if lost > 1 else 'is'} no longer kept here; once the job has ended, "
        f"`hivemind fetch {task_id} DIR` brings the whole log\n"
    )
    return task_pb2.LogChunk(
        number=found.number - 1,
        stream=task_pb2.LogChunk.NOTICE,
        data=text.encode(),
        time=_stamp(found.at),
        attempt=found.attempt,
    )


def _stamp(milliseconds: int) -> Timestamp:
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


class _LogFile:
    """The log within an artifact, open. Raises NotFound, KeyError, BadZipFile when it is not to be had."""

    def __init__(self, artifacts: BlobStore, sha256: str) -> None:
        with contextlib.ExitStack() as opened:
            zipped = opened.enter_context(zipfile.ZipFile(opened.enter_context(artifacts.open(sha256))))
            self._file: IO[bytes] = opened.enter_context(zipped.open(LOG_FILE))
            self._opened = opened.pop_all()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        return self._file.read(size)

    def close(self) -> None:
        """Close the file, its zip and the blob."""
        self._opened.close()


def _open_log(artifacts: BlobStore, sha256: str) -> _LogFile | None:
    """The log in the artifact; None when it, or the artifact, is gone."""
    try:
        return _LogFile(artifacts, sha256)
    except (NotFound, KeyError, zipfile.BadZipFile):
        return None
