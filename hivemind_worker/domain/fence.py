"""Whose an attempt is. The scripts decide the same for every write (`standing` in store/scripts/_lib.lua). Pure."""

from __future__ import annotations

from typing import Literal

from hivemind_worker.domain.job import HELD, Job

#: 'mine': go on. 'adopted': a sibling has this very attempt and its container: leave both alone. 'over': superseded,
#: lost, ended or gone: the container of the attempt must not go on
Standing = Literal["mine", "adopted", "over"]


def standing(job: Job | None, attempt: int, worker: str) -> Standing:
    """What the record says about an attempt that this worker's body runs."""
    if job is None or job.attempt != attempt:
        return "over"
    if job.worker == worker:
        return "mine" if job.state in HELD else "over"
    return "adopted" if job.worker else "over"
