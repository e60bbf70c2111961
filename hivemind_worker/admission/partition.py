"""A node that is cut off from Redis and was told to stop: its containers end before another node may take their jobs.

The others count from this node's last heartbeat that they saw, so this node counts from the last that it sent. A thread
of its own counts, for the one that beats may hang in a call to a Redis that says nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

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


class Partition:
    """One thread. `answers`: whether Redis does, asked anew and soon; a late heartbeat alone is no partition."""

    def __init__(
        self,
        running: Running[Any],
        *,
        after: float,
        answers: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running, self._after, self._answers, self._clock = running, after, answers, clock
        self._heard = clock()
        self._told = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partition", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what was told to end ends."""
        self._stopping.set()

    def heard(self, at: float) -> None:
        """A heartbeat reached Redis; `at`: before it was sent."""
        self._heard, self._told = at, False

    def look(self) -> float:
        """End what runs if it is time to. Seconds until the next look."""
        silent = self._clock() - self._heard
        if silent < self._after:
            return self._after - silent
        if not self._answers():
            count = self._running.cut_off()
            if count and not self._told:
                self._told = True
                log.warning("cut off from redis: containers are stopped", jobs=count, seconds=round(silent))
        return AGAIN

    def _run(self) -> None:
        while not self._stopping.wait(self.look()):
            pass
