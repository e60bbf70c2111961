"""Writes a checked bundle's files to disk, counting every byte as it comes out."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hivemind_worker.domain.errors import BundleRefused, NodeDiskFull
from hivemind_worker.execution.zip_directory import refuse
from hivemind_worker.trees import DIRECTORY, remove_tree

CHUNK = 256 * 1024
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Piece:
    """One file or directory to write. `begin` is where its `packed` bytes lie; sizes in bytes."""

    parts: tuple[str, ...]
    is_dir: bool
    executable: bool
    deflated: bool
    header: int
    begin: int
    packed: int
    size: int
    crc: int

    @property
    def name(self) -> str:
        """Its path, for messages."""
        return "/".join(self.parts)


def unpack(
    file: BinaryIO, pieces: Sequence[Piece], target: Path, *, max_bytes: int, uid: int | None, gid: int | None
) -> None:
    """Write all pieces below `target`. Raises BundleRefused, NodeDiskFull; then what was made is removed."""
    made = not target.exists()
    try:
        if made:
            target.mkdir(mode=0o755)
        with _Writer(target, -1 if uid is None else uid, -1 if gid is None else gid) as writer:
            left = max_bytes
            for piece in sorted(pieces, key=lambda piece: piece.parts):
                if piece.is_dir:
                    writer.directory(piece.parts)
                else:
                    left -= writer.file(piece, inflate(file, piece, left))
    except BaseException as error:
        remove_tree(target, keep_root=not made)
        if isinstance(error, OSError):
            raise _named(error, target) from error
        raise


def inflate(file: BinaryIO, piece: Piece, at_most: int) -> Iterator[bytes]:
    """The piece's real bytes, checked against its size, its checksum and `at_most`. Raises BundleRefused."""
    size, crc = 0, 0
    for data in _raw(file, piece):
        size, crc = size + len(data), zlib.crc32(data, crc)
        if size > piece.size:
            refuse(piece.name, f"unpacks to more than the {piece.size} bytes it declares")
        if size > at_most:
            refuse(piece.name, "the bundle unpacks to more than the node allows")
        yield data
    if size != piece.size or crc != piece.crc:
        refuse(piece.name, "its content does not match its checksum: damaged")


def _raw(file: BinaryIO, piece: Piece) -> Iterator[bytes]:
    if not piece.packed:
        return  # some tools mark an empty file as deflated and write nothing
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if piece.deflated else None
    for data in _packed(file, piece):
        if inflater is None:
            yield data
            continue
        try:
            while data and not inflater.eof:
                yield inflater.decompress(data, CHUNK)
                data = inflater.unconsumed_tail
        except zlib.error as error:
            refuse(piece.name, f"its content cannot be unpacked ({error}): damaged")
    if inflater is not None:
        while out := inflater.decompress(b"", CHUNK):
            yield out
        if not inflater.eof:
            refuse(piece.name, "its content ends too early: damaged")


def _packed(file: BinaryIO, piece: Piece) -> Iterator[bytes]:
    at, end = piece.begin, piece.begin + piece.packed
    while at < end:
        data = os.pread(file.fileno(), min(CHUNK, end - at), at)
        if not data:
            refuse(piece.name, "is cut off")
        at += len(data)
        yield data


class _Writer:
    """Makes files under one directory by descriptors, so that no link on the way is ever followed."""

    def __init__(self, target: Path, uid: int, gid: int) -> None:
        self._owner = (uid, gid)
        self._open: list[tuple[str, int]] = [("", os.open(target, DIRECTORY))]

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for _name, descriptor in self._open:
            os.close(descriptor)

    def directory(self, parts: tuple[str, ...]) -> int:
        """Be in that directory, making what is missing; its descriptor, until the next call."""
        common = 0
        while common < min(len(parts), len(self._open) - 1) and self._open[common + 1][0] == parts[common]:
            common += 1
        while len(self._open) > common + 1:
            os.close(self._open.pop()[1])
        for name in parts[common:]:
            above = self._open[-1][1]
            made = _make_directory(name, above)
            self._open.append((name, os.open(name, DIRECTORY, dir_fd=above)))
            if made:
                os.fchmod(self._open[-1][1], 0o755)
                os.fchown(self._open[-1][1], *self._owner)
        return self._open[-1][1]

    def file(self, piece: Piece, content: Iterator[bytes]) -> int:
        """Make one file; how many bytes it has."""
        inside = self.directory(piece.parts[:-1])
        descriptor = os.open(piece.parts[-1], _NEW_FILE, 0o600, dir_fd=inside)
        size = 0
        try:
            for data in content:
                size += len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, 0o755 if piece.executable else 0o644)
            os.fchown(descriptor, *self._owner)
        finally:
            os.close(descriptor)
        return size


def _make_directory(name: str, above: int) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        return False
    return True


def _named(error: OSError, target: Path) -> Exception:
    """What a fault of the file system means for the job; the fault itself where it means nothing."""
    if error.errno in _FULL:
        return NodeDiskFull(f"the disk filled up while the bundle was unpacked ({error.strerror})")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ):
        shown = os.fspath(error.filename)[:80] if error.filename else target.name
        return BundleRefused(f"the bundle's entry {shown!r} cannot be made here: {error.strerror}")
    return error
