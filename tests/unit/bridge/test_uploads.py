"""Uploads whose sender goes silent, or leaves, at the worst moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bridge.status import Silent
from bridge.uploads import Uploads
from bridge.wire.hivemind.v1 import task_pb2
from hivemind_worker.execution.bundle import BundleLimits
from hivemind_worker.store.blobs import BlobStore, BlobWriter

LIMITS = BundleLimits(max_bytes=10_000, max_unpacked_bytes=10_000, max_entries=10)


def store(folder: Path) -> BlobStore:
    return BlobStore((folder / "kept").as_uri(), folder / "staged")


async def some_then_silence() -> AsyncIterator[Any]:
    yield task_pb2.UploadBundleRequest(chunk=b"some")
    await asyncio.Event().wait()


def test_a_sender_that_goes_silent_is_given_up_and_its_file_goes(tmp_path: Path) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as pool, pytest.raises(Silent, match="send it again"):
            await Uploads(store(tmp_path), LIMITS, pool, patience=0.01).receive(some_then_silence())

    asyncio.run(main())
    assert list((tmp_path / "staged").iterdir()) == []


def test_a_sender_that_leaves_while_its_bytes_are_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go = threading.Event(), threading.Event()
    write = BlobWriter.write

    def slow(self: BlobWriter, data: bytes) -> None:
        writing.set()
        assert go.wait(10)
        write(self, data)

    monkeypatch.setattr(BlobWriter, "write", slow)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            upload = asyncio.create_task(Uploads(store(tmp_path), LIMITS, pool).receive(some_then_silence()))
            await asyncio.to_thread(writing.wait, 10)
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
            assert len(list((tmp_path / "staged").iterdir())) == 1  # the thread still writes
            go.set()
            await asyncio.wrap_future(pool.submit(lambda: None))
            await asyncio.sleep(0)

    asyncio.run(main())
    assert list((tmp_path / "staged").iterdir()) == []
