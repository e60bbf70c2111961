"""What was seen during a campaign: entries of every observer in one list and one clock, also as JSON lines on disk."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

#: one thing that was seen: `t` in seconds of the kernel's boot-time clock, `kind`, and what belongs to the kind
Entry = dict[str, Any]


def now() -> float:
    """Seconds since boot: the clock that containers read from /proc/uptime, and that nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def of_wall(milliseconds: int) -> float:
    """The boot-time second of a wall-clock millisecond of this campaign; during one nobody sets the wall clock."""
    return now() + milliseconds / 1000 - time.time()


class Journal:
    """Takes entries from any thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._entries: list[Entry] = []
        self._counts: Counter[str] = Counter()
        self._file = path.open("a", encoding="utf-8") if path else None

    def note(self, kind: str, *, t: float | None = None, **fields: Any) -> Entry:
        """Add one entry; `t` when it happened, if not now."""
        entry = {"t": round(now() if t is None else t, 4), "kind": kind, **fields}
        with self._lock:
            self._entries.append(entry)
            self._counts[kind] += 1
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")
            self._more.notify_all()
        return entry

    def guarded(self, who: str, act: Callable[..., None]) -> Callable[..., None]:
        """`act` for a thread to run: what it dies of is noted, for who is gone harms nothing and sees nothing."""

        def run(*arguments: Any) -> None:
            try:
                act(*arguments)
            except Exception as error:
                self.note("broke", who=who, why=f"{type(error).__name__}: {error}"[:500])
                raise

        return run

    def await_more(self, kind: str, than: int, seconds: float) -> None:
        """Wait until there are more entries of a kind than so many, for so long at most."""
        with self._more:
            self._more.wait_for(lambda: self._counts[kind] > than, seconds)

    def entries(self) -> list[Entry]:
        """All so far, by time."""
        with self._lock:
            return sorted(self._entries, key=lambda entry: float(entry["t"]))

    def of(self, *kinds: str) -> list[Entry]:
        """Those of some kinds, by time."""
        return [entry for entry in self.entries() if entry["kind"] in kinds]

    def close(self) -> None:
        """Write out what is buffered."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def read(path: Path) -> list[Entry]:
    """A journal from its file."""
    with path.open(encoding="utf-8") as file:
        return sorted((json.loads(line) for line in file), key=lambda entry: float(entry["t"]))


def by_job(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Entries of each job, jobs in the order in which they first appear."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if job := entry.get("job"):
            found.setdefault(str(job), []).append(entry)
    yield from found.items()
