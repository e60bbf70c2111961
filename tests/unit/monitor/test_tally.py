"""What jobs came to, folded from the events."""

from __future__ import annotations

from hivemind_worker.monitor.tally import MAX_OPEN, Tally
from hivemind_worker.store.events import Event


def story(task_id: str, *steps: tuple[str, int], cause: str = "") -> list[Event]:
    """A job's events: state and second."""
    return [Event(f"{at}-0", task_id, state, 1, cause, at * 1000) for state, at in steps]


def test_a_job_counts_once_by_cause_with_its_waiting_and_its_running() -> None:
    tally = Tally()
    tally.fold(story("a", ("waiting", 0), ("admitted", 3), ("preparing", 3), ("running", 4), ("collecting", 14)))
    tally.fold(story("a", ("completed", 15), cause="ok"))
    assert tally.finished == {"ok": 1}
    assert (tally.waited.sum, tally.ran.sum) == (3.0, 10.0)
    assert tally.cursor == "15-0"


def test_a_job_that_was_stopped_in_the_line_neither_started_nor_ran() -> None:
    tally = Tally()
    tally.fold(story("a", ("waiting", 0), ("stopped", 9), cause="cancelled"))
    assert tally.finished == {"cancelled": 1}
    assert tally.waited.cumulative()[-1] == ("+Inf", 0.0)
    assert tally.ran.cumulative()[-1] == ("+Inf", 0.0)


def test_a_retried_job_waits_and_runs_twice_but_ends_once() -> None:
    tally = Tally()
    steps = [("waiting", 0), ("admitted", 1), ("running", 2), ("waiting", 5), ("admitted", 7), ("running", 8)]
    tally.fold(story("a", *steps, ("collecting", 9), ("failed", 10), cause="exit"))
    assert tally.finished == {"exit": 1}
    assert (tally.waited.sum, tally.ran.sum) == (3.0, 4.0)


def test_a_clock_that_went_back_does_not_count_below_zero() -> None:
    tally = Tally()
    tally.fold(story("a", ("waiting", 9), ("admitted", 3)))
    assert tally.waited.sum == 0.0


def test_buckets_are_cumulative() -> None:
    tally = Tally()
    for seconds in (0, 1, 50, 10**6):
        tally.fold(story(f"t{seconds}", ("waiting", 0), ("admitted", seconds)))
    found = dict(tally.waited.cumulative())
    assert (found["0.01"], found["1.0"], found["60.0"], found["86400.0"], found["+Inf"]) == (1, 2, 3, 3, 4)


def test_jobs_whose_end_never_comes_do_not_pile_up() -> None:
    tally = Tally()
    tally.fold(Event(f"{i}-0", f"t{i}", "waiting", 0, "", i) for i in range(MAX_OPEN + 50))
    tally.fold(story("t0", ("admitted", 10**6)))
    assert tally.waited.sum == 0.0
    tally.fold([Event("1-0", f"t{MAX_OPEN + 49}", "admitted", 1, "", MAX_OPEN + 49 + 2000)])
    assert tally.waited.sum == 2.0
