"""What `Runner.prepare` hands to `run` and `clean`, and what `run` gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hivemind_worker.domain.job import Job
from hivemind_worker.domain.outcome import Cause, LogInfo, Usage
from hivemind_worker.execution.sandbox import Identity
from hivemind_worker.execution.workspace import Workspace


@dataclass(slots=True)
class Prepared:
    """One attempt, ready to run. `body` None: a worker that died made its container, which may be gone."""

    job: Job
    workspace: Workspace
    identity: Identity
    body: dict[str, Any] | None = field(repr=False)  # holds the job's secrets
    #: devices that the job has, or shares
    gpus: tuple[str, ...] = ()
    #: the container's id, once known
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, its artifact not yet collected."""

    cause: Cause
    evidence: str = ""
    exit_code: int | None = None
    usage: Usage = field(default_factory=Usage)
    log: LogInfo = field(default_factory=LogInfo)
    #: nobody saw its end: it may have written more than was read
    unseen: bool = False
