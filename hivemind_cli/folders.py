"""What is made on the disk ahead of its use, and taken back when nothing came of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def make_folder(path: Path, made: list[Path], mode: int = 0o777) -> None:
    """Make a directory and what is missing above it; `made` gets each that was not there. Raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent, made)
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        made.append(path)


def take_back(made: list[Path]) -> None:
    """Remove it again, the last first; a directory that something lies in meanwhile stays."""
    for path in reversed(made):
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
