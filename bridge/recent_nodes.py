"""The site's nodes as intake needs them: half a second old is fresh enough to say that a job can never fit."""

from __future__ import annotations

import time

from hivemind_worker.domain.node import Node
from hivemind_worker.store.ledger import Ledger

_FRESH = 0.5


class RecentNodes:
    """Remembers `Ledger.nodes()` for a moment: two round trips less for nearly every assignment.

    An empty list is not remembered, so that the first node to come counts at once. Owned by the intake thread.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._nodes: list[Node] = []
        self._until = 0.0

    def nodes(self) -> list[Node]:
        """All nodes, by name. Raises StoreUnavailable."""
        now = time.monotonic()
        if not self._nodes or now >= self._until:
            self._nodes, self._until = self._ledger.nodes(), now + _FRESH
        return self._nodes
