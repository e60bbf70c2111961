"""Why the line waits and how long, in numbers: for gauges, not for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hivemind_worker.admission.outlook import FRONT, Outlook

#: why jobs wait: the kinds of rules.Passed · starting: the next plan starts it · resting: until its next attempt may
#: start · unseen: behind the front of the line, which alone is looked at
REASONS = (
    "closed", "home", "nowhere", "withheld", "owner", "full", "behind", "head", "starting", "resting", "unseen",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LineSummary:
    """How many wait for each of REASONS; seconds until the head and the last of the line probably start, if known."""

    reasons: Mapping[str, int]
    first_eta: float | None = None
    longest_eta: float | None = None


def summary_of(front: Sequence[str], waiting: int, outlook: Outlook, looked: int = FRONT) -> LineSummary:
    """`front`: which of the line's first jobs may start, in order; `looked`: of how many; `waiting`: all that wait."""
    kinds = Counter(kind_of(task_id, outlook) for task_id in front)
    kinds["unseen"] = unseen = max(0, waiting - looked)
    kinds["resting"] += max(0, waiting - unseen - len(front))
    reasons = {reason: kinds[reason] for reason in REASONS}
    etas = [outlook.eta_seconds(task_id, place) for place, task_id in enumerate(front, start=1)]
    known = [eta for eta in etas if eta is not None]
    last = outlook.eta_seconds("", waiting) if unseen else None
    unknown = unseen and last is None
    longest = None if unknown or not known else max([*known, *([last] if last is not None else [])])
    head = outlook.promise.task_id if outlook.promise else front[0] if front else ""
    return LineSummary(reasons, outlook.eta_seconds(head, 1), longest)


def kind_of(task_id: str, outlook: Outlook) -> str:
    """Why a job of the line's front waits, as one of REASONS."""
    if task_id in outlook.starting:
        return "starting"
    passed = outlook.passed.get(task_id)
    return passed.kind if passed else "resting"
