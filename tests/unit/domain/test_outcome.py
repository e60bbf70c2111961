"""Causes, and what follows from them."""

from __future__ import annotations

import pytest

from hivemind_worker.domain.outcome import CAUSES, Cause, Outcome
from hivemind_worker.domain.retry import INFRASTRUCTURE_BUDGET, next_step
from tests.builders import assignment, job


def test_every_cause_has_its_rule() -> None:
    assert set(CAUSES) == set(Cause)


def test_nothing_is_retried_on_both_budgets_and_no_infrastructure_fault_is_charged() -> None:
    for rule in CAUSES.values():
        assert not (rule.user_retry and rule.infrastructure_retry)
        assert not (rule.fault == "infrastructure" and rule.charged)


@pytest.mark.parametrize(
    ("cause", "state"), [(Cause.OK, "completed"), (Cause.CANCELLED, "stopped"), (Cause.OOM, "failed")]
)
def test_the_cause_decides_the_terminal_state(cause: Cause, state: str) -> None:
    assert Outcome(cause=cause).state == state


def test_a_failure_of_the_job_goes_back_to_the_line_until_its_retries_are_used_up() -> None:
    once = assignment(retries=1)
    assert next_step(job(assignment=once), Outcome(cause=Cause.EXIT)) == "own_retry"
    assert next_step(job(assignment=once, failures=1), Outcome(cause=Cause.EXIT)) == "finish"


def test_a_fault_of_the_infrastructure_never_uses_up_the_jobs_own_retries() -> None:
    assert next_step(job(), Outcome(cause=Cause.ENGINE)) == "infrastructure_retry"
    spent = job(infra_failures=INFRASTRUCTURE_BUDGET)
    assert next_step(spent, Outcome(cause=Cause.ENGINE)) == "finish"


def test_a_job_that_was_asked_to_stop_is_never_retried() -> None:
    asked = job(assignment=assignment(retries=5), stop_grace=1.0)
    assert next_step(asked, Outcome(cause=Cause.EXIT)) == "finish"


@pytest.mark.parametrize("cause", [Cause.OK, Cause.CANCELLED, Cause.BUNDLE, Cause.IMAGE, Cause.ENTRYPOINT])
def test_what_would_end_the_same_again_is_not_retried(cause: Cause) -> None:
    assert next_step(job(assignment=assignment(retries=5)), Outcome(cause=cause)) == "finish"
