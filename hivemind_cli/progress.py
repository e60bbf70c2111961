"""One line on stderr that says what goes on, where stderr is a terminal; nothing anywhere else."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType

from hivemind_cli.output import clean, size

#: seconds between two redraws: faster than an eye reads only costs time
PAUSE = 0.1


class StatusLine:
    """A line that is rewritten in place. Threads may share it. Leaves nothing behind when it is left."""

    def __init__(self) -> None:
        self._live = sys.stderr is not None and sys.stderr.isatty()  # None: 2>&-
        self._lock = threading.Lock()
        self._shown = ""
        self._at = 0.0

    @property
    def live(self) -> bool:
        """Whether anybody sees it."""
        return self._live

    def show(self, text: str, *, now: bool = False) -> None:
        """Show this instead. Redraws more often than ten times a second are left out unless `now`."""
        if not self._live:
            return
        with self._lock:
            moment = time.monotonic()
            if text == self._shown or (not now and moment - self._at < PAUSE):
                return
            self._at, self._shown = moment, text
            cut = clean(text)[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r\033[K{cut}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        with self._lock:
            if self._shown:
                sys.stderr.write("\r\033[K")
                sys.stderr.flush()
                self._shown = ""

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.clear()


class Transfer:
    """Progress of bytes on a status line: call it with (done, total), total 0 while it is not known."""

    def __init__(self, line: StatusLine, verb: str) -> None:
        self._line, self._verb = line, verb
        self._start = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        rate = done / max(time.monotonic() - self._start, 0.001)
        share = f" of {size(total)} ({100 * done // total}%)" if total else ""
        self._line.show(f"{self._verb} {size(done)}{share}, {size(rate)}/s")
