"""A service's log: one file and a few older ones, never more than their bound together."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import IO

#: one file's bound in bytes, and how many older ones are kept beside it
LIMIT = 8 * 1024 * 1024
OLDER = 3


class LogFile:
    """Appends bytes; moves `name.log` to `name.log.1` and so on before it outgrows its bound."""

    def __init__(self, path: Path, *, limit: int = LIMIT, older: int = OLDER) -> None:
        self.path, self._limit, self._older = path, limit, older
        self._file: IO[bytes] | None = None
        self._size = 0
        self.write(b"")  # from the start on there is a file to look at

    def _open(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append. A full disk loses log lines, never the service."""
        try:
            self._file = self._file or self._open()
            if self._size and self._size + len(data) > self._limit:
                self._rotate()
                self._file = self._open()
            self._size += self._file.write(data) or 0
        except OSError:
            return

    def _rotate(self) -> None:
        self.close()
        for number in range(self._older, 0, -1):
            source = self._named(number - 1)
            if source.exists():
                source.replace(self._named(number))

    def _named(self, number: int) -> Path:
        return self.path if number == 0 else self.path.with_name(f"{self.path.name}.{number}")

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
        self._file = None


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; none when there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
            return [line.decode(errors="replace").rstrip() for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []
