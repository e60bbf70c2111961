"""Bundles and artifacts: files named by their sha256, staged on local disk and then kept wherever fsspec reaches."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import fsspec

from hivemind_worker.domain.errors import BundleLost, NotFound
from hivemind_worker.domain.outcome import BlobRef

CHUNK = 256 * 1024


class BlobWriter:
    """One blob in the making. Owned by one thread. Leave it with `commit` or `abort`; a `with` aborts by itself."""

    def __init__(self, store: BlobStore, staging: Path) -> None:
        self._store = store
        self.path = staging
        self._file = staging.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Hex digest of what was written so far."""
        return self._digest.hexdigest()

    def flush(self) -> None:
        """Make what was written readable at `path`, for a check before the commit."""
        self._file.flush()

    def commit(self) -> BlobRef:
        """Keep it, durably, under its digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._store._keep(self.path, BlobRef(sha256=self.sha256, size=self.size))

    def abort(self) -> None:
        """Leave nothing behind. Harmless after a commit."""
        try:
            with contextlib.suppress(OSError):  # a full disk refuses the buffered rest once more
                self._file.close()
        finally:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class BlobStore:
    """Blobs under one fsspec URL (`file:///…` by default), staged in a local directory."""

    def __init__(self, url: str, staging: Path) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._local = self._fs.protocol in ("file", ("file", "local"))
        self._staging = staging
        staging.mkdir(parents=True, exist_ok=True, mode=0o700)

    def writer(self) -> BlobWriter:
        """Start a new blob."""
        return BlobWriter(self, self._staging / f"blob-{uuid4().hex}")

    def add(self, path: Path) -> BlobRef:
        """Move a finished file into the store."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                digest.update(data)
                size += len(data)
            os.fsync(file.fileno())
        return self._keep(path, BlobRef(sha256=digest.hexdigest(), size=size))

    def open(self, sha256: str, offset: int = 0) -> IO[bytes]:
        """Read one from `offset` bytes on. Raises NotFound."""
        try:
            file = self._fs.open(self._path(sha256), "rb")
        except FileNotFoundError:
            raise NotFound(f"there is no blob {sha256}") from None
        file.seek(offset)
        return file  # type: ignore[no-any-return]

    def chunks(self, sha256: str, offset: int = 0, size: int = CHUNK) -> Iterator[bytes]:
        """The same, piece by piece."""
        with self.open(sha256, offset) as file:
            while data := file.read(size):
                yield data

    def exists(self, sha256: str) -> bool:
        """Whether it is kept. Touches a local one, so that the sweep sees it is in use."""
        path = self._path(sha256)
        if not self._fs.exists(path):
            return False
        if self._local:
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def kept(self, sha256: str) -> bool:
        """Whether it is kept; asking prolongs nothing."""
        return bool(self._fs.exists(self._path(sha256)))

    def size(self, sha256: str) -> int:
        """Bytes. Raises NotFound."""
        try:
            return int(self._fs.size(self._path(sha256)))
        except FileNotFoundError:
            raise NotFound(f"there is no blob {sha256}") from None

    def local_copy(self, sha256: str, target: Path) -> Path:
        """A path on this machine that holds the blob: the blob itself where it is local, else a copy at `target`.

        Reads all of it, since no checksum inside a zip covers every byte. Raises NotFound; BundleLost when it is not
        what its name says, and puts it aside.
        """
        if self._local:
            if self._digest(sha256) == sha256:
                return Path(self._path(sha256))
        else:
            with contextlib.ExitStack() as unless_whole:
                unless_whole.callback(target.unlink, missing_ok=True)
                with target.open("xb") as copy:
                    found = self._digest(sha256, copy.write)
                if found == sha256:
                    unless_whole.pop_all()
                    return target
        self.put_aside_damaged(sha256)
        raise BundleLost(f"the node's copy of bundle {sha256} is not what was sent, and was put aside: send it again")

    def put_aside_damaged(self, sha256: str) -> bool:
        """Rename a blob whose content is not what its name says, so that it can be sent anew; whether it was so."""
        try:
            if self._digest(sha256) == sha256:
                return False
            self._fs.mv(self._path(sha256), f"{self._path(sha256)}.damaged")
        except (NotFound, FileNotFoundError):
            return True  # a sibling was quicker
        return True

    def sweep(self, older_than: float, in_use: Callable[[], frozenset[str]]) -> int:
        """Delete local blobs and staged leftovers not touched for so many seconds; how many went.

        `in_use` is asked only when something is old enough. What cannot be deleted is left to the next round.
        """
        if not self._local:
            return 0  # an object store has a lifecycle rule for this
        limit = time.time() - older_than
        old = [path for path in self._everything() if _modified(path) < limit]
        spared = in_use() if old else frozenset()
        gone = 0
        for path in old:
            if path.name not in spared:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    gone += 1
        return gone

    def _everything(self) -> list[Path]:
        return [*Path(self._root).glob("??/*"), *self._staging.glob("*")]

    def _keep(self, path: Path, ref: BlobRef) -> BlobRef:
        target = self._path(ref.sha256)
        self._fs.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH120 - a path of the remote side
        if self._local:
            path.replace(target)
            _sync_directory(Path(target).parent)
        else:
            self._fs.put_file(str(path), target)
            path.unlink()
        return ref

    def _digest(self, sha256: str, also: Callable[[bytes], object] | None = None) -> str:
        """That of the content, all of it read; each piece is handed to `also`. Raises NotFound."""
        digest = hashlib.sha256()
        for data in self.chunks(sha256):
            digest.update(data)
            if also is not None:
                also(data)
        return digest.hexdigest()

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


def _modified(path: Path) -> float:
    """Epoch seconds; a path that has gone is as new as can be."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _sync_directory(path: Path) -> None:
    """A rename survives power loss only once its directory is synced."""
    descriptor: Any = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
