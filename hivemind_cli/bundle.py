"""A directory as a bundle: the same files always give the same zip, byte for byte, so it is stored once."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hivemind_cli.errors import CliError

#: never part of a program: history and caches
LEFT_OUT = frozenset({".git", "__pycache__"})
#: the earliest time a zip can hold; a file's own time would make every checkout another bundle
EPOCH = (1980, 1, 1, 0, 0, 0)
SAMPLE = 64 * 1024
CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle ready to be sent. `left_out` are the paths that were skipped, relative to the directory."""

    path: Path
    files: int
    left_out: tuple[str, ...]


@contextmanager
def packed(source: Path) -> Iterator[Packed]:
    """A zip of the directory in a temporary file, gone afterwards; a file is taken for the zip it should be.

    Raises CliError for what no bundle can hold: links, devices, sockets, pipes, or no file at all.
    """
    if not source.is_dir():
        yield Packed(source, 1, ())
        return
    descriptor, name = tempfile.mkstemp(prefix="hivemind-bundle-", suffix=".zip")
    try:
        with os.fdopen(descriptor, "wb") as file:
            files, left_out = _write(source, file)
        yield Packed(Path(name), files, tuple(left_out))
    finally:
        Path(name).unlink(missing_ok=True)


def _write(source: Path, target: IO[bytes]) -> tuple[int, list[str]]:
    files, left_out = 0, []
    with zipfile.ZipFile(target, "w", strict_timestamps=False) as archive:
        for path, skipped in _walk(source):
            inside = path.relative_to(source).as_posix()
            if skipped:
                left_out.append(inside)
            elif path.is_dir():
                archive.writestr(_entry(inside + "/", 0o755, zipfile.ZIP_STORED), b"")
            else:
                _add(archive, path, inside)
                files += 1
    if not files:
        raise CliError(f"--bundle {source}: the directory holds no file", kind="INVALID_ARGUMENT", field="bundle")
    return files, left_out


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Everything below, sorted, directories before what they hold; True for what is left out."""
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        mode = path.lstat().st_mode
        if path.name in LEFT_OUT and stat.S_ISDIR(mode):
            yield path, True
        elif stat.S_ISDIR(mode):
            yield path, False
            yield from _walk(path)
        elif stat.S_ISREG(mode):
            yield path, False
        else:
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither a file nor a directory"
            raise CliError(
                f"--bundle: {path} is {kind}, which no bundle can hold; put the file itself there or take it out",
                kind="INVALID_ARGUMENT",
                field="bundle",
            )


def _add(archive: zipfile.ZipFile, path: Path, inside: str) -> None:
    try:
        inside.encode("utf-8")
    except UnicodeEncodeError:
        raise CliError(
            f"--bundle: the name of {inside!r} is not UTF-8; rename it",
            kind="INVALID_ARGUMENT",
            field="bundle",
        ) from None
    with path.open("rb") as file:
        info = os.fstat(file.fileno())
        sample = file.read(SAMPLE)
        # What does not shrink is stored: deflating it takes twenty times as long and gains nothing.
        shrinks = len(zlib.compress(sample, 1)) < 0.9 * len(sample)
        method = zipfile.ZIP_DEFLATED if shrinks else zipfile.ZIP_STORED
        entry = _entry(inside, 0o755 if info.st_mode & 0o111 else 0o644, method)
        entry.file_size = info.st_size  # tells zipfile whether this entry needs 64-bit sizes
        with archive.open(entry, "w") as target:
            target.write(sample)
            while data := file.read(CHUNK):
                target.write(data)


def _entry(name: str, mode: int, method: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=EPOCH)
    entry.create_system = 3  # Unix: the mode below counts
    kind = stat.S_IFDIR if name.endswith("/") else stat.S_IFREG
    entry.external_attr = (kind | mode) << 16 | (0x10 if name.endswith("/") else 0)
    entry.compress_type = method
    entry._compresslevel = 1  # type: ignore[attr-defined]
    return entry
