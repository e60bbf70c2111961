"""A node that is cut off from Redis and was told to stop: its containers end before another node may take their jobs.

The others count from this node's last heartbeat that they saw, so this node counts from the last that it sent, be it by
a worker that was restarted since. A thread of its own counts, for the one that beats may hang in a call to a Redis that
says nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

import structlog

from hivemind_worker.admission.running import Running

log = structlog.get_logger()

#: seconds between two looks once the heartbeat is overdue
AGAIN = 1.0
#: beats kept in hand: the probe takes time, and so does the engine
SPARE_BEATS = 3


def patience(node_lost_after: float, stop_grace: float, beat: float) -> float:
    """Seconds without a heartbeat after which containers are told to end, to be gone before the node counts as lost."""
    return node_lost_after - stop_grace - SPARE_BEATS * beat


class Left(Protocol):
    """What earlier workers of this node left running, and what they noted."""

    def note(self, site: str, ago: float) -> None:
        """A heartbeat, sent `ago` seconds, has reached the site's Redis."""

    def silent(self) -> float:
        """Seconds since a worker of the node last beat; 0: not known."""

    def end(self, held: Collection[str], *, kill: bool) -> int:
        """End what runs, but for these jobs; how many were told."""


class Partition:
    """One thread. `answers`: whether Redis does, asked anew and soon; a late heartbeat alone is no partition."""

    def __init__(
        self,
        running: Running[Any],
        left: Left,
        *,
        site_id: Callable[[], str],
        after: float,
        grace: float,
        answers: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`after` and `grace` in seconds: of silence, and from SIGTERM to SIGKILL."""
        self._running, self._left, self._ask_site = running, left, site_id
        self._after, self._grace, self._answers, self._clock = after, grace, answers, clock
        self._heard = clock() - min(left.silent(), after - AGAIN)  # a worker that has just come up may beat first
        self._site, self._told = "", False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partition", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what was told to end ends."""
        self._stopping.set()

    def heard(self, at: float) -> None:
        """A heartbeat reached Redis; `at`: before it was sent. Raises StoreUnavailable."""
        self._heard, self._told = at, False
        self._site = self._site or self._ask_site()
        self._left.note(self._site, self._clock() - at)

    def look(self) -> float:
        """End what runs if it is time to. Seconds until the next look."""
        silent = self._clock() - self._heard
        if silent < self._after:
            return self._after - silent
        if not self._answers():
            count = self._running.cut_off() + self._end_unwatched()
            if count and not self._told:
                self._told = True
                log.warning("cut off from redis: containers are stopped", jobs=count, seconds=round(silent))
        return AGAIN

    def _end_unwatched(self) -> int:
        """What no body holds, unless a sibling was heard: it has them, or will."""
        silent = self._left.silent()
        if silent < self._after:
            return 0
        return self._left.end(self._running.held(), kill=silent >= self._after + self._grace)

    def _run(self) -> None:
        while not self._stopping.wait(self.look()):
            pass
