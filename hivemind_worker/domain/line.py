"""The waiting line as admission sees it: candidates come in, claims go out."""

from __future__ import annotations

from dataclasses import dataclass

from hivemind_worker.domain.node import Reservation


@dataclass(frozen=True, slots=True)
class Claim:
    """One admission to be made: this job's next attempt, with this row."""

    task_id: str
    shape: str
    row: Reservation


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
