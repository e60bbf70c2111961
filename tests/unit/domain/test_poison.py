"""A job that takes its workers down is given up; one that was only near is not."""

from __future__ import annotations

from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.poison import hints_due, poison_outcome
from tests.builders import job


def test_a_job_is_given_up_at_the_limit_with_times_and_workers() -> None:
    seen = ((0, "celery@w1"), (1000, "celery@w2"))
    assert poison_outcome(job(downs=1, downs_seen=seen[:1]), 2) is None
    outcome = poison_outcome(job(downs=2, downs_seen=seen), 2)
    assert outcome is not None
    assert outcome.cause is Cause.INTERNAL
    assert "celery@w1 at 1970-01-01T00:00:00.000Z, celery@w2 at 1970-01-01T00:00:01.000Z" in outcome.evidence


def test_jobs_on_their_last_chance_are_taken_up_one_at_a_time_and_keep_nobody_else_waiting() -> None:
    downs = {"a": 2, "b": 2, "c": 1}
    assert hints_due(["a", "b", "c", "d"], downs, 3, None) == ["a", "c", "d"]
    assert hints_due(["b", "c"], downs, 3, "a") == ["c"]
    assert hints_due(["a", "b"], downs, 3, "a") == ["a"]


def test_a_job_beyond_its_last_chance_is_hinted_to_be_given_up() -> None:
    assert hints_due(["a"], {"a": 3}, 3, "b") == ["a"]


def test_with_a_limit_of_one_there_is_no_last_chance_to_wait_for() -> None:
    assert hints_due(["a", "b"], {}, 1, None) == ["a", "b"]
