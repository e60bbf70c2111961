"""Who is deaf, dead or lost, and what follows. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hivemind_worker.domain.job import Job
from hivemind_worker.domain.outcome import Cause, Outcome

#: A Celery consumer takes up to 12 s to come back after a long Redis outage (kombu's fixed back-off); silence beyond
#: this many seconds while Redis answers is deafness.
DEAF_AFTER = 30.0
#: seconds between two looks, one a beat, beyond which nothing is known of the time between: this process itself was
#: stopped. So many beats where they are long.
LONGEST_GAP, GAP_BEATS = 20.0, 4
#: seconds after its claim in which an attempt starts without another look: nobody takes over sooner
FRESH = 5.0


def longest_gap(beat: float) -> float:
    """Seconds between two looks that still say something of the time between."""
    return max(LONGEST_GAP, GAP_BEATS * beat)


def fresh_for(node_lost_after: float, beat: float) -> float:
    """Seconds after its claim in which nobody takes an attempt over: neither a sibling (`ADOPT_AFTER`), nor another
    node, which counts from the last heartbeat; that may be a beat older than the claim."""
    return min(FRESH, node_lost_after - beat)


class Hints:
    """Remembers hints that were sent and not yet taken up. Owned by the admission thread."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds until a hint is sent again, a beat."""
        self._patience = patience
        self._last: dict[tuple[str, int], float] = {}
        self._first: dict[tuple[str, int], float] = {}
        self._looked = 0.0

    def sent(self, task_id: str, attempt: int, now: float) -> None:
        """Note a hint."""
        self._last[task_id, attempt] = now
        self._first.setdefault((task_id, attempt), now)

    def heard(self, task_ids: Iterable[str]) -> None:
        """Some body has taken a hint up: the consumer is not deaf, whatever became of the attempt."""
        taken = set(task_ids)
        self._first = {key: at for key, at in self._first.items() if key[0] not in taken}

    def overdue(self, rows: Mapping[str, int], running: Collection[str], now: float) -> list[str]:
        """Jobs with a row of ours that do not run here and whose last hint is older than the patience (s)."""
        waiting = {(task_id, attempt) for task_id, attempt in rows.items() if task_id not in running}
        self._last = {key: at for key, at in self._last.items() if key in waiting}
        self._first = {key: at for key, at in self._first.items() if key in waiting}
        return sorted(
            task_id for task_id, attempt in waiting
            if now - self._last.get((task_id, attempt), -self._patience) >= self._patience
        )  # fmt: skip

    def unanswered(self, now: float) -> bool:
        """Whether some hint has gone unheard for so long, in spite of repeats, that the consumer must be deaf.

        To be asked at every beat: time in which nobody looked does not count.
        """
        if now - self._looked > longest_gap(self._patience):
            self.forget()
        self._looked = now
        after = max(DEAF_AFTER, 2 * self._patience)  # what was sent again this very moment has its time, too
        return any(now - first > after and self._last.get(key, first) > first for key, first in self._first.items())

    def forget(self) -> None:
        """Redis was away, and the consumer with it: what was not heard until now does not count."""
        self._first.clear()


#: seconds that a worker's lease must have been missing, Redis answering all the while, before its rows are adopted
ADOPT_AFTER = 6.0


class Watchman:
    """Since when something has been the same, as this process saw it itself, look by look, Redis answering at each.

    No other clock is trusted: not a key's expiry, which lapses for everybody in an outage, nor another node's time.
    """

    def __init__(self, after: float, beat: float) -> None:
        """Seconds; a look is due at every beat."""
        self._after, self._gap = after, longest_gap(beat)
        self._since: dict[str, tuple[str, float]] = {}
        self._looked = 0.0

    def unchanged(self, seen: Mapping[str, str], now: float) -> frozenset[str]:
        """The names whose value has been the same for `after` seconds."""
        if now - self._looked > self._gap:
            self._since.clear()
        self._looked = now
        before, self._since = self._since, {}
        for name, value in seen.items():
            known = before.get(name)
            self._since[name] = known if known is not None and known[0] == value else (value, now)
        return frozenset(name for name, (_, since) in self._since.items() if now - since >= self._after)

    def forget(self) -> None:
        """Redis was away: what was not seen meanwhile does not count."""
        self._since.clear()


class Absences:
    """Since when which worker's lease has been missing. Owned by the admission thread."""

    def __init__(self, beat: float = 0.0) -> None:
        """`beat`: seconds between looks where those may be many."""
        self._watchman = Watchman(ADOPT_AFTER, beat)

    def dead(self, workers: Collection[str], living: Collection[str], now: float) -> frozenset[str]:
        """Those of `workers` whose lease has been missing for ADOPT_AFTER."""
        return self._watchman.unchanged({worker: "" for worker in workers if worker not in living}, now)

    def forget(self) -> None:
        """Redis was away: leases lapsed for everyone, so nobody is dead on that account."""
        self._watchman.forget()


def lost_outcome(job: Job, seconds: float) -> Outcome:
    """How a job ends, or what its attempt leaves, whose node has not been heard for so long."""
    seen = f"node {job.node} was not heard of for {seconds:g} s"
    if job.stop_grace is not None:
        return Outcome(cause=Cause.CANCELLED, evidence=f"stopped on request; {seen}")
    return Outcome(cause=Cause.NODE_LOST, evidence=seen)
