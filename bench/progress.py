"""How far a replay is, for a person who waits at a terminal."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from hivemind_cli.progress import StatusLine

#: seconds between two looks, and before the first: what is through at once needs none
EVERY = 0.5

#: told how many jobs of the trace have started
Tell = Callable[[int], None]


def nobody(_started: int) -> None:
    """Nobody wants to know."""


class Progress:
    """`NAME: 3,412 of 12,000 jobs, 0:41` on a line that is there on a terminal alone."""

    def __init__(self, line: StatusLine, name: str, jobs: int) -> None:
        self._line, self._name, self._jobs = line, name, jobs
        self._begun = monotonic()
        self._next = self._begun + EVERY

    def __call__(self, started: int) -> None:
        """So many have started."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        minutes, seconds = divmod(int(now - self._begun), 60)
        self._line.show(f"{self._name}: {started:,} of {self._jobs:,} jobs, {minutes}:{seconds:02}", now=True)
