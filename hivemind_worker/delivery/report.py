"""From how an attempt ended to its outcome: the artifact is collected, kept, and named in it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from hivemind_worker.delivery.artifacts import ArtifactLimits, ArtifactReport, collect_artifact, final_outcome
from hivemind_worker.domain.errors import DiskExhausted
from hivemind_worker.domain.files import Baseline
from hivemind_worker.domain.job import Job, iso
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.store.blobs import BlobStore

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Source:
    """Where an attempt left its files: the workspace, what lay there before it ran, and its log."""

    work: Path
    baseline: Baseline
    log: Path


class Collector:
    """Collects artifacts into the blob store. Threads may share it."""

    def __init__(self, artifacts: BlobStore, staging: Path, limits: ArtifactLimits) -> None:
        self._artifacts = artifacts
        self._staging = staging
        self._limits = limits

    def collect(self, job: Job, source: Source | None, outcome: Outcome) -> Outcome:
        """The outcome with its artifact. Without a source (the job never started) the artifact tells why.

        A full disk makes a good outcome `disk`; one that was bad already keeps its cause. Never raises for the job's
        own doing.
        """
        target = self._staging / f"artifact-{uuid4().hex}"
        try:
            if source is not None:
                return self._collect(job, source, outcome, target)
            with tempfile.TemporaryDirectory(dir=self._staging) as empty:
                work, log_path = Path(empty) / "work", Path(empty) / "log"
                work.mkdir()
                log_path.touch()
                return self._collect(job, Source(work, {}, log_path), outcome, target)
        except (DiskExhausted, OSError) as error:
            log.warning("artifact lost", job_id=job.task_id, attempt=job.attempt, error=str(error))
            return without_artifact(outcome, str(error))
        finally:
            target.unlink(missing_ok=True)

    def _collect(self, job: Job, source: Source, outcome: Outcome, target: Path) -> Outcome:
        final = outcome

        def describe(report: ArtifactReport) -> str:
            nonlocal final
            final = final_outcome(outcome, report)
            return outcome_json(job, final, report)

        collect_artifact(source.work, source.baseline, source.log, describe, target, self._limits)
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
            update={"cause": Cause.DISK, "evidence": f"the program exited 0, but its artifact was lost: {why}"}
        )
    return outcome.model_copy(update={"evidence": f"{outcome.evidence}; its artifact was lost: {why}"})
