"""What is left on a node that drains, and until when."""

from __future__ import annotations

from typing import Any

from hivemind_cli.draining import left

NOW = 1767225600.0  # 2026-01-01T00:00:00Z


def task(timeout: float, started: str | None = None) -> dict[str, Any]:
    return {"times": {"started": started}, "timeout_seconds": timeout}


def test_the_last_deadline_counts() -> None:
    found = left([task(60, "2025-12-31T23:59:30.000Z"), task(600, "2025-12-31T23:59:50.000Z")], NOW)
    assert (found.jobs, found.seconds) == (2, 590)
    assert str(found) == "2 jobs run on, until 9m50s from now at the latest"


def test_a_job_that_has_not_started_has_all_its_time_before_it() -> None:
    assert left([task(60)], NOW).seconds == 60


def test_a_job_beyond_its_deadline_is_on_its_way_out_and_a_clock_that_is_behind_gives_no_extra_time() -> None:
    late = left([task(5, "2025-12-31T23:00:00.000Z")], NOW)
    assert (late.jobs, late.seconds) == (1, 0)
    assert str(late) == "1 job runs on"
    assert left([task(60, "2026-01-01T01:00:00.000Z")], NOW).seconds == 60


def test_nothing_is_left_of_nothing() -> None:
    assert (left([], NOW).jobs, left([], NOW).seconds, str(left([], NOW))) == (0, None, "no job is left")
