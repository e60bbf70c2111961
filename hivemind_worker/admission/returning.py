"""A node that was away: what it holds no longer ends before anything is admitted beside it.

A node that was not heard of for long may have lost its jobs to others while their containers ran on, and a row may have
gone while the engine was away and its container could not. The ledger has room then that the machine has not, until the
janitor has been round.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: seconds after which admission goes on even so: a janitor that cannot do its work must not keep the node from its own
PATIENCE = 10.0


class Return:
    """Asked and told by the admission thread; `swept` is the janitor's word. Moments in seconds of `clock`."""

    def __init__(self, *, after: float, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`after`: seconds without a heartbeat after which the node may have lost its jobs. `wake`s who was kept."""
        self._after, self._wake, self._clock = after, wake, clock
        self._since = self._heard = clock()
        self._swept = float("-inf")
        self._kept = False

    def heard(self) -> None:
        """A heartbeat reached Redis: from now on nobody takes this node's jobs."""
        now = self._clock()
        if now - self._heard >= self._after:
            self._since = now
        self._heard = now

    def swept(self, began: float) -> None:
        """The janitor has ended what had no row in a round that began then. May raise StoreUnavailable."""
        self._swept = began
        if self._kept and began >= self._since:
            self._kept = False
            self._wake()

    def over(self, *, engine: bool) -> bool:
        """Whether admission may go on; `engine`: whether that answers."""
        now = self._clock()
        if not engine:
            self._since = now
            return False
        self._kept = self._swept < self._since and now - self._since < PATIENCE
        return not self._kept
