"""What is reported, what comes back, and what a receiver of reports can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.domain.outcome import BlobRef


class SinkAway(HiveMindError):
    """The receiver of reports does not answer; everything is kept and tried again."""

    code = "sink_away"


class Verdict(Enum):
    """What became of a report."""

    ACCEPTED = "accepted"
    #: never to be sent again
    REFUSED = "refused"
    #: to be sent again later
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's word on one report. `result_offset`: send the artifact too, from this byte on."""

    verdict: Verdict
    reason: str = ""
    result_offset: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One change of a job's state; `at` in epoch milliseconds. `view`: the job, where its end or a resync is told."""

    sequence: int
    task_id: str
    state: str
    attempt: int
    cause: str
    at: int
    view: Mapping[str, Any] | None
    resync: bool


@dataclass(frozen=True, slots=True)
class Result:
    """An artifact that the receiver wants; `ref` None: there is none, or none here, and `missing` says why."""

    task_id: str
    attempt: int
    ref: BlobRef | None
    missing: str


class Sending(Protocol):
    """An artifact on its way. Nothing here waits."""

    def done(self) -> bool:
        """Whether it has arrived, was refused, or was cut off."""

    def cancel(self) -> None:
        """Break it off now."""

    def answer(self) -> Answer:
        """What became of it, once it is done. Raises SinkAway."""


class Sink(Protocol):
    """A receiver. Threads may share it."""

    def deliver(self, term: int, reports: Sequence[Report]) -> Iterator[Mapping[str, Answer]]:
        """Reports of as many jobs. Yields after each call that it makes, and no call is as long as a leader's term:
        answers by job, or none yet. Those left without one are to be sent again. Raises SinkAway.
        """

    def submit(self, result: Result, offset: int) -> Sending:
        """Begin to send one artifact from an offset on. Raises SinkAway."""

    def close(self) -> None:
        """Give the connection back."""
