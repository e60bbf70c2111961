"""What the policy goes by, what it decides, and how it says why. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hivemind_worker.domain.line import Claim, Promise
from hivemind_worker.domain.node import Node, Reservation
from hivemind_worker.settings import Settings

#: why a job was started: first of the line · short, so that it hardly delays anyone · as large as the node, while the
#: node is empty for it · before its turn, beside the head's room
WHYS = ("turn", "short", "wide", "fill")


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy's numbers. docs/adr/0013 says how they were chosen."""

    #: a job predicted to run no longer is started before longer ones, seconds
    short: float = 120.0
    #: they use the slack of a head that is known to run longer than this alone, seconds
    giving: float = 360.0
    #: a job that takes at least this part of a node is started when the node is empty anyway, before its turn
    wide: float = 0.9
    #: such a job must have waited at least this part of the head's time
    wide_age: float = 0.2
    #: seconds that a job is held before its container runs, and after its timeout, at most: promises allow for both
    starting: float = 0.0
    ending: float = 0.0
    #: owners' shares; empty: first come, first served. An owner who is not named has that of '*', or 1
    weights: Mapping[str, float] = field(default_factory=dict)
    #: with shares: half of what an owner has used is forgotten in so long, seconds; one that waits and holds nothing
    #: for so long has the next turn
    half_life: float = 86400.0

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The node's: a timeout counts from the container's start, and ends with SIGTERM and a grace."""
        return cls(
            weights=settings.weights,
            half_life=settings.share_half_life,
            starting=settings.job_overhead,
            ending=settings.ending_allowance,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """One node of the site and the rows on it, by task_id."""

    node: Node
    rows: Mapping[str, Reservation]


@dataclass(frozen=True, slots=True)
class Passed:
    """Why a job was passed over.

    closed: no node takes work · home: the only node that may hold it takes none · nowhere: no open node could ever hold
    it, `lacking` even where it is empty · withheld: one could, but lends less for now, since its cores are busy or an
    operator said so, `lacking` even where it is empty · owner: its owner runs as many as may · full: too little is free
    now, `lacking` on `node`, the one that comes closest · behind: it fits, but the head would wait longer for it ·
    head: it is the head and waits for its reservation.
    """

    kind: Literal["closed", "home", "nowhere", "withheld", "owner", "full", "behind", "head"]
    node: str = ""
    lacking: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, in order; the head of the line's reservation from now on; why each of the others waits."""

    claims: tuple[Claim, ...] = ()
    promise: Promise | None = None
    passed: Mapping[str, Passed] = field(default_factory=dict)
    #: the promise that could not be kept, because declared ends did not hold or a node went away
    broken: Promise | None = None

    @property
    def lacking(self) -> dict[str, Mapping[str, int]]:
        """For each job that too little is free for, what is missing."""
        return {task_id: passed.lacking for task_id, passed in self.passed.items() if passed.lacking}
