"""Why an artifact that a job's record names cannot be had here. Pure."""

from __future__ import annotations

from hivemind_worker.domain.job import Job


def why_no_log(job: Job) -> str:
    """The same for the log of a job that only the history knows."""
    return f"the log of job {job.task_id} is gone: only the history knows the job, and its artifact is not here either"


def why_absent(job: Job, node_id: str) -> str:
    """One sentence for a person; `node_id` is the node that was asked."""
    if job.node and job.node != node_id:
        return (
            f"the artifact of job {job.task_id} lies on node {job.node}, whose files this bridge cannot read; "
            "fetch it from that node's bridge"
        )
    return f"the artifact of job {job.task_id} is no longer kept (retention)"
