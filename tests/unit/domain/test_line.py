"""How long a job will probably run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.errors import InvalidField
from hivemind_worker.domain.line import REMEMBERED, predict, typical
from tests.builders import assignment, candidate, request


def test_the_longest_of_the_last_runs_of_its_size_is_believed() -> None:
    assert predict([10.0, 30.0, 20.0], [99.0]) == 30.0


def test_one_long_run_among_the_last_ten_is_enough_not_to_be_taken_for_short() -> None:
    assert predict([5.0] * 9 + [3600.0], []) == 3600.0
    assert REMEMBERED == 10


def test_two_runs_of_its_size_are_too_few_where_its_program_ran_otherwise() -> None:
    assert predict([10.0, 11.0], [10.0, 40.0, 11.0]) == 40.0
    assert predict([10.0], []) == 10.0
    assert predict([], []) is None


def test_an_eta_counts_with_what_three_quarters_of_the_runs_took_at_most() -> None:
    assert typical([float(number) for number in range(10, 110, 10)], []) == 80.0
    assert [typical([], runs) for runs in ([], [7.0], [9.0, 7.0])] == [None, 7.0, 9.0]
    job = replace(candidate("a", timeout=60.0, predicted=50.0), typical=20.0)
    assert (job.expected, job.likely, replace(job, typical=99.0).likely) == (50.0, 20.0, 60.0)
    assert candidate("a", timeout=60.0, predicted=50.0).likely == 50.0


def test_of_runs_that_are_many_peoples_the_median_is_believed() -> None:
    """Among ten of anybody's some run is always long, which tells nothing of the next."""
    runs = [5.0] * 6 + [3600.0] * 3
    assert predict(runs, [], shared=True) == 5.0
    assert predict([], [10.0, 40.0, 20.0], shared=True) == 20.0
    assert predict([], [], shared=True) is None


def test_runs_without_an_owner_are_alike_only_by_their_timeout_too() -> None:
    nobodys, anns = assignment(timeout_seconds=60.0), assignment(owner="ann", timeout_seconds=60.0)
    assert assignment(timeout_seconds=61.0).kind != nobodys.kind == assignment(timeout_seconds=60.0).kind
    assert assignment(owner="ann", timeout_seconds=61.0).kind == anns.kind != nobodys.kind


def test_a_prediction_is_never_believed_beyond_the_declared_timeout() -> None:
    assert candidate("a", timeout=60.0, predicted=100.0).expected == 60.0
    assert candidate("a", timeout=60.0).expected == 60.0
    assert candidate("a", timeout=60.0, predicted=5.0).expected == 5.0


def test_a_line_holds_one_owners_runs_of_one_program_of_one_size_and_timeout() -> None:
    same = assignment("a", owner="ann", command=("./run", "--seed=1"))
    assert assignment("b", owner="ann", command=("./run", "--seed=2")).line == same.line
    others = (
        assignment(owner="bob", command=("./run",)),
        assignment(owner="ann", command=("./other",)),
        assignment(owner="ann", command=("./run",), timeout_seconds=61.0),
        assignment(owner="ann", command=("./run",), requests=request(cpu=2.0)),
    )
    assert len({same.line, *(other.line for other in others)}) == 5


def test_jobs_of_one_home_stand_in_a_line_of_their_own() -> None:
    assert len({assignment(home=home).line for home in ("", "n1", "n2")}) == 3
    assert assignment("a", home="n1").line == assignment("b", home="n1").line


def test_a_home_is_no_field_to_ask_for() -> None:
    with pytest.raises(InvalidField, match="no such field"):
        Assignment.parse({"task_id": "t", "image": "b", "timeout_seconds": 9.0, "home": "n1"})
