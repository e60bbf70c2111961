"""The disk watch: how much a running job's workspace holds, measured in small steps that hold nobody up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hivemind_worker.trees import Found, Walk

#: seconds of one step
STEP = 0.005
#: rest after a measurement: never shorter than so many seconds, nor than so many times what it took
REST, REST_FACTOR = 2.0, 20.0
#: what an entry counts at least: empty files take the disk's inodes
INODE_BYTES = 512


class DiskWatch:
    """Measures directories over and over. Sparse files count what they hold, hard links once."""

    def __init__(self, roots: Sequence[Path], cap: int) -> None:
        self._roots = tuple(roots)
        self._cap = cap
        self._steps: Iterator[int] | None = None
        self._seen = 0
        self._spent = 0.0
        #: bytes at the last measurement that came to its end, or to the cap
        self.used = 0
        #: monotonic time of the next step
        self.due = time.monotonic() + REST

    @property
    def over(self) -> bool:
        """Whether the last measurement found more than the cap."""
        return self.used > self._cap

    def step(self, budget: float = STEP) -> None:
        """Go on measuring for `budget` seconds. Does not raise: a tree that moves is counted as far as seen."""
        began = time.monotonic()
        if self._steps is None:
            self._steps, self._seen = self._measure(), 0
        try:
            finished = self._advance(self._steps, began + budget)
        except OSError:
            finished, self._seen = True, max(self._seen, self.used)
        self._spent += time.monotonic() - began
        if finished:
            self._end()
        else:
            self.due = time.monotonic()

    def _advance(self, steps: Iterator[int], until: float) -> bool:
        """Measure on until a monotonic time; whether there is nothing more to learn. Raises OSError."""
        for used in steps:
            self._seen = used
            if used > self._cap:
                return True
            if time.monotonic() >= until:
                return False
        return True

    def close(self) -> None:
        """Give open directories back."""
        self._steps = None

    def _end(self) -> None:
        self.used = self._seen
        self._steps = None
        now = time.monotonic()
        self.due = now + max(REST, REST_FACTOR * self._spent)
        self._spent = 0.0

    def _measure(self) -> Iterator[int]:
        """The sum so far, after each entry."""
        total = 0
        for root in self._roots:
            linked: set[int] = set()
            for found in Walk(root):
                total += _size(found, linked)
                yield total
        yield total


def _size(found: Found, linked: set[int]) -> int:
    try:
        status = found.status()
    except OSError:
        return 0
    if status.st_nlink > 1 and not found.is_dir:
        if status.st_ino in linked:
            return 0
        linked.add(status.st_ino)
    return max(status.st_blocks * 512, INODE_BYTES)
