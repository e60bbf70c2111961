"""Reads a zip's directory: counts before it parses, parses in constant memory, believes nothing.

One parser serves the check and the unpacking, so the two cannot disagree about what a file holds.
Layout and field names: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header) to 4.3.16 (end record).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from hivemind_worker.domain.errors import BundleRefused
from hivemind_worker.execution.zip_names import decode_name

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")

STORED, DEFLATED = 0, 8
#: what a directory may measure, so that a hostile one cannot fill memory
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024
_MAX_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800


@dataclass(frozen=True, slots=True)
class End:
    """The end record: how many entries the directory claims, where it lies and how long it is (bytes)."""

    entries: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One line of the directory. `mode` is the Unix mode, 0 where the zip comes from elsewhere; sizes in bytes."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    header: int


def refuse(name: str | bytes, rule: str) -> NoReturn:
    """Raise BundleRefused for one entry, with its name as text, shortened and unmistakable."""
    text = decode_name(name, is_utf8=False) if isinstance(name, bytes) else name
    raise BundleRefused(f"the bundle's entry {text[:80]!r}{'…' if len(text) > 80 else ''}: {rule}")


def read_end(file: BinaryIO) -> End:
    """Find the end record. Raises BundleRefused when there is none: not a zip, or one cut off."""
    size = file.seek(0, os.SEEK_END)
    tail_at = max(0, size - _END.size - _MAX_COMMENT)
    tail = os.pread(file.fileno(), size - tail_at, tail_at)
    found = tail.rfind(b"PK\5\6")
    while found >= 0:
        if found + _END.size <= len(tail):
            fields = _END.unpack_from(tail, found)
            if found + _END.size + fields[7] == len(tail):
                return _end(file, tail_at + found, fields)
        found = tail.rfind(b"PK\5\6", 0, found)
    if os.pread(file.fileno(), 2, 0) == b"PK":
        raise BundleRefused("the bundle is a zip that is cut off: its end is missing")
    raise BundleRefused("the bundle is not a zip")


def _end(file: BinaryIO, position: int, fields: tuple[int, ...]) -> End:
    _, disk, first_disk, here, entries, size, offset, _ = fields
    if _FULL16 in (disk, first_disk, here, entries) or _FULL32 in (size, offset):
        wide = _end64(file, position)
        if wide is not None:
            position, disk, first_disk, here, entries, size, offset = wide
    if disk or first_disk or here != entries:
        raise BundleRefused("the bundle is one part of a zip that was split over several files")
    if offset + size != position:
        raise BundleRefused("the bundle's directory does not lie where its end says: cut off or damaged")
    return End(entries, size, offset)


def _end64(file: BinaryIO, position: int) -> tuple[int, ...] | None:
    """The zip64 record's position and fields; None when there is none."""
    if position < _LOCATOR.size + _END64.size:
        return None
    raw = os.pread(file.fileno(), _LOCATOR.size, position - _LOCATOR.size)
    signature, disk, at, disks = _LOCATOR.unpack(raw)
    if signature != b"PK\6\7":
        return None
    if disk or disks > 1:
        raise BundleRefused("the bundle is one part of a zip that was split over several files")
    # The record's own length is not needed: it must end where the locator begins, else the two contradict.
    record = os.pread(file.fileno(), _END64.size, at) if at < position else b""
    if len(record) < _END64.size or not record.startswith(b"PK\6\6"):
        raise BundleRefused("the bundle's zip64 end record is missing: cut off or damaged")
    _, length, _, _, disk, first_disk, here, entries, size, offset = _END64.unpack(record)
    if at + 12 + length != position - _LOCATOR.size:
        raise BundleRefused("the bundle's zip64 end record has the wrong length: damaged")
    return at, disk, first_disk, here, entries, size, offset


def read_directory(file: BinaryIO, end: End) -> Iterator[ZipEntry]:
    """The entries in the directory's order. Raises BundleRefused where one is damaged or cannot be read."""
    file.seek(end.offset)
    left = end.size
    for _ in range(end.entries):
        fixed = file.read(_CENTRAL.size) if left >= _CENTRAL.size else b""
        if len(fixed) < _CENTRAL.size or not fixed.startswith(b"PK\1\2"):
            raise BundleRefused(f"the bundle's directory ends before its {end.entries} entries: damaged")
        fields = _CENTRAL.unpack(fixed)
        name_length, extra_length, comment_length = fields[12:15]
        rest = name_length + extra_length + comment_length
        left -= _CENTRAL.size + rest
        variable = file.read(rest) if left >= 0 else b""
        if len(variable) < rest:
            raise BundleRefused("the bundle's directory ends in the middle of an entry: damaged")
        yield _entry(fields, variable[:name_length], variable[name_length : name_length + extra_length])
    if left:
        raise BundleRefused(f"the bundle's directory holds more than the {end.entries} entries it declares")


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> ZipEntry:
    flags, method, crc, packed, size = fields[5], fields[6], fields[9], fields[10], fields[11]
    disk, external, header = fields[15], fields[17], fields[18]
    if flags & _ENCRYPTED or method == 99:
        refuse(raw_name, "is encrypted; the node has no password")
    if method not in (STORED, DEFLATED):
        refuse(raw_name, f"is compressed by method {method}; only stored and deflate are read")
    size, packed, header, disk = _wide(extra, size, packed, header, disk, raw_name)
    if disk:
        refuse(raw_name, "lies in another part of a split zip")
    try:
        name = decode_name(raw_name, bool(flags & _UTF8))
    except ValueError as error:
        refuse(raw_name, str(error))
    return ZipEntry(name, raw_name, flags, method, crc, packed, size, external >> 16, header)


def _wide(extra: bytes, size: int, packed: int, header: int, disk: int, raw_name: bytes) -> tuple[int, int, int, int]:
    """Sizes and place, from the zip64 extra field where the short ones are full."""
    wanted = [size == _FULL32, packed == _FULL32, header == _FULL32]
    if not any(wanted) and disk != _FULL16:
        return size, packed, header, disk
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind != 1:
            continue
        if len(body) < 8 * sum(wanted) + (4 if disk == _FULL16 else 0):
            break
        values = iter(struct.unpack_from(f"<{sum(wanted)}Q", body))
        short = (size, packed, header)
        size, packed, header = (next(values) if w else old for w, old in zip(wanted, short, strict=True))
        if disk == _FULL16:
            (disk,) = struct.unpack_from("<L", body, 8 * sum(wanted))
        return size, packed, header, disk
    refuse(raw_name, "its zip64 field is missing or too short")


def data_offset(file: BinaryIO, entry: ZipEntry, end: End) -> int:
    """Where the entry's bytes begin. Raises BundleRefused when its local header contradicts the directory."""
    raw = os.pread(file.fileno(), _LOCAL.size + len(entry.raw_name), entry.header)
    if len(raw) < _LOCAL.size or not raw.startswith(b"PK\3\4"):
        refuse(entry.name, "its header is not where the directory says: damaged")
    fields = _LOCAL.unpack_from(raw)
    flags, method, name_length, extra_length = fields[3], fields[4], fields[10], fields[11]
    if raw[_LOCAL.size : _LOCAL.size + name_length] != entry.raw_name:
        refuse(entry.name, "its header has another name than the directory")
    if flags & _ENCRYPTED or method != entry.method:
        refuse(entry.name, "its header contradicts the directory")
    begin: int = entry.header + _LOCAL.size + name_length + extra_length
    if begin + entry.packed > end.offset:
        refuse(entry.name, "its data runs into the directory: damaged")
    return begin
