"""How fast one core is: a program of its own, run once for a kind of machine. Prints one number; 100 is the reference.

Half of it is an interpreter at work, half is compression: branches and objects, and memory and integers. Each part runs
several times for a fixed amount of work, and its best time counts, because other work can only make it slower.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable

#: seconds that each part takes on the reference, one core of an Intel Xeon with Python 3.11 (docs/capacity.md)
REFERENCE = {"interpret": 0.0195, "compress": 0.0315}
ROUNDS = 7
_TEXT = b"".join(b"%d:%x;" % (i * i % 9973, i * 7919) for i in range(60_000))


def interpret() -> None:
    """Objects, branches and calls."""
    seen: dict[int, int] = {}
    value = 1
    for _ in range(120_000):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        if value & 1:
            seen[value % 997] = value


def compress() -> None:
    """Half a megabyte of text."""
    zlib.compress(_TEXT[: 512 * 1024], 6)


def best_of(part: Callable[[], None]) -> float:
    """The shortest of ROUNDS times, in seconds of this thread's own."""

    def once() -> float:
        began = time.thread_time()
        part()
        return time.thread_time() - began

    return min(once() for _ in range(ROUNDS))


def score() -> float:
    """The geometric mean of how much faster than the reference the parts are, times 100."""
    parts = {"interpret": interpret, "compress": compress}
    ratios = [REFERENCE[name] / best_of(part) for name, part in parts.items()]
    return 100 * math.prod(ratios) ** (1 / len(ratios))


if __name__ == "__main__":
    print(f"{score():.1f}")  # noqa: T201 - what it is for
