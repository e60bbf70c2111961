"""Causes, and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind_worker.domain.job import Job
from hivemind_worker.domain.outcome import CAUSES, Cause, Outcome
from hivemind_worker.domain.retry import LONGEST_DELAY, Step, next_step
from tests.builders import assignment, job


def step(of: Job, cause: Cause, **given: Any) -> Step | None:
    return next_step(of, Outcome(cause=cause), **({"budget": 3, "backoff": 5.0} | given))


def test_every_cause_has_its_rule() -> None:
    assert set(CAUSES) == set(Cause)


def test_no_infrastructure_fault_is_charged_or_paid_by_the_jobs_own_retries() -> None:
    for rule in CAUSES.values():
        if rule.fault == "infrastructure":
            assert not rule.charged
            assert rule.retry != "own"
        else:
            assert rule.retry != "infrastructure"
            assert not rule.distrust


@pytest.mark.parametrize(
    ("cause", "state"), [(Cause.OK, "completed"), (Cause.CANCELLED, "stopped"), (Cause.OOM, "failed")]
)
def test_the_cause_decides_the_terminal_state(cause: Cause, state: str) -> None:
    assert Outcome(cause=cause).state == state


def test_a_failure_of_the_job_goes_back_to_the_line_at_once_until_its_retries_are_used_up() -> None:
    once = assignment(retries=1)
    assert step(job(assignment=once), Cause.EXIT) == Step("failures")
    assert step(job(assignment=once, failures=1), Cause.EXIT) is None


def test_a_fault_of_the_infrastructure_never_uses_up_the_jobs_own_retries() -> None:
    used_up = job(assignment=assignment(retries=2), failures=2)
    assert step(used_up, Cause.ENGINE) == Step("infra_failures", 5.0)
    assert step(job(assignment=assignment(retries=2), infra_failures=3), Cause.ENGINE) is None
    assert step(job(), Cause.ENGINE, budget=0) is None


def test_the_wait_before_another_try_doubles_up_to_a_bound() -> None:
    waits = [step(job(infra_failures=n), Cause.ENGINE, budget=100) for n in (0, 1, 2, 50)]
    assert [each.delay for each in waits if each] == [5.0, 10.0, 20.0, LONGEST_DELAY]


def test_what_was_lost_with_its_node_waits_for_nothing() -> None:
    assert step(job(infra_failures=1), Cause.NODE_LOST) == Step("infra_failures", 0.0)


def test_a_job_that_was_asked_to_stop_is_never_retried() -> None:
    asked = job(assignment=assignment(retries=5), stop_grace=1.0)
    assert step(asked, Cause.EXIT) is None
    assert step(asked, Cause.NODE_LOST) is None


@pytest.mark.parametrize("cause", [Cause.OK, Cause.CANCELLED, Cause.BUNDLE, Cause.IMAGE, Cause.ENTRYPOINT])
def test_what_would_end_the_same_again_is_not_retried(cause: Cause) -> None:
    assert step(job(assignment=assignment(retries=5)), cause) is None
