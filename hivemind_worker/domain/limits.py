"""How much one owner may have at once, and how fast it may come. None: no limit of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hivemind_worker.domain.node import Reservation


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """The same for every owner; jobs without an owner are one owner's."""

    #: jobs that wait, and jobs that hold a reservation anywhere in the site
    waiting: int | None = None
    running: int | None = None
    #: assignments a second on the average, and how many may come at once after a quiet time
    rate: float | None = None
    burst: int = 1


@dataclass(frozen=True, slots=True)
class OwnersRunning:
    """How many jobs each owner runs in the site, and the most it may; None: as many as fit."""

    most: int | None = None
    jobs: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, most: int | None, rows: Iterable[Reservation]) -> OwnersRunning:
        """Counted over the rows of all nodes."""
        return cls(most, Counter(row.owner for row in rows) if most is not None else {})

    def full(self, owner: str) -> bool:
        """Whether none of the owner's jobs may start now."""
        return self.most is not None and self.jobs.get(owner, 0) >= self.most

    def with_one_more(self, owner: str) -> OwnersRunning:
        """The same after one of the owner's jobs has started."""
        if self.most is None:
            return self
        return OwnersRunning(self.most, {**self.jobs, owner: self.jobs.get(owner, 0) + 1})

    def reason(self, owner: str) -> str:
        """For a person: why the owner's next job waits."""
        whose = f"owner {owner} runs" if owner else "jobs of no owner: there run"
        number = self.jobs.get(owner, 0)
        jobs = "1 job" if number == 1 else f"{number} jobs"
        return f"{whose} {jobs}, and {self.most} may run (HIVEMIND_MAX_RUNNING_PER_OWNER)"


def parse_weights(text: str) -> dict[str, float]:
    """'alice=3, bob=1' → owners' shares, each owner once. Raises ValueError."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        owner, equals, weight = (word.strip() for word in part.rpartition("="))
        if owner in found:
            raise ValueError(f"{owner!r} has two weights")
        try:
            found[owner] = float(weight)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"{part!r} is not of the form owner=weight, as in alice=3,bob=1")
    return found
