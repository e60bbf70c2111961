"""A job that takes its worker down: when it is believed, and how it is kept from being blamed for others. Pure.

A worker that dies within `TRIAL` seconds after it took a job up counts against that job, and against every other it had
taken up just then. One that has lived longer with it clears it. So that an innocent one is not given up for the company
it kept, a job that is one death away from the limit is taken up again alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hivemind_worker.domain.job import Job, iso
from hivemind_worker.domain.outcome import Cause, Outcome

#: seconds that a worker must live with a job to clear it
TRIAL = 30.0


def poison_outcome(job: Job, limit: int) -> Outcome | None:
    """How a job ends that has taken down `limit` workers in a row; None: it has not."""
    if job.downs < limit:
        return None
    seen = ", ".join(f"{worker} at {iso(at)}" for at, worker in job.downs_seen)
    evidence = f"{job.downs} workers died within {TRIAL:g} s after they had taken it up, the last of them: {seen}"
    return Outcome(cause=Cause.INTERNAL, evidence=evidence)


def hints_due(overdue: Iterable[str], downs: Mapping[str, int], limit: int, on_trial: str | None) -> list[str]:
    """Which of the overdue jobs may be taken up now: of those on their last chance one, and none beside another."""
    due: list[str] = []
    for task_id in overdue:
        if downs.get(task_id, 0) != limit - 1 or limit == 1:
            due.append(task_id)
        elif on_trial in (None, task_id):
            on_trial = task_id
            due.append(task_id)
    return due
