"""Reception of bundles: streamed to disk, checked, and only then kept. What is refused or cut off leaves no file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import structlog

from bridge.status import Silent
from bridge.wire.hivemind.v1 import task_pb2
from hivemind_worker.domain.errors import InvalidField
from hivemind_worker.domain.outcome import BlobRef
from hivemind_worker.domain.resources import format_size
from hivemind_worker.execution.bundle import BundleLimits, inspect_bundle
from hivemind_worker.killpoints import reach
from hivemind_worker.store.blobs import BlobStore, BlobWriter

log = structlog.get_logger()

#: seconds without a message after which a sender is given up
PATIENCE = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")

Result = TypeVar("Result")


class Uploads:
    """Receives bundles, one call each. Disk work happens on `executor`, in order within a call."""

    def __init__(
        self, bundles: BlobStore, limits: BundleLimits, executor: Executor, *, patience: float = PATIENCE
    ) -> None:
        self._bundles = bundles
        self._limits = limits
        self._executor = executor
        self._patience = patience

    async def receive(self, messages: AsyncIterator[Any]) -> BlobRef:
        """Keep one bundle. The next message is read only once the one before is on disk.

        Raises InvalidField, BundleRefused, Silent, and OSError when the disk is full.
        """
        first = await self._next(messages)
        if first is None:
            raise InvalidField("bundle", "is empty: no message came")
        expected = self._expectation(first)
        if expected.sha256 and (kept := await self._on_disk(self._kept, expected.sha256)):
            return kept
        reception = _Reception(self._bundles.writer(), self._executor)
        try:
            message: Any | None = first
            while message is not None:
                if reception.size + len(message.chunk) > self._limits.max_bytes:
                    raise self._too_large()
                if message.chunk:
                    await reception.write(message.chunk)
                message = await self._next(messages)
            _compare(expected, reception.size, reception.sha256)
            await reception.check(self._limits)
            ref = await reception.commit()
            reach("bundle-kept")
        finally:
            reception.close()
        log.info("bundle kept", sha256=ref.sha256, size=ref.size)
        return ref

    def _expectation(self, first: task_pb2.UploadBundleRequest) -> BlobRef:
        if first.expected_sha256 and not _SHA256.fullmatch(first.expected_sha256):
            raise InvalidField("expected_sha256", "is not a sha256 in lower-case hex")
        if first.expected_size < 0:
            raise InvalidField("expected_size", "is negative")
        if first.expected_size > self._limits.max_bytes:
            raise self._too_large()
        return BlobRef(sha256=first.expected_sha256, size=first.expected_size)

    def _too_large(self) -> InvalidField:
        most = self._limits.max_bytes
        return InvalidField(
            "bundle",
            f"is larger than this node takes ({format_size(most)}, {most} bytes); "
            "send less, or raise HIVEMIND_MAX_BUNDLE_BYTES on the node",
        )

    async def _next(self, messages: AsyncIterator[Any]) -> Any | None:
        try:
            async with asyncio.timeout(self._patience):
                return await anext(messages, None)
        except TimeoutError:
            raise Silent(f"nothing of the bundle came for {self._patience:g} s; send it again") from None

    async def _on_disk(self, call: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def _kept(self, sha256: str) -> BlobRef | None:
        if not self._bundles.exists(sha256):
            return None
        return BlobRef(sha256=sha256, size=self._bundles.size(sha256))


class _Reception:
    """One staged file. Its steps run on the executor one after the other, and `close` waits for the last of them."""

    def __init__(self, writer: BlobWriter, executor: Executor) -> None:
        self._writer = writer
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._last: asyncio.Future[Any] = self._loop.create_future()
        self._last.set_result(None)

    @property
    def size(self) -> int:
        return self._writer.size

    @property
    def sha256(self) -> str:
        return self._writer.sha256

    async def write(self, data: bytes) -> None:
        await self._step(partial(self._writer.write, data))

    async def check(self, limits: BundleLimits) -> None:
        if not self.size:
            raise InvalidField("bundle", "is empty")
        self._writer.flush()
        await self._step(partial(inspect_bundle, self._writer.path, limits))

    async def commit(self) -> BlobRef:
        return await self._step(self._writer.commit)

    def close(self) -> None:
        """Leave nothing staged. A step under way cannot be stopped, so the file goes right after it."""
        if self._last.done():
            self._abort(self._last)
        else:
            self._last.add_done_callback(self._abort)

    def _abort(self, last: asyncio.Future[Any]) -> None:
        if not last.cancelled():
            last.exception()  # seen: whoever awaited it has raised it already
        self._writer.abort()

    async def _step(self, call: Callable[[], Result]) -> Result:
        # Shielded, for the thread goes on when the caller hangs up: `close` must know when it is done.
        self._last = self._loop.run_in_executor(self._executor, call)
        return await asyncio.shield(self._last)


def _compare(expected: BlobRef, size: int, sha256: str) -> None:
    if expected.size and expected.size != size:
        raise InvalidField("bundle", f"{size} bytes came where {expected.size} were announced; send it again")
    if expected.sha256 and expected.sha256 != sha256:
        raise InvalidField("bundle", f"came as {sha256} where {expected.sha256} was announced; send it again")
