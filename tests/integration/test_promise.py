"""The head's reservation is one for the site: it outlives plans, and of two plans the quicker one's word stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.line import Promise
from hivemind_worker.domain.resources import MIB, Amount
from hivemind_worker.store import ledger
from tests.builders import new_job, node, request

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


def test_who_has_the_reservation_is_a_candidate_however_many_are_before_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WINDOW_FRONT", 1)
    big = request(cpu=64.0)
    stores.jobs.create_many([new_job(f"j{i}", requests=big, priority=9 if i else 0) for i in range(5)])
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["j1"]
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}, "j0").candidates] == ["j1", "j0"]
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}, "gone").candidates] == ["j1"]


RULES = Rules(starting=5.0, ending=15.0)


def a_node(stores: Stores, rules: Rules = RULES, **lends: Any) -> Admitter:
    stores.ledger.announce(node("n1", **lends), worker="w1", lease_seconds=60)
    return Admitter(stores.ledger, node="n1", worker="w1", rules=rules)


def test_the_end_of_what_runs_counts_from_its_containers_start_once_that_is_known(stores: Stores) -> None:
    admitter = a_node(stores)
    odd = 'ann "deadline":1,"from_start":2'
    stores.jobs.create(new_job("t1", owner=odd, timeout_seconds=100.0))
    before = stores.ledger.now_ms()
    admitter.once()
    row = stores.ledger.rows("n1")["t1"]
    assert before + 120_000 <= row.deadline <= stores.ledger.now_ms() + 120_000
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    started = stores.jobs.get("t1").times.started
    assert started is not None
    running = stores.ledger.rows("n1")["t1"]
    assert running == row.model_copy(update={"deadline": started + 115_000, "from_start": 0})
    assert (running.owner, running.gpus) == (odd, ())
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1")
    assert stores.ledger.rows("n1")["t1"] == running
    assert stores.audit.jobs(["t1"], active=True) == stores.audit.rows("n1") == []
    assert job.attempt == 1


def test_a_container_that_starts_late_puts_the_promise_off_and_one_that_starts_in_time_does_not(
    stores: Stores,
) -> None:
    for late, holds in ((0, True), (60_000, False)):
        admitter = a_node(stores, millicores=1000)
        stores.jobs.create_many([new_job("first", timeout_seconds=100.0), new_job("head", timeout_seconds=100.0)])
        admitter.once()
        admitter.once()
        row, promised = stores.ledger.rows("n1")["first"], stores.ledger.promise()
        assert promised is not None
        assert promised.at == row.deadline
        if late:  # as if all this had been a minute ago
            row, known = row.model_copy(update={"deadline": row.deadline - late}), promised
            stores.redis.hset(stores.keys.reservations("n1"), "first", row.model_dump_json())
            promised = replace(promised, at=promised.at - late)
            assert stores.ledger.note_promise(known, promised)
        stores.jobs.claim("first", 1, node="n1", worker="w1")
        stores.jobs.advance("first", 1, State.RUNNING, worker="w1")
        admitter.once()
        now = stores.ledger.promise()
        assert now is not None
        assert (now == promised) is holds
        assert now.at >= stores.ledger.rows("n1")["first"].deadline
        stores.redis.flushdb()


def test_a_row_of_an_earlier_release_keeps_its_end(stores: Stores) -> None:
    admitter = a_node(stores, Rules())
    stores.jobs.create(new_job("t1"))
    admitter.once()
    row = stores.ledger.rows("n1")["t1"]
    old = row.model_dump_json(exclude={"from_start"})
    stores.redis.hset(stores.keys.reservations("n1"), "t1", old)
    stores.redis.hset(stores.keys.job("t1"), "row", old)
    stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    assert stores.ledger.rows("n1")["t1"].deadline == row.deadline
