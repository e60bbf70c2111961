"""The client's streams: each picks up where it was when the bridge went away, while the client has patience."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from bridge.call_error import CallError
from bridge.client import Client, LogLine, Progress
from bridge.options import CHUNK, OPENED
from bridge.plain import iso, plain
from bridge.wire.hivemind.v1 import task_pb2

#: seconds of an outage after which it is worth a word; a restart of the bridge takes less
SAID_AFTER = 3.0
#: seconds that a stream must have been open to count as found again although nothing came: longer than a connection
#: takes to fail
OPEN = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class _Patience:
    """How long to pause before the next try, what to say of it, and when to stop trying."""

    def __init__(self, client: Client) -> None:
        self._limit, self._tell = client.patience, client.on_outage
        self._tried = time.monotonic()
        self._told = False
        self._start_over()

    def progress(self) -> None:
        """Something came: the bridge is there."""
        if self._told and self._tell is not None:
            self._tell(None)
        self._told = False
        self._start_over()

    def _start_over(self) -> None:
        self._pause = _FIRST_PAUSE
        #: since when the bridge is away
        self._since: float | None = None

    def pause(self, error: CallError) -> None:
        """Wait before the next try. Raises `error` when trying again makes no sense, or has lasted too long.

        A job may be silent for hours: what counts is for how long the bridge has been away, not the silence before.
        """
        now = time.monotonic()
        if now - self._tried > OPEN:
            self._start_over()
        if self._since is None:
            self._since = now
        away = now + self._pause - self._since
        if error.code != "UNAVAILABLE" or (self._limit is not None and away > self._limit):
            raise error
        if away > SAID_AFTER and not self._told and self._tell is not None:
            self._told = True
            self._tell(error)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._tried = time.monotonic()


def _messages(
    client: Client, method: str, request: Any, response: Any, opened: Callable[[], None] | None = None
) -> Iterator[Any]:
    """One stream's messages; ends it when left early. `opened` is called once the bridge says so. Raises CallError."""
    call = client.stream(method, request, response)
    try:
        if opened is not None and OPENED in {(key, value) for key, value in client.named(call.initial_metadata)}:
            opened()
        while (message := client.named(lambda: next(call, None))) is not None:
            yield message
    finally:
        call.cancel()


def watch(client: Client, task_id: str) -> Iterator[dict[str, Any]]:
    """See Client.watch."""
    patience, last = _Patience(client), None
    while True:
        try:
            for message in _messages(client, "WatchTask", task_pb2.WatchTaskRequest(task_id=task_id), task_pb2.Task):
                patience.progress()
                view = plain(message)
                if view != last:
                    yield view
                    last = view
            return
        except CallError as error:
            patience.pause(error)


def logs(client: Client, task_id: str, first: int, *, follow: bool) -> Iterator[LogLine]:
    """See Client.logs."""
    patience, number = _Patience(client), first
    names = task_pb2.LogChunk.Stream
    while True:
        request = task_pb2.StreamLogsRequest(task_id=task_id, from_chunk=number, follow=follow)
        try:
            opened = patience.progress if follow else None
            for chunk in _messages(client, "StreamLogs", request, task_pb2.LogChunk, opened):
                patience.progress()
                when = iso(chunk.time) if chunk.HasField("time") else None
                yield LogLine(chunk.number, names.Name(chunk.stream).lower(), chunk.data, when, chunk.attempt)
                number = chunk.number + 1
            return
        except CallError as error:
            patience.pause(error)


def upload(client: Client, path: Path, on_progress: Progress | None) -> str:
    """See Client.upload."""
    try:
        sha256, size = _digest(path)
    except OSError as error:
        raise CallError("INVALID_ARGUMENT", f"bundle: cannot read {path}: {error.strerror}", "bundle") from None

    def requests() -> Iterator[task_pb2.UploadBundleRequest]:
        yield task_pb2.UploadBundleRequest(expected_sha256=sha256, expected_size=size)
        sent = 0
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield task_pb2.UploadBundleRequest(chunk=data)
                sent += len(data)
                if on_progress is not None:
                    on_progress(sent, size)

    answer = client.send("UploadBundle", requests(), task_pb2.UploadBundleRequest, task_pb2.UploadBundleResponse, size)
    if on_progress is not None:
        on_progress(size, size)
    return str(answer.sha256)


def download(client: Client, task_id: str, target: Path, on_progress: Progress | None) -> dict[str, Any]:
    """See Client.download. A partial file stays beside the target as .part, for the next try."""
    try:
        return _download(client, task_id, target, on_progress)
    except OSError as error:
        raise CallError("FAILED_PRECONDITION", f"cannot write {target}: {error.strerror}") from None


def _download(client: Client, task_id: str, target: Path, on_progress: Progress | None) -> dict[str, Any]:
    part = target.with_name(target.name + ".part")
    patience = _Patience(client)
    while True:
        held = part.stat().st_size if part.exists() else 0
        try:
            sha256, size = _receive(client, task_id, part, held, on_progress, patience)
        except CallError as error:
            if held and error.field == "offset":
                part.unlink()  # left of another artifact
                continue
            patience.pause(error)
            continue
        if _digest(part) == (sha256, size):
            os.replace(part, target)  # noqa: PTH105 - the name says that it is atomic
            return {"sha256": sha256, "size": size, "path": str(target)}
        part.unlink()
        if not held:
            raise CallError("DATA_LOSS", f"the artifact of {task_id} came damaged; try again")


def _receive(
    client: Client, task_id: str, part: Path, held: int, on_progress: Progress | None, patience: _Patience
) -> tuple[str, int]:
    """Append what is missing to the partial file; digest and size of the whole."""
    request = task_pb2.DownloadResultRequest(task_id=task_id, offset=held)
    sha256, size = "", 0
    with contextlib.ExitStack() as opened:
        file: IO[bytes] | None = None
        for message in _messages(client, "DownloadResult", request, task_pb2.DownloadResultResponse):
            patience.progress()
            if file is None:  # only now: a refused call leaves no empty file
                file = opened.enter_context(part.open("ab"))
                sha256, size = message.sha256, message.size
            file.write(message.chunk)
            held += len(message.chunk)
            if on_progress is not None:
                on_progress(held, size)
    return sha256, size


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
