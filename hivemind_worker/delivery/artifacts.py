"""The artifact: a zip of what the job wrote, with its log and its outcome."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

from hivemind_worker.delivery.artifact_names import LOG_NAME, OUTCOME_NAME
from hivemind_worker.delivery.artifact_report import ArtifactLimits, ArtifactReport, Less, final_outcome
from hivemind_worker.delivery.selection import Selection
from hivemind_worker.delivery.zip_entries import READ, add_bytes, add_file
from hivemind_worker.domain.errors import NodeDiskFull
from hivemind_worker.domain.files import Baseline
from hivemind_worker.domain.resources import format_size

__all__ = ["ArtifactLimits", "ArtifactReport", "Less", "collect_artifact", "final_outcome"]


def collect_artifact(
    workspace_work: Path | None,
    baseline: Baseline,
    log_path: Path | None,
    outcome_json: str | Callable[[ArtifactReport], str],
    target: Path,
    limits: ArtifactLimits,
    less: Less | None = None,
) -> ArtifactReport:
    """Write the zip: new and changed regular files, execution_log.txt, outcome.json. `target` must not exist.

    A job that never started has neither work nor log.

    `outcome_json`, a JSON object, becomes outcome.json, with `left_out` added; as a function it is asked last, sees
    what was collected, and tells of it itself (`final_outcome`). A file of the job that is called
    like one of the node's goes in as job.<name>. With `less` the job's files are named and left out. To be called
    once nothing writes there any more; it survives it otherwise.
    Raises NodeDiskFull; then no file is left.
    """
    selection = Selection(baseline, limits, less.why if less else "")
    try:
        with target.open("xb") as raw, ZipFile(raw, "w") as archive:
            if workspace_work is not None:
                selection.collect(workspace_work, archive)
            cut = _add_log(archive, log_path, less.log_bytes if less else None)
            draft = selection.report(target, raw.tell())
            if less:
                draft = replace(draft, no_room=True)
            if cut and less:
                draft = _with_cut_log(draft, cut, less.why)
            text = _with_left_out(outcome_json, draft) if isinstance(outcome_json, str) else outcome_json(draft)
            add_bytes(archive, OUTCOME_NAME, text.encode())
        return replace(draft, bytes=target.stat().st_size)
    except FileExistsError:
        raise
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NodeDiskFull("the disk filled up while the artifact was collected") from error
        raise


def _add_log(archive: ZipFile, log_path: Path | None, most: int | None) -> int:
    """The log, or its last `most` bytes; how many bytes of it were left out."""
    try:
        descriptor = -1 if log_path is None else os.open(log_path, READ)
    except FileNotFoundError:
        descriptor = -1
    if descriptor < 0:
        add_bytes(archive, LOG_NAME, b"")
        return 0
    try:
        status = os.fstat(descriptor)
        if most is None or status.st_size <= most:
            add_file(archive, LOG_NAME, descriptor, status)
            return 0
        add_bytes(archive, LOG_NAME, os.pread(descriptor, most, status.st_size - most))
        return status.st_size - most
    finally:
        os.close(descriptor)


def _with_cut_log(report: ArtifactReport, cut: int, why: str) -> ArtifactReport:
    told = f"its first {format_size(cut)} are left out: {why}"
    over = report.over or f"{why}: only the log's end is in the artifact"
    return replace(report, skipped=((LOG_NAME, told), *report.skipped), over=over, log_cut=True)


def _with_left_out(text: str, report: ArtifactReport) -> str:
    """outcome.json with what is not in the artifact, where there is something to tell."""
    if not report.left_out:
        return text
    told = [{"name": name, "why": why} for name, why in report.skipped]
    return json.dumps({**json.loads(text), "left_out": told, "left_out_total": report.left_out}, indent=2)
