"""What follows the end of an attempt: the end of the job, or another attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hivemind_worker.domain.job import Job
from hivemind_worker.domain.outcome import CAUSES, Cause, Outcome

#: what the record calls the two budgets
Budget = Literal["failures", "infra_failures"]
#: no back-off grows beyond this, seconds
LONGEST_DELAY = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """Another attempt: the budget that pays for it, and how long it waits at least (seconds)."""

    budget: Budget
    delay: float = 0.0


def next_step(job: Job, outcome: Outcome, *, budget: int, backoff: float) -> Step | None:
    """Another attempt, or None: this outcome is the job's.

    `budget`: attempts that the infrastructure may lose before the job is given up, never taken from the job's own
    `retries`; `backoff`: seconds before the first of them, doubled for each that follows. What was lost with its node
    waits for nothing: another node is well.
    """
    rule = CAUSES[outcome.cause]
    if job.stop_grace is not None:
        return None
    if rule.retry == "own" and job.failures < job.assignment.retries:
        return Step("failures")
    if rule.retry == "infrastructure" and job.infra_failures < budget:
        lost = outcome.cause is Cause.NODE_LOST
        return Step("infra_failures", 0.0 if lost else min(backoff * 2**job.infra_failures, LONGEST_DELAY))
    return None
