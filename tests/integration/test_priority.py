"""A waiting job's priority can be changed: its place changes in every line, and nothing else."""

from __future__ import annotations

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import InvalidField, NotFound
from hivemind_worker.domain.job import State
from hivemind_worker.domain.line import Promise
from tests.builders import new_job
from tests.integration.store_kit import FREE, admit, announce


def order(stores: Stores) -> list[str]:
    return [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates]


def test_a_job_given_more_goes_before_others_and_given_less_behind(stores: Stores) -> None:
    stores.jobs.create_many([new_job(name, owner="ann") for name in ("a", "b", "c")])
    assert stores.jobs.prioritize("c", 9) == (True, State.WAITING)
    assert order(stores) == ["c", "a", "b"]
    assert stores.jobs.positions(["c"]) == {"c": 1}
    assert stores.redis.zrange(stores.keys.waiting_of("ann"), 0, -1) == [b"c", b"a", b"b"]
    assert stores.jobs.get("c").assignment.priority == 9
    stores.jobs.prioritize("c", 0)
    assert order(stores) == ["a", "b", "c"]


def test_the_same_again_changes_nothing_and_the_assignment_stays_the_one_it_was(stores: Stores) -> None:
    asked = new_job("a")
    stores.jobs.create_many([asked, new_job("b")])
    for _ in range(2):
        assert stores.jobs.prioritize("b", 7) == (True, State.WAITING)
    assert stores.jobs.create(new_job("b")) == ("same", State.WAITING)


def test_a_job_that_has_started_keeps_what_it_has(stores: Stores) -> None:
    announce(stores)
    stores.jobs.create(new_job("a"))
    assert admit(stores, "a") == "ok"
    assert stores.jobs.prioritize("a", 9) == (False, State.ADMITTED)
    assert stores.jobs.get("a").assignment.priority == 5
    assert stores.redis.zcard(stores.keys.waiting_all) == 0


def test_a_job_that_is_not_there_and_a_priority_that_is_none_are_refused(stores: Stores) -> None:
    stores.jobs.create(new_job("a"))
    with pytest.raises(NotFound):
        stores.jobs.prioritize("gone", 5)
    for none in (-1, 10):
        with pytest.raises(InvalidField, match="between 0 and 9"):
            stores.jobs.prioritize("a", none)


def test_a_head_that_is_put_back_gives_back_its_reservation_and_one_that_is_put_forward_keeps_it(
    stores: Stores,
) -> None:
    stores.jobs.create_many([new_job("head", priority=5), new_job("other", priority=5)])
    promise = Promise("head", "n1", 1000)
    assert stores.ledger.note_promise(None, promise)
    stores.jobs.prioritize("other", 0)
    stores.jobs.prioritize("head", 7)
    assert stores.ledger.promise() == promise
    stores.jobs.prioritize("head", 6)
    assert stores.ledger.promise() is None


def test_a_reservation_that_nobody_can_read_keeps_no_priority_from_being_changed(stores: Stores) -> None:
    stores.jobs.create_many([new_job("a", priority=5)])
    stores.redis.set(stores.keys.promise, "{")
    assert stores.jobs.prioritize("a", 0) == (True, State.WAITING)
