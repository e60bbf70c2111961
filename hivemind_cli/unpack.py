"""An artifact into a directory: regular files only, and nothing is ever written outside it.

What a job wrote is not to be trusted. Every step down is taken on an open directory and follows no link,
so neither a name in the zip nor a link that lies in the target already can lead elsewhere.
"""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from hivemind_cli.errors import CliError

CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(archive: Path, target: Path) -> list[str]:
    """Write every file of the zip below `target`, over what is there; the names written.

    Raises CliError for a zip that is damaged or holds what does not belong into an artifact.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            _check(entries, target)
            root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return [_place(source, entry, root) for entry in entries if not _makes_folder(entry, root)]
            finally:
                os.close(root)
    except zipfile.BadZipFile as error:
        raise CliError(f"the artifact is damaged: {error}", kind="DATA_LOSS") from None


def _check(entries: list[zipfile.ZipInfo], target: Path) -> None:
    """Refuse the whole of it before anything is written."""
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not _parts(entry.filename):
            raise CliError(f"the artifact holds a name that leads outside: {entry.filename!r}", kind="DATA_LOSS")
        if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise CliError(f"the artifact holds something that is no file: {entry.filename!r}", kind="DATA_LOSS")
    needed, free = sum(entry.file_size for entry in entries), shutil.disk_usage(target).free
    if needed > free:
        raise CliError(f"{target}: the artifact unpacks to {needed} bytes and {free} are free", kind="DISK")


def _parts(name: str) -> list[str]:
    """The steps down to an entry; none for a name that is not safe."""
    parts = name.rstrip("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        return []
    return parts


def _makes_folder(entry: zipfile.ZipInfo, root: int) -> bool:
    if not entry.is_dir():
        return False
    os.close(_descend(root, _parts(entry.filename)))
    return True


def _descend(root: int, parts: list[str]) -> int:
    """An open directory `parts` below `root`, made where it is missing. The caller closes it."""
    here = os.dup(root)
    for part in parts:
        try:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            below = os.open(part, _FOLDER, dir_fd=here)
        except OSError as error:
            raise CliError(f"cannot unpack into {'/'.join(parts)}: {part} is in the way ({error.strerror})") from None
        finally:
            os.close(here)
        here = below
    return here


def _place(source: zipfile.ZipFile, entry: zipfile.ZipInfo, root: int) -> str:
    *folders, name = _parts(entry.filename)
    folder = _descend(root, folders)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        mode = 0o755 if (entry.external_attr >> 16) & 0o111 else 0o644
        descriptor = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder
        )
        with os.fdopen(descriptor, "wb") as file, source.open(entry) as data:
            _copy(data, file, entry)
    except OSError as error:
        raise CliError(f"cannot write {entry.filename}: {error.strerror}", kind="OS") from None
    finally:
        os.close(folder)
    return entry.filename


def _copy(data: IO[bytes], file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """No more than the zip declared: what the check above added up must hold."""
    left = entry.file_size
    while chunk := data.read(CHUNK):
        left -= len(chunk)
        if left < 0:
            raise CliError(f"the artifact is damaged: {entry.filename} is larger than it says", kind="DATA_LOSS")
        file.write(chunk)
