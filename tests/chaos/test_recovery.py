"""The figures of recovery on journals made by hand: what is not measured is counted, and why."""

from __future__ import annotations

from typing import Any

from tests.chaos import recovery
from tests.chaos.journal import Entry
from tests.chaos.journals import container, event, fault


def kill(t: float, process: str = "worker@n1") -> Entry:
    return {"t": t, "kind": "kill", "process": process, "pid": 1}


def deed(t: float, number: int, state: str = "running", worker: str = "worker@n1", **about: Any) -> Entry:
    return event(t, number, state, **about) | {"worker": worker}


def again(*entries: Entry, whatever: bool = False) -> tuple[list[float], dict[str, int]]:
    found = recovery.consuming_again(sorted(entries, key=lambda entry: float(entry["t"])), whatever=whatever)
    return found.values, dict(found.left_out)


OVER: Entry = {"t": 100.0, "kind": "fault", "name": "none", "what": "end"}


def test_from_a_kill_to_the_next_deed_of_that_worker() -> None:
    assert again(kill(10.0), deed(11.0, 1, worker="w2@n1"), deed(12.5, 2), OVER) == ([2.5], {})


def test_a_worker_that_never_came_again_is_not_dropped_without_a_word() -> None:
    assert again(kill(10.0), OVER) == ([], {recovery.NEVER: 1})
    assert again(kill(95.0), OVER) == ([], {recovery.IDLE: 1})


def test_what_another_fault_overlaps_and_what_is_killed_again_is_counted() -> None:
    across = fault("freeze engine", 11.0, 14.0)
    assert again(kill(10.0), *across, deed(15.0, 1), OVER) == ([], {recovery.ACROSS: 1})
    assert again(kill(10.0), *across, deed(15.0, 1), OVER, whatever=True) == ([5.0], {})
    assert again(kill(10.0), kill(11.0), deed(12.0, 1), OVER) == ([1.0], {recovery.AGAIN: 1})


def test_every_kill_of_a_worker_is_either_measured_or_counted() -> None:
    kills = [kill(t, name) for t in (10.0, 11.0, 30.0, 99.0) for name in ("worker@n1", "w2@n1", "worker@n2")]
    rest = [deed(12.0, 1), deed(13.0, 2, worker="w2@n1"), *fault("cut", 29.0, 31.0), OVER]
    values, left = again(*kills, *rest)
    assert len(values) + sum(left.values()) == len(kills)
    figures = recovery.recovery(sorted([*kills, *rest], key=lambda entry: float(entry["t"])))
    for title in ("consuming again after kill -9 of the worker, s", "the same, whatever else lay across it, s"):
        row = figures[title]
        assert row["n"] + sum(number for name, number in row.items() if name.startswith("left out")) == len(kills)


def test_a_stop_that_was_not_followed_is_counted() -> None:
    stopped = {"asked": True, "target": "n1"}
    entries = [
        *fault("stop worker", 1.0, 2.0, **stopped, took=0.9),
        *fault("stop worker", 10.0, 30.0, **stopped),
        *fault("freeze worker", 40.0, 60.0),
        *fault("stop worker", 41.0, 61.0, **stopped),
        *fault("stop worker", 70.0, 70.0),  # it did not run
    ]
    found = recovery.orderly_stops(entries)
    assert found.values == [0.9]
    assert found.left_out == {recovery.STAYED: 1, recovery.FROZEN: 1}


def test_an_end_that_waited_for_its_worker_is_counted() -> None:
    told = [deed(0.5, 1, "preparing"), deed(6.0, 2, "completed")]
    lived = container(1.0, 5.0)
    disturbed, plain = recovery.delays([*lived, *told])
    assert ([round(value, 3) for value in plain.values], disturbed.values) == ([1.0], [])
    disturbed, plain = recovery.delays([*lived, *told, kill(2.0)])
    assert (disturbed.values, dict(disturbed.left_out), plain.values) == ([], {recovery.LATER: 1}, [])
    disturbed, plain = recovery.delays([*lived, kill(2.0), deed(3.0, 3, job="k"), *told])
    assert [round(value, 3) for value in disturbed.values] == [1.0]
    disturbed, plain = recovery.delays([*lived, *told, *fault("freeze engine", 2.0, 3.0)])
    assert (plain.values, dict(plain.left_out)) == ([], {recovery.ACROSS: 1})
