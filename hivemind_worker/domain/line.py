"""The waiting line as admission sees it: candidates come in, claims go out, one promise stands."""

from __future__ import annotations

from dataclasses import dataclass

from hivemind_worker.domain.node import Reservation


@dataclass(frozen=True, slots=True)
class Claim:
    """One admission to be made: this job's next attempt, with this row, on this node; `why` is one of policy's WHYS."""

    task_id: str
    shape: str
    row: Reservation
    node: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One waiting job as admission sees it: smaller rank is earlier; times in epoch milliseconds."""

    task_id: str
    shape: str
    rank: float
    attempt: int
    created: int
    timeout_seconds: float
    owner: str = ""
    #: how long earlier runs of its kind took, seconds; None: nothing is known but the declared timeout
    predicted: float | None = None

    @property
    def expected(self) -> float:
        """Seconds it will probably run."""
        return self.timeout_seconds if self.predicted is None else min(self.predicted, self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class Promise:
    """The head of the line's reservation: it starts by `at` (epoch ms), on `node` unless it can elsewhere before."""

    task_id: str
    node: str
    at: int
