"""A job that takes its worker down: when it is believed, and how it is kept from being blamed for others. Pure.

A worker that dies within `TRIAL` seconds after it took a job up counts against that job if it was among the last that
the worker took up; one that lives longer with it clears it (claim.lua, prove.lua). Suspects are taken up one after the
other, so that few are the last at a time. One on its last chance is taken up alone, and only by a worker that has shown
that it lives without it: one that dies meanwhile acquits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hivemind_worker.domain.job import Job, iso
from hivemind_worker.domain.outcome import Cause, Outcome

#: seconds that a worker must live with a job to clear it, and without one before that has its last chance
TRIAL = 30.0


@dataclass(frozen=True, slots=True)
class Due:
    """Which jobs a worker takes up now, which of them is on its last chance, and which wait for the worker's proof."""

    now: tuple[str, ...] = ()
    last_chance: str | None = None
    held_back: tuple[str, ...] = ()


def poison_outcome(job: Job, limit: int) -> Outcome | None:
    """How a job ends that has taken down `limit` workers in a row; None: it has not."""
    if job.downs < limit:
        return None
    seen = ", ".join(f"{worker} at {iso(at)}" for at, worker in job.downs_seen)
    evidence = f"{job.downs} workers died within {TRIAL:g} s after they had taken it up, the last of them: {seen}"
    return Outcome(cause=Cause.INTERNAL, evidence=evidence)


def due_of(overdue: Iterable[str], downs: Mapping[str, int], limit: int, *, on_trial: str | None, proven: bool) -> Due:
    """What is taken up now of what is overdue. `on_trial`: the job on its last chance that this worker has already;
    `proven`: the worker has lived long enough."""
    now: list[str] = []
    held_back: list[str] = []
    staggered = False
    for task_id in sorted(overdue, key=lambda one: (downs.get(one, 0), one)):
        count = downs.get(task_id, 0)
        if count >= limit or count < max(1, limit - 2):
            now.append(task_id)
        elif count == limit - 1:
            if not proven:
                held_back.append(task_id)
            elif on_trial in (None, task_id):
                on_trial = task_id
                now.append(task_id)
        elif not staggered:
            staggered = True
            now.append(task_id)
    return Due(tuple(now), on_trial, tuple(held_back))
