"""The slow round over all records of a site: a part at each beat, by one worker at a time."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from hivemind_worker.store.audit import Audit, Finding

log = structlog.get_logger()

#: ids looked at in one beat: some twenty milliseconds of Redis' time, and all of 10,000 jobs in three beats
PER_BEAT = 5000
#: a look at a line costs so much less than one at a record
CHEAPER = 5
#: what a round trip costs, however little it looks at: a site may have as many shapes as jobs
ROUND_TRIP = 20
#: beats from the beginning of one round to that of the next, at least
ROUND_BEATS = 4
#: keys passed over in one beat by the scan for records that no index knows of
SCANS_PER_BEAT = 20
#: beats without asking again after which another worker sweeps
TERM_BEATS = 3


class Sweep:
    """Owned by the admission thread. Calls may raise StoreUnavailable; the round then begins anew."""

    def __init__(self, audit: Audit, *, worker: str, beat: float) -> None:
        self._audit = audit
        self._worker = worker
        self._term = TERM_BEATS * beat
        self._round: Iterator[tuple[int, list[Finding]]] | None = None
        self._scanned = False
        self._beats = ROUND_BEATS
        #: whole rounds made
        self.rounds = 0

    def step(self) -> None:
        """Look at as much as one beat may."""
        if not self._audit.is_sweeper(self._worker, self._term):
            self._round = None
            return
        self._beats += 1
        if self._round is None and self._beats < ROUND_BEATS:
            return
        left = PER_BEAT
        while left > 0:
            if self._round is None:
                self._round, self._beats = self._whole_round(), 0
            try:
                cost, found = next(self._round, (None, list[Finding]()))
            except BaseException:
                self._round = None
                raise
            report(found)
            if cost is None:
                self._round = None
                self.rounds += 1
                return
            left -= cost

    def _whole_round(self) -> Iterator[tuple[int, list[Finding]]]:
        """Batch by batch what it cost and what was put right: the lines, the active, and once all records there are.

        Those are looked through again when the index has been lost.
        """
        if self._audit.index_is_short():
            self._scanned = False
        for looked_at, found in self._audit.lines():  # first: what is no line would break off the look at its jobs
            yield max(ROUND_TRIP, looked_at // CHEAPER), found
        for batch in self._audit.active():
            yield len(batch), self._audit.jobs(batch, active=True)
        if not self._scanned:
            for batch in self._audit.records():
                yield max(len(batch), PER_BEAT // SCANS_PER_BEAT), self._audit.jobs(batch) if batch else []
            self._scanned = True


def report(found: list[Finding]) -> None:
    """Say what was put right."""
    for what, how in found:
        log.warning("put right", job_id=what, what=how)
