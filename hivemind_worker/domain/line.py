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

    @property
    def need(self) -> str:
        """What decides where it may go: jobs with the same one are alike to a plan's spaces."""
        return f"{self.shape}@{self.home}" if self.home else self.shape

    @property
    def expected(self) -> float:
        """Seconds it will probably run, as declared where the prediction is no time."""
        predicted, declared = self.predicted, self.timeout_seconds
        return predicted if predicted is not None and 0 <= predicted < declared else declared


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the line that a plan looks at, in order; `whole`: nothing that could start now is left out."""

    candidates: tuple[Candidate, ...]
    whole: bool


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


def predict(same_size: Sequence[float], any_size: Sequence[float]) -> float | None:
    """How long a job will probably run, s, from the last runs of its kind; None where there was none.

    The longest of them: who is taken for short and is not costs others more than who is not taken for short, and a
    program whose last ten runs were short has shown that it is. Runs of the same size count if there are some, else
    those of any size of the same program.
    """
    runs = same_size if len(same_size) >= TELLING else any_size or same_size
    return max(runs, default=None)
