"""Points on a job's way that a fault harness can name, to strike exactly there. On a node they do nothing.

The harness sets the environment variable CHAOS_KILLPOINTS to a module below `tests.chaos`, which an installed build
does not have, and its `reach(point, task_id)` is called, in the thread and at the moment that the point names.
It may kill the process, wait, or return.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib import import_module

VARIABLE = "CHAOS_KILLPOINTS"

#: every point: those of a job's way in their order, then those beside it
POINTS = {
    "bundle-kept": "bridge: a bundle is stored, its upload is not answered yet",
    "accepted": "bridge, or worker for a plain Celery client: the record is made, the caller does not know yet",
    "reserved": "worker: the job has a row, its hint is on the worker's queue",
    "claimed": "worker: the attempt is claimed, nothing is made",
    "workspace-made": "worker: the workspace's directory is there, empty",
    "workspace-ready": "worker: bundle unpacked and baseline noted, no container",
    "container-created": "worker: the container is made, not started",
    "container-started": "worker: the container runs, the record says `preparing`",
    "running": "worker: the record says `running`",
    "exit-seen": "worker: the container's end is known, its output not read to the end",
    "collecting": "worker: the record says `collecting`, there is no artifact",
    "artifact-kept": "worker: the artifact is stored, the outcome is not recorded",
    "recorded": "worker: the outcome is recorded, container and workspace are there",
    "retried": "worker: the job is back in the line, container and workspace of the old attempt are there",
    "container-removed": "worker: the container is gone, the workspace is there",
    "stopped": "bridge: a job that waited is stopped, the caller does not know yet",
    "promoted": "worker: jobs whose back-off is over are in the line again, nobody has looked at it",
    "adopted": "worker: a dead sibling's job is in this worker's hands, nobody runs it",
    "node-lost": "worker: a job is taken from a lost node, which may still run it",
}
#: those that a job passes only where something befell it, in the order of the table
RARE = ("stopped", "promoted", "adopted", "node-lost")


def reach(point: str, task_id: str = "") -> None:
    """The process is at `point` with this job. Does nothing unless a harness listens."""
    strike = _harness()
    if strike is not None:
        strike(point, task_id)


@functools.cache
def _harness() -> Callable[[str, str], None] | None:
    name = os.environ.get(VARIABLE, "")
    if not name.startswith("tests.chaos"):
        return None
    try:
        module = import_module(name)
    except ModuleNotFoundError:
        return None  # an installed build
    return module.reach  # type: ignore[no-any-return]
