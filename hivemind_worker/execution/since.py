"""For how long a container has run, whatever anybody does to the machine's clock.

The engine stamps a container's start and end with the wall clock, which may be stepped while it runs. So the worker
notes the start by the clock that counts from the machine's boot, and takes the stamps only for what it did not see.
Pure, but for `Moment.now`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hivemind_worker.execution.found import Found

#: seconds that the engine may take to start a container; a longer gap between the note and its stamp is a clock's step
LONGEST_START = 120.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks, in seconds: `up` since the boot named `boot`, `wall` since the epoch."""

    boot: str
    up: float
    wall: float

    @classmethod
    def now(cls) -> Moment:
        """This one."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return cls(boot, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Moment | None:
        """The inverse of `fields`; None for anything else."""
        try:
            return cls(str(fields["boot"]), float(fields["up"]), float(fields["wall"]))
        except (KeyError, TypeError, ValueError):
            return None

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ran_for(note: Moment | None, found: Found | None, now: Moment) -> float:
    """Seconds since a container that was found started. `note`: the moment right before its start was asked for."""
    if found is None:
        return 0.0
    if note is not None and note.boot == now.boot and now.up >= note.up:
        elapsed = now.up - note.up
        late = found.started_at - note.wall if found.started_at is not None else 0.0
        return elapsed - min(max(0.0, late), elapsed, LONGEST_START)
    if found.started_at is None:
        return 0.0
    by_stamps = max(0.0, now.wall - found.started_at)
    return min(by_stamps, now.up) if found.running else by_stamps  # what runs has started since the boot


def wall_seconds(found: Found | None, seen: float) -> float:
    """How long it ran from start to end. `seen`: seconds from its start until we knew of its end."""
    if found is None or found.started_at is None or found.finished_at is None:
        return seen
    by_stamps = found.finished_at - found.started_at
    return by_stamps if 0.0 <= by_stamps <= seen else seen


def rebooted(note: Moment | None, found: Found | None, now: Moment) -> bool:
    """Whether the machine came up between the container's start and its end."""
    if found is None or found.finished_at is None:
        return False
    booted = now.wall - now.up
    if note is not None:
        return note.boot != now.boot and found.finished_at >= booted
    return found.started_at is not None and found.started_at < booted <= found.finished_at
