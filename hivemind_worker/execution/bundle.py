"""The bundle: checked before it is kept, unpacked without trust in what it says of itself."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from hivemind_worker.domain.errors import BundleRefused, DiskExhausted
from hivemind_worker.domain.resources import MIB, format_size
from hivemind_worker.execution.unpack import Piece, unpack
from hivemind_worker.execution.zip_directory import (
    MAX_DIRECTORY_BYTES,
    STORED,
    End,
    ZipEntry,
    data_offset,
    read_directory,
    read_end,
    refuse,
)
from hivemind_worker.execution.zip_names import find_conflict, split_name
from hivemind_worker.settings import Settings

#: deflate cannot do better (zlib's technical notes: 1032:1), so a larger claim is a lie
MAX_DEFLATE_RATIO = 1032
#: beyond any text or table; zeros reach it, and a program makes its zeros itself
MAX_RATIO = 300
#: below this a bundle may compress as well as it likes
RATIO_FREE_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Bytes of the zip, bytes of its files together, entries (directories count)."""

    max_bytes: int
    max_unpacked_bytes: int
    max_entries: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The node's limits."""
        return cls(settings.max_bundle_bytes, settings.max_bundle_unpacked_bytes, settings.max_bundle_entries)


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """What a bundle holds, in bytes unpacked; `root_names` lie at its root, `folders` are the root's with files."""

    files: int
    unpacked_bytes: int
    root_names: tuple[str, ...]
    folders: tuple[str, ...]


def inspect_bundle(path: Path, limits: BundleLimits) -> BundleManifest:
    """Check a zip without unpacking it. Raises BundleRefused, naming the entry and the rule."""
    with path.open("rb") as file:
        return _manifest(_check(file, limits))


def _manifest(pieces: list[Piece]) -> BundleManifest:
    files = [piece for piece in pieces if not piece.is_dir]
    return BundleManifest(
        files=len(files),
        unpacked_bytes=sum(piece.size for piece in files),
        root_names=tuple(sorted(piece.parts[0] for piece in files if len(piece.parts) == 1)),
        folders=tuple(sorted({piece.parts[0] for piece in files if len(piece.parts) > 1})),
    )


def extract_bundle(
    path: Path,
    target: Path,
    limits: BundleLimits,
    uid: int | None = None,
    gid: int | None = None,
    *,
    disk: int | None = None,
) -> BundleManifest:
    """Unpack into `target` (made if missing, else empty), as files of uid:gid where given, within `disk` bytes.

    Directories get mode 0755, files 0644, or 0755 where the zip says executable; nothing else of it is kept.
    Raises BundleRefused, DiskExhausted; then nothing of the bundle is left.
    """
    with path.open("rb") as file:
        pieces = _check(file, limits)
        manifest = _manifest(pieces)
        most = limits.max_unpacked_bytes
        if disk is not None:
            check_disk(manifest.unpacked_bytes, disk)
            most = min(most, disk)
        unpack(file, pieces, target, max_bytes=most, uid=uid, gid=gid)
    return manifest


def check_disk(taken: int, disk: int) -> None:
    """Raise DiskExhausted when a bundle's files take more bytes than the job's disk."""
    if taken > disk:
        raise DiskExhausted(f"the bundle alone takes {_bytes(taken)}, more than the job's disk of {_bytes(disk)}")


def _check(file: BinaryIO, limits: BundleLimits) -> list[Piece]:
    """Every rule, cheapest first: what is refused by a number is refused before anything is parsed."""
    _check_size(file, limits)
    end = read_end(file)
    _check_end(end, limits)
    pieces: list[Piece] = []
    total = packed = 0
    for entry in read_directory(file, end):
        piece = _piece(file, entry, end)
        total, packed = total + piece.size, packed + piece.packed
        if total > limits.max_unpacked_bytes:
            refuse(entry.name, f"the bundle unpacks to more than {_bytes(limits.max_unpacked_bytes)}")
        pieces.append(piece)
    if all(piece.is_dir for piece in pieces):
        raise BundleRefused("the bundle is empty: it holds no file")
    if total > RATIO_FREE_BYTES and total > packed * MAX_RATIO:
        raise BundleRefused(
            f"the bundle unpacks to {total // max(packed, 1)} times its size, more than {MAX_RATIO}: a zip bomb"
        )
    _check_conflicts(pieces)
    _check_overlaps(pieces)
    return [piece for piece in pieces if piece.parts]


def _check_size(file: BinaryIO, limits: BundleLimits) -> None:
    size = file.seek(0, 2)
    if size > limits.max_bytes:
        raise BundleRefused(f"the bundle is {_bytes(size)}, more than {_bytes(limits.max_bytes)}")


def _check_end(end: End, limits: BundleLimits) -> None:
    if end.entries > limits.max_entries:
        raise BundleRefused(f"the bundle declares {end.entries} entries, more than {limits.max_entries}")
    if end.size > MAX_DIRECTORY_BYTES:
        raise BundleRefused(f"the bundle's directory is {_bytes(end.size)}, more than {_bytes(MAX_DIRECTORY_BYTES)}")
    if not end.entries:
        raise BundleRefused("the bundle is empty: it holds no file")


def _piece(file: BinaryIO, entry: ZipEntry, end: End) -> Piece:
    """One entry with its name, kind and sizes checked."""
    try:
        parts = split_name(entry.name)
    except ValueError as error:
        refuse(entry.name, str(error))
    is_dir = entry.name.endswith("/") or not parts
    _check_kind(entry, is_dir)
    if entry.method == STORED and entry.size != entry.packed:
        refuse(entry.name, "is stored but claims two sizes: damaged")
    if entry.size > entry.packed * MAX_DEFLATE_RATIO:
        refuse(entry.name, f"claims {_bytes(entry.size)} from {entry.packed} bytes, which deflate cannot do")
    if is_dir and entry.size:
        refuse(entry.name, "is a directory that holds data")
    return Piece(
        parts=parts,
        is_dir=is_dir,
        executable=bool(entry.mode & 0o111),
        deflated=entry.method != STORED,
        header=entry.header,
        begin=data_offset(file, entry, end),
        packed=entry.packed,
        size=entry.size,
        crc=entry.crc,
    )


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


def _check_kind(entry: ZipEntry, is_dir: bool) -> None:
    kind = stat.S_IFMT(entry.mode)
    expected = stat.S_IFDIR if is_dir else stat.S_IFREG
    if kind in (0, expected):
        return
    if kind in (stat.S_IFDIR, stat.S_IFREG):
        refuse(entry.name, "its name and its type disagree whether it is a directory")
    refuse(entry.name, f"is {_KINDS.get(kind, 'of an unknown type')}; only files and directories are unpacked")


def _check_conflicts(pieces: list[Piece]) -> None:
    conflict = find_conflict(
        (piece.parts for piece in pieces if not piece.is_dir),
        (piece.parts for piece in pieces if piece.is_dir),
    )
    if conflict is not None:
        refuse(conflict, "is there twice, or as a file and as a directory")


def _check_overlaps(pieces: list[Piece]) -> None:
    """Entries that share bytes make a small zip huge (Fifield, 'A better zip bomb', WOOT 2019)."""
    behind = 0
    for piece in sorted(pieces, key=lambda piece: piece.header):
        if piece.header < behind:
            refuse("/".join(piece.parts), "shares its bytes with another entry")
        behind = piece.begin + piece.packed


def _bytes(amount: int) -> str:
    return f"{format_size(amount)} ({amount} bytes)" if amount >= 1024 else f"{amount} bytes"
