"""This worker's name among all that share its Redis: whoever beats under it first has it until it is gone.

A name's owner is the lock file of the process that has it (`agent.take_name`). One that finds its own file's name there
holds that file's lock, so whoever announced it before is dead: a worker that was killed is back at once. Another's name
is left alone while its lease is renewed, and taken once the lease was missing as long as a sibling would wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from hivemind_worker.admission.recovery import Absences
from hivemind_worker.domain.errors import NameHeld
from hivemind_worker.domain.node import Node
from hivemind_worker.store.ledger import Ledger

log = structlog.get_logger()


class Name:
    """The name that one worker beats under. Owned by the admission thread; any thread may ask whether it is `held`."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        node: str,
        worker: str,
        owner: str,
        lease: float,
        refuse: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lease` in seconds. `refuse` is told why this process may not go on under its name."""
        self._ledger, self._node, self._worker, self._owner, self._lease = ledger, node, worker, owner, lease
        self._refuse, self._clock = refuse, clock
        self._absences = Absences()
        self._left: int | None = None
        self.held = False

    def beat(self, measured: Node) -> None:
        """A heartbeat. Raises NameHeld while the name is another's: to be tried again soon; and StoreUnavailable."""
        try:
            self._announce(measured)
        except NameHeld as held:
            if not self._gone(held.left_ms):
                raise
            self._announce(measured, take=True)
            log.warning("name taken over from a worker that is gone", worker=self._worker)
        self.held = True

    def redis_is_away(self) -> None:
        """A lease that was not seen meanwhile is not missing."""
        self._absences.forget()

    def retire(self) -> None:
        """Give the name back, if it is ours to give. Raises StoreUnavailable."""
        if self.held:
            self._ledger.retire(self._node, self._worker)

    def _announce(self, measured: Node, *, take: bool = False) -> None:
        self._ledger.announce(
            measured, worker=self._worker, lease_seconds=self._lease, owner=self._owner, take=take
        )  # fmt: skip

    def _gone(self, left_ms: int) -> bool:
        """Whether the owner is; one that renews its lease lives, and so does one that has taken the name from us."""
        renewed = self._left is not None and left_ms > self._left
        self._left = left_ms
        if renewed or self.held:
            self.held = False
            self._refuse(
                f"a worker named {self._worker} runs already on node {self._node}, with another state directory: "
                "give this one another name with -n, or its node another with HIVEMIND_NODE_ID"
            )
        living = [self._worker] if left_ms >= 0 else []
        return bool(self._absences.dead([self._worker], living, self._clock()))
