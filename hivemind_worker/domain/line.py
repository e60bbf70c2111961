"""The waiting line as admission sees it: candidates come in, claims go out, one promise stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hivemind_worker.domain.node import Reservation


@dataclass(frozen=True, slots=True)
class Claim:
    """One admission to be made: this job's next attempt, with this row, on this node; `why` is one of policy's WHYS."""

    task_id: str
    #: the line it stands in
    line: str
    row: Reservation
    node: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One waiting job as admission sees it: smaller rank is earlier; times in epoch milliseconds."""

    task_id: str
    shape: str
    rank: float
    attempt: int
    created: int
    timeout_seconds: float
    owner: str = ""
    #: how long earlier runs of its kind took, seconds; None: nothing is known but the declared timeout
    predicted: float | None = None
    #: the line it stands in (Assignment.line); '' where there are none
    line: str = ""
    #: the only node that may hold it (Assignment.home); '' where any may
    home: str = ""
    #: how long three quarters of those runs took at most: where jobs are to be neither short nor long, but on time
    typical: float | None = None

    @property
    def need(self) -> str:
        """What decides where it may go: jobs with the same one are alike to a plan's spaces."""
        return f"{self.shape}@{self.home}" if self.home else self.shape

    @property
    def expected(self) -> float:
        """Seconds it will probably run, as declared where the prediction is no time."""
        predicted, declared = self.predicted, self.timeout_seconds
        return predicted if predicted is not None and 0 <= predicted < declared else declared

    @property
    def known(self) -> float:
        """Seconds that earlier runs of its kind say it may well run; 0 where there were none."""
        told = max(self.predicted or 0.0, self.typical or 0.0)
        return min(told, self.timeout_seconds) if told > 0 else 0.0

    @property
    def likely(self) -> float:
        """Seconds it will run by a guess that errs to both sides: what an ETA counts with."""
        return self.expected if self.typical is None else min(self.typical, self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the line that a plan looks at, in order; `whole`: nothing that could start now is left out."""

    candidates: tuple[Candidate, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Front:
    """The first jobs of the line, or, where owners take turns, of each owner's part of it; in the line's order."""

    candidates: tuple[Candidate, ...] = ()
    #: jobs that were looked at: these, and those among them that may not start yet
    looked: int = 0
    #: owners' turns: of whom more wait than were looked at, and how many owners were not looked at
    longer: frozenset[str] = frozenset()
    unseen_owners: int = 0


@dataclass(frozen=True, slots=True)
class Promise:
    """The head of the line's reservation: it starts by `at` (epoch ms), on `node` unless it can elsewhere before."""

    task_id: str
    node: str
    at: int


#: runs of each kind that are remembered; scripts/finish.lua keeps as many
REMEMBERED = 10
#: runs of a job's own size from which on they tell more than those of all sizes of its program
TELLING = 3


def telling(same_size: Sequence[float], any_size: Sequence[float]) -> Sequence[float]:
    """Which of the last runs of a job's kind tell how long it takes: those of its size if there are some, else all."""
    return same_size if len(same_size) >= TELLING else any_size or same_size


def predict(same_size: Sequence[float], any_size: Sequence[float], *, shared: bool = False) -> float | None:
    """How long a job runs, s, as far as the last runs of its kind tell; None where there was none.

    The longest of them: who is taken for short and is not costs others more than who is not taken for short, and a
    program whose last ten runs were short has shown that it is. Not so where nobody says whose the jobs are, and a kind
    is `shared` by many people: some run of the last ten is always a long one. There it is the median.
    """
    runs = sorted(telling(same_size, any_size))
    if not runs:
        return None
    return runs[len(runs) // 2] if shared else runs[-1]


def typical(same_size: Sequence[float], any_size: Sequence[float]) -> float | None:
    """How long three quarters of the last runs of its kind took at most, s."""
    runs = sorted(telling(same_size, any_size))
    return runs[3 * len(runs) // 4] if runs else None
