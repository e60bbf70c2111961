"""What `ps` says of a waiting job in one cell: its place, when it will start, and why it waits."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind_cli.commands.ps import what
from hivemind_worker.domain.job import State, WaitingInfo, view
from tests.builders import assignment, job


def cell(**info: Any) -> str:
    return what(view(job(), WaitingInfo(**info)))


@pytest.mark.parametrize(
    ("position", "eta", "says"),
    [
        (3, 112.4, "No. 3, in about 1m52s: needs 2 cores more"),
        (1, 0.0, "No. 1, in about 0.0s: needs 2 cores more"),
        (3, None, "No. 3: needs 2 cores more"),
        (None, 112.4, "in about 1m52s: needs 2 cores more"),
        (None, None, "needs 2 cores more"),
    ],
)
def test_a_waiting_job_says_its_place_and_its_start_as_far_as_they_are_known(
    position: int | None, eta: float | None, says: str
) -> None:
    assert cell(reason="needs 2 cores more", position=position, eta_seconds=eta) == says


def test_a_job_that_waits_no_more_says_what_it_runs() -> None:
    spec = assignment(image="registry.example/tools/busybox", command=("sleep", "9"))
    assert what(view(job(state=State.RUNNING, assignment=spec))) == "busybox sleep 9"
