"""Ids that we make are valid, unique, and sorted as they were made."""

from __future__ import annotations

from hivemind_cli.ids import new_id
from hivemind_worker.domain.assignment import check_task_id


def test_ids_are_valid_and_unique() -> None:
    made = {check_task_id(new_id(1_700_000_000_000)) for _ in range(1000)}
    assert len(made) == 1000


def test_a_later_id_sorts_behind_an_earlier_one() -> None:
    made = [new_id(now) for now in range(1_700_000_000_000, 1_900_000_000_000, 7_777_777_777)]
    assert made == sorted(made)
