"""What is left on a node that drains, and until when."""

from __future__ import annotations

from typing import Any

from hivemind_cli.draining import Left, left
from hivemind_cli.output import until


def node(running: int, empty_by: str | None, state: str = "draining") -> dict[str, Any]:
    return {"state": state, "running": running, "heartbeat": "2026-01-01T00:00:00.500Z", "empty_by": empty_by}


def test_the_last_of_its_jobs_counts_by_the_sites_own_clock() -> None:
    found = left(node(2, "2026-01-01T00:09:50.000Z"))  # years ago, by this machine's clock
    assert (found.jobs, found.seconds) == (2, 590)
    assert str(found) == "2 jobs run on, until 9m50s from now at the latest"


def test_a_job_beyond_its_deadline_is_on_its_way_out() -> None:
    late = left(node(1, "2025-12-31T23:00:00.000Z"))
    assert (late.jobs, late.seconds) == (1, 0)
    assert str(late) == "1 job runs on"


def test_of_a_silent_node_nobody_says_until_when() -> None:
    assert left(node(1, "2026-01-01T00:09:50.000Z", "down")) == Left(1, None)


def test_nothing_is_left_of_nothing() -> None:
    assert (left(node(0, None)), str(left(node(0, None)))) == (Left(0, None), "no job is left")


def test_a_moment_of_the_sites_is_told_from_when_it_was_seen() -> None:
    assert until("2026-01-01T00:02:05.000Z", "2026-01-01T00:00:00.000Z") == "00:02:05 UTC (in 2m05s)"
    assert until("2026-01-01T00:00:00.000Z", "2026-01-01T00:02:05.000Z").endswith("(due)")
