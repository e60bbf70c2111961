"""What may go into an artifact, what went in, and what that means for the outcome. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.settings import Settings


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """Bytes of the job's files together, before compression, and how many of them."""

    max_bytes: int
    max_entries: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The node's limits."""
        return cls(settings.max_artifact_bytes, settings.max_artifact_entries)


@dataclass(frozen=True, slots=True)
class Less:
    """A second try with less: no file of the job goes in, because of `why`, and of the log its last `log_bytes`."""

    why: str
    #: None: all of it
    log_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """What was collected: `entries` files of the job, in a zip of `bytes` bytes.

    `skipped` tells (name, why) of the first that were left out, `left_out` counts them all. `over` is a sentence
    that names the file and the cap when a cap was passed, or why nothing but the node's own went in; else empty.
    """

    path: Path
    entries: int
    bytes: int
    skipped: tuple[tuple[str, str], ...] = ()
    left_out: int = 0
    over: str = ""
    log_cut: bool = False
    #: it was the node that had no room for it
    no_room: bool = False


def final_outcome(outcome: Outcome, report: ArtifactReport) -> Outcome:
    """A job that ended well but whose artifact is not whole ended of `disk`; any other end stays. Pure.

    Where it was the node that had no room, that is `internal`: another attempt may be luckier.
    """
    if report.log_cut:
        outcome = outcome.model_copy(update={"log": outcome.log.model_copy(update={"truncated": True})})
    if not report.over:
        return outcome
    cause = outcome.cause
    if cause is Cause.OK:
        cause = Cause.INTERNAL if report.no_room else Cause.DISK
    evidence = f"{outcome.evidence}; {report.over}" if outcome.evidence else report.over
    return outcome.model_copy(update={"cause": cause, "evidence": evidence})
