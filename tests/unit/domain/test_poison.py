"""A job that takes its workers down is given up; one that was only near is not."""

from __future__ import annotations

from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.poison import Due, due_of, poison_outcome
from tests.builders import job


def test_a_job_is_given_up_at_the_limit_with_times_and_workers() -> None:
    seen = ((0, "celery@w1"), (1000, "celery@w2"))
    assert poison_outcome(job(downs=1, downs_seen=seen[:1]), 2) is None
    outcome = poison_outcome(job(downs=2, downs_seen=seen), 2)
    assert outcome is not None
    assert outcome.cause is Cause.INTERNAL
    assert "celery@w1 at 1970-01-01T00:00:00.000Z, celery@w2 at 1970-01-01T00:00:01.000Z" in outcome.evidence


def test_who_has_taken_nobody_down_waits_for_nothing() -> None:
    assert due_of(["b", "a"], {}, 3, on_trial="x", proven=False) == Due(("a", "b"), "x")


def test_suspects_are_taken_up_one_after_the_other_behind_the_rest() -> None:
    downs = {"a": 1, "b": 1}
    assert due_of(["a", "b", "c"], downs, 3, on_trial=None, proven=False).now == ("c", "a")
    assert due_of(["b"], downs, 3, on_trial=None, proven=False).now == ("b",)


def test_a_job_on_its_last_chance_goes_alone_and_only_to_a_worker_that_lives_without_it() -> None:
    downs = {"a": 2, "b": 2, "c": 0}
    assert due_of(["a", "b", "c"], downs, 3, on_trial=None, proven=False) == Due(("c",), None, ("a", "b"))
    assert due_of(["a", "b", "c"], downs, 3, on_trial=None, proven=True) == Due(("c", "a"), "a")
    assert due_of(["b"], downs, 3, on_trial="a", proven=True) == Due((), "a")
    assert due_of(["a", "b"], downs, 3, on_trial="a", proven=True) == Due(("a",), "a")


def test_a_job_beyond_its_last_chance_is_taken_up_to_be_given_up() -> None:
    assert due_of(["a"], {"a": 3}, 3, on_trial="b", proven=False).now == ("a",)


def test_with_a_limit_of_one_there_is_no_last_chance_to_wait_for() -> None:
    assert due_of(["a", "b"], {}, 1, on_trial=None, proven=False).now == ("a", "b")


def test_with_a_high_limit_nobody_is_held_up_for_a_few_deaths() -> None:
    assert due_of(["a", "b"], {"a": 50, "b": 97}, 100, on_trial=None, proven=False).now == ("a", "b")
