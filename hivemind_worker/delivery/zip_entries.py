"""One file into a zip, as it is read: compressed where that pays, never longer than it was when opened."""

from __future__ import annotations

import os
import stat
import time
import zlib
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

#: how a file that somebody else made is opened: no link is followed, no FIFO is waited for
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHUNK = 1024 * 1024
_SAMPLE = 16 * 1024
#: a sample that shrinks to less than this share is worth the time
_WORTH_IT = 0.9
#: zip's calendar: 1980 to 2107
_EARLIEST, _LATEST = 315532800, 4354819199


def add_file(archive: ZipFile, name: str, descriptor: int, status: os.stat_result) -> int:
    """Copy an open regular file under `name`; bytes copied, fewer than its size when it shrank meanwhile.

    What is appended while it is read is left out: a file that grows as fast as it is read would never end.
    Raises OSError.
    """
    info = ZipInfo(name, _date(status.st_mtime))
    info.external_attr = (stat.S_IFREG | (0o755 if status.st_mode & stat.S_IXUSR else 0o644)) << 16
    info.file_size = status.st_size  # tells zipfile whether the entry needs zip64
    if _compresses(descriptor, status.st_size):
        info.compress_type = ZIP_DEFLATED
        # level 1: an artifact is written once, by the node, and mostly read once. Public only from Python 3.13 on.
        info._compresslevel = 1  # type: ignore[attr-defined]
    else:
        info.compress_type = ZIP_STORED
    at = 0
    with archive.open(info, "w") as entry:
        while at < status.st_size:
            data = os.pread(descriptor, min(CHUNK, status.st_size - at), at)
            if not data:
                break
            entry.write(data)
            at += len(data)
    return at


def add_bytes(archive: ZipFile, name: str, data: bytes) -> None:
    """A small entry of the node's own."""
    info = ZipInfo(name, _date(time.time()))
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, data, ZIP_DEFLATED)


def _compresses(descriptor: int, size: int) -> bool:
    """Judged by its beginning and its middle: many formats begin with a header that compresses."""
    sample = os.pread(descriptor, _SAMPLE, 0)
    if size > 2 * _SAMPLE:
        sample += os.pread(descriptor, _SAMPLE, size // 2)
    return len(zlib.compress(sample, 1)) < len(sample) * _WORTH_IT


def _date(when: float) -> tuple[int, int, int, int, int, int]:
    moment = time.gmtime(min(max(when, _EARLIEST), _LATEST))
    return moment[:6]
