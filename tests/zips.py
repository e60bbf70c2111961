"""Zips byte by byte, so that a test can make any part of one lie."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One entry. What is None is told truly; `at` reuses another entry's local header."""

    name: str | bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    mode: int = stat.S_IFREG | 0o644
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    local_name: bytes | None = None
    at: int | None = None
    extra: bytes = b""

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    @property
    def stream(self) -> bytes:
        if self.method != zipfile.ZIP_DEFLATED:
            return self.data
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        return squeeze.compress(self.data) + squeeze.flush()

    def sizes(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        packed = len(self.stream) if self.packed is None else self.packed
        return crc, packed, len(self.data) if self.size is None else self.size

    def local(self) -> bytes:
        name = self.raw_name if self.local_name is None else self.local_name
        head = struct.pack(
            "<4s2B4HL2L2H", b"PK\3\4", 20, 0, self.flags, self.method, 0, 33, *self.sizes(), len(name), 0
        )
        return head + name + self.stream

    def central(self, offset: int) -> bytes:
        name = self.raw_name
        head = struct.pack(
            "<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, self.flags, self.method, 0, 33, *self.sizes(),
            len(name), len(self.extra), 0, 0, 0, self.mode << 16, offset,
        )  # fmt: skip
        return head + name + self.extra


def build(
    entries: Sequence[Entry], *, count: int | None = None, comment: bytes = b"", disk: int = 0, shift: int = 0
) -> bytes:
    """A zip of these; `count` and `disk` are what its end claims, `shift` moves where it says the directory lies."""
    body, central = b"", b""
    for entry in entries:
        if entry.at is None:
            central += entry.central(len(body))
            body += entry.local()
        else:
            central += entry.central(entry.at)
    claimed = len(entries) if count is None else count
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", disk, disk, claimed, claimed, len(central), len(body) + shift, len(comment)
    )
    return body + central + end + comment


def zip64(entries: Sequence[Entry], *, count: int) -> bytes:
    """A zip whose zip64 end record claims `count` entries."""
    plain = build(entries)
    end_at = len(plain) - 22
    size, offset = struct.unpack_from("<2L", plain, end_at + 12)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end_at, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return plain[:end_at] + wide + locator + end


def write(path: Path, *entries: Entry, **claims: int) -> Path:
    """The same as a file."""
    path.write_bytes(build(entries, **claims))  # type: ignore[arg-type]
    return path


def overlapping(data: bytes, copies: int) -> list[Entry]:
    """Many names, one stream: Fifield's bomb in its simplest form."""
    first = Entry("0", data, method=zipfile.ZIP_DEFLATED)
    return [first, *(replace(first, at=0) for _ in range(copies - 1))]


def read(path: Path) -> dict[str, bytes]:
    """Every entry of a zip, by Python's own reader."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
