"""For how long a container has run, though the machine's clock is set while it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.execution.found import Found
from hivemind_worker.execution.since import LONGEST_START, Moment, ran_for, rebooted, wall_seconds

START = Moment("this boot", 5000.0, 1_000_000.0)
HOUR = 3600.0
STEPS = st.floats(-10 * 365 * 24 * HOUR, 10 * 365 * 24 * HOUR)


def found(started: float | None, finished: float | None = None, status: str = "running") -> Found:
    return Found(id="1", name="x", status=status, started_at=started, finished_at=finished)


def later(seconds: float, step: float = 0.0) -> Moment:
    return Moment(START.boot, START.up + seconds, START.wall + seconds + step)


@given(elapsed=st.floats(0, 30 * 24 * HOUR), step=STEPS, late=st.floats(0, LONGEST_START))
def test_a_clock_that_is_set_after_the_start_changes_nothing(elapsed: float, step: float, late: float) -> None:
    ran = ran_for(START, found(START.wall + late), later(elapsed, step))
    assert ran == pytest.approx(max(0.0, elapsed - late), abs=1e-3)


@given(elapsed=st.floats(0, 30 * 24 * HOUR), step=STEPS)
def test_a_clock_that_is_set_in_the_very_moment_of_the_start_costs_or_gives_no_more_than_a_start_may_take(
    elapsed: float, step: float
) -> None:
    ran = ran_for(START, found(START.wall + step), later(elapsed, step))
    assert elapsed - LONGEST_START - 1e-6 <= ran <= elapsed + 1e-6


def test_without_a_note_the_engines_stamps_tell_but_never_more_than_the_machine_is_up() -> None:
    now = later(100)
    assert ran_for(None, found(now.wall - 60), now) == 60
    assert ran_for(None, found(now.wall + HOUR), now) == 0
    assert ran_for(None, found(now.wall - 10 * 365 * 24 * HOUR), now) == now.up
    assert ran_for(None, found(None), now) == 0
    assert ran_for(None, None, now) == 0
    assert ran_for(replace(START, boot="an older boot"), found(now.wall - 60), now) == 60


def test_a_job_lasted_as_long_as_its_stamps_say_unless_that_cannot_be() -> None:
    assert wall_seconds(found(10.0, 14.0, "exited"), seen=9.0) == 4.0
    assert wall_seconds(found(10.0, 10.0 + HOUR, "exited"), seen=9.0) == 9.0
    assert wall_seconds(found(10.0, 10.0 - HOUR, "exited"), seen=9.0) == 9.0
    assert wall_seconds(found(10.0), seen=9.0) == 9.0
    assert wall_seconds(None, seen=9.0) == 9.0


def test_a_restart_of_the_machine_is_known_by_the_boot_and_not_by_the_clock() -> None:
    now = later(100)
    booted = now.wall - now.up
    older = replace(START, boot="an older boot")
    assert rebooted(older, found(booted - 50, booted + 1, "exited"), now)
    assert not rebooted(older, found(booted - 50, booted - 1, "exited"), now), "it had ended before"
    stepped = later(100, step=2 * HOUR)
    assert not rebooted(START, found(START.wall, START.wall + HOUR * 1.5, "exited"), stepped)
    assert rebooted(None, found(booted - 50, booted + 1, "exited"), now)
    assert not rebooted(None, found(booted + 1, booted + 2, "exited"), now)
    assert not rebooted(older, found(booted - 50), now)
    assert not rebooted(older, None, now)


def test_a_moment_survives_its_way_through_a_file() -> None:
    assert Moment.parse(START.fields()) == START
    now = Moment.now()
    assert Moment.now().boot == now.boot


@pytest.mark.parametrize("damaged", [{}, [], None, {"boot": "x", "up": "soon", "wall": 1}, {"boot": "x"}])
def test_a_damaged_note_is_none(damaged: Any) -> None:
    assert Moment.parse(damaged) is None
