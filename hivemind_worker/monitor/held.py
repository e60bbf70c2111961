"""Jobs that hold a reservation, read from the ledger's rows: exact, and no search through a long line."""

from __future__ import annotations

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import HELD, Job


def held_jobs(stores: Stores) -> list[Job]:
    """All of them on every node, newest first. Raises StoreUnavailable."""
    ids = [task_id for node in stores.ledger.nodes() for task_id in stores.ledger.rows(node.node)]
    found = [job for job in stores.jobs.get_many(ids) if job is not None and job.state in HELD]
    return sorted(found, key=lambda job: (job.times.created, job.task_id), reverse=True)
