"""What a body does whose attempt was fenced off: nothing is recorded, and nothing of it goes on that must not."""

from __future__ import annotations

import structlog

from hivemind_worker.agent import Agent
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.domain.fence import standing
from hivemind_worker.domain.job import Job

log = structlog.get_logger()


def settle(agent: Agent, job: Job, why: str) -> None:
    """Look at the record, and let go of the attempt or end it.

    In a sibling's hands: container and workspace are the sibling's. Superseded, lost or ended: both go, by the
    container's own id. Not known, because Redis does not answer: they are left to the janitor, which asks again.
    """
    try:
        record = agent.stores.jobs.get_many([job.task_id])[0]
    except StoreUnavailable as error:
        log.warning("attempt let go, its record unread", job_id=job.task_id, attempt=job.attempt, why=str(error))
        return
    whose = standing(record, job.attempt, agent.worker)
    log.warning("attempt fenced off", job_id=job.task_id, attempt=job.attempt, why=why, standing=whose)
    if whose == "over":
        agent.runner.discard(job)
