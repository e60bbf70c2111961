"""From how an attempt ended to its outcome: the artifact is collected, kept, and named in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from hivemind_worker.delivery.artifacts import (
    ArtifactLimits,
    ArtifactReport,
    Less,
    collect_artifact,
    final_outcome,
)
from hivemind_worker.domain.errors import DiskExhausted
from hivemind_worker.domain.files import Baseline
from hivemind_worker.domain.job import Job, iso
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import KIB
from hivemind_worker.store.blobs import BlobStore

log = structlog.get_logger()

#: seconds between tries to keep an artifact whole on a disk that is full; a job that ran for days is worth minutes
ROOM_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
#: what is tried in turn when not everything can be kept: bytes of the log's end; None: all of it
LOG_BYTES = (None, 64 * KIB, 4 * KIB)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an attempt left its files: the workspace, what lay there before it ran, and its log; None: nowhere."""

    work: Path | None
    baseline: Baseline
    log: Path | None


class Collector:
    """Collects artifacts into the blob store. Threads may share it."""

    def __init__(self, artifacts: BlobStore, staging: Path, limits: ArtifactLimits) -> None:
        self._artifacts = artifacts
        self._staging = staging
        self._limits = limits

    def collect(self, job: Job, source: Source | None, outcome: Outcome) -> Outcome:
        """The outcome with its artifact. Without a source (the job never started) the artifact tells why.

        Where the node's disk is too full for the job's files, the artifact holds its log, or the log's end, and tells
        what is missing. That makes a good outcome `internal`; one that was bad already keeps its cause. Never raises
        for the job's own doing.
        """
        target = self._staging / f"artifact-{uuid4().hex}"
        try:
            return self._collect_what_fits(job, source or Source(None, {}, None), outcome, target)
        except (DiskExhausted, OSError) as error:
            log.warning("artifact lost", job_id=job.task_id, attempt=job.attempt, error=str(error))
            return without_artifact(outcome, str(error))
        finally:
            target.unlink(missing_ok=True)

    def collect_patiently(
        self, job: Job, source: Source | None, outcome: Outcome, rest: Callable[[float], None]
    ) -> Outcome:
        """The same, but a full disk is given time to have room again: ROOM_PAUSES in all.

        `rest` pauses for so many seconds; what it raises goes through.
        """
        for pause in ROOM_PAUSES:
            target = self._staging / f"artifact-{uuid4().hex}"
            try:
                return self._collect(job, source or Source(None, {}, None), outcome, target)
            except (DiskExhausted, OSError) as error:
                log.warning("artifact waits", job_id=job.task_id, attempt=job.attempt, why=str(error), seconds=pause)
            finally:
                target.unlink(missing_ok=True)
            rest(pause)
        return self.collect(job, source, outcome)

    def _collect_what_fits(self, job: Job, source: Source, outcome: Outcome, target: Path) -> Outcome:
        try:
            return self._collect(job, source, outcome, target)
        except (DiskExhausted, OSError) as error:
            first = error
        for log_bytes in LOG_BYTES:
            target.unlink(missing_ok=True)
            with suppress(DiskExhausted, OSError):
                kept = self._collect(job, source, outcome, target, Less(str(first), log_bytes))
                log.warning("artifact without files", job_id=job.task_id, attempt=job.attempt, error=str(first))
                return kept
        raise first

    def _collect(self, job: Job, source: Source, outcome: Outcome, target: Path, less: Less | None = None) -> Outcome:
        final = outcome

        def describe(report: ArtifactReport) -> str:
            nonlocal final
            final = final_outcome(outcome, report)
            return outcome_json(job, final, report)

        collect_artifact(source.work, source.baseline, source.log, describe, target, self._limits, less)
        return final.model_copy(update={"artifact": self._artifacts.add(target)})


def outcome_json(job: Job, outcome: Outcome, report: ArtifactReport) -> str:
    """What outcome.json in the artifact says. Pure."""
    body = {
        "task_id": job.task_id,
        "attempt": job.attempt,
        "state": outcome.state,
        **outcome.model_dump(mode="json", exclude={"artifact"}),
        "started": iso(job.times.started),
        "skipped": [{"name": name, "why": why} for name, why in report.skipped],
        "skipped_total": report.left_out,
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def without_artifact(outcome: Outcome, why: str) -> Outcome:
    """The outcome when the artifact could not be kept. Pure."""
    if outcome.cause is Cause.OK:
        return outcome.model_copy(
            update={"cause": Cause.INTERNAL, "evidence": f"the program exited 0, but its artifact was lost: {why}"}
        )
    return outcome.model_copy(update={"evidence": f"{outcome.evidence}; its artifact was lost: {why}"})
