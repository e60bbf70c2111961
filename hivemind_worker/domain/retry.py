"""What follows the end of an attempt: the end of the job, or another attempt. Pure."""

from __future__ import annotations

from typing import Literal

from hivemind_worker.domain.job import Job
from hivemind_worker.domain.outcome import CAUSES, Outcome

#: attempts that the infrastructure may lose before the job is given up; never taken from the job's own `retries`
INFRASTRUCTURE_BUDGET = 3

Step = Literal["finish", "own_retry", "infrastructure_retry"]


def next_step(job: Job, outcome: Outcome) -> Step:
    """Finish, or go back to the line on the job's own budget or on the infrastructure's."""
    rule = CAUSES[outcome.cause]
    if job.stop_grace is not None:
        return "finish"
    if rule.user_retry and job.failures < job.assignment.retries:
        return "own_retry"
    if rule.infrastructure_retry and job.infra_failures < INFRASTRUCTURE_BUDGET:
        return "infrastructure_retry"
    return "finish"
