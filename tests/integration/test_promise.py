"""The head's reservation is one for the site: it outlives plans, and of two plans the quicker one's word stands."""

from __future__ import annotations

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.line import Promise
from hivemind_worker.domain.resources import MIB, Amount
from tests.builders import new_job, request

FREE = Amount(millicores=1000, memory=1024 * MIB, disk=1024 * MIB, pids=1000, slots=2)


def test_a_promise_is_kept_until_it_is_replaced_or_taken_back(stores: Stores) -> None:
    first, second = Promise("a", "n1", 1000), Promise("b", "n1", 2000)
    assert stores.ledger.promise() is None
    assert stores.ledger.note_promise(None, first)
    assert stores.ledger.promise() == first
    assert stores.ledger.note_promise(first, second)
    assert stores.ledger.note_promise(second, None)
    assert stores.ledger.promise() is None


def test_of_two_plans_the_quicker_ones_word_stands(stores: Stores) -> None:
    mine, theirs = Promise("a", "n1", 1000), Promise("b", "n2", 2000)
    assert stores.ledger.note_promise(None, theirs)
    assert not stores.ledger.note_promise(None, mine)
    assert stores.ledger.promise() == theirs


def test_a_reply_that_was_lost_may_be_asked_for_again(stores: Stores) -> None:
    promise = Promise("a", "n1", 1000)
    assert stores.ledger.note_promise(None, promise)
    assert stores.ledger.note_promise(None, promise)


def test_a_promise_of_another_release_counts_as_none_and_is_replaced(stores: Stores) -> None:
    stores.redis.set(stores.keys.promise, '{"task_id": "a", "until": 3}')
    assert stores.ledger.promise() is None
    assert stores.ledger.note_promise(None, Promise("a", "n1", 3))


def test_who_has_the_reservation_is_a_candidate_however_many_are_before_it(stores: Stores) -> None:
    big = request(cpu=64.0)
    stores.jobs.create_many([new_job(f"j{i}", requests=big, priority=9 if i else 0) for i in range(5)])
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["j1"]
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}, "j0").candidates] == ["j1", "j0"]
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}, "gone").candidates] == ["j1"]
