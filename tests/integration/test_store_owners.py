"""What an owner may have waiting, send and run: bounds that the scripts hold on a real server."""

from __future__ import annotations

import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import (
    NotFound,
    TooFast,
)
from hivemind_worker.domain.job import State
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from tests.builders import assignment, new_job, row
from tests.integration.store_kit import FREE, OK, admit, announce, limited


def test_a_full_line_refuses_and_leaves_no_record(stores: Stores, settings: Settings) -> None:
    small = open_stores(settings.model_copy(update={"max_waiting": 1}))
    small.jobs.create(new_job("a"))
    answers = small.jobs.create_many([new_job("b"), new_job("a")])
    assert "1 jobs wait" in str(answers[0])
    assert answers[1] == ("same", State.WAITING)
    with pytest.raises(NotFound):
        small.jobs.get("b")
    small.close()


def test_an_owners_part_of_the_line_is_full_by_itself(stores: Stores, settings: Settings) -> None:
    small = limited(settings, max_waiting_per_owner=2)
    asked = [new_job(f"{owner}{i}", owner=owner) for i in range(3) for owner in ("ann", "bob")]
    answers = dict(zip([new.assignment.task_id for new in asked], small.jobs.create_many(asked), strict=True))
    assert [name for name, answer in answers.items() if isinstance(answer, Exception)] == ["ann2", "bob2"]
    assert "2 jobs of owner ann wait" in str(answers["ann2"])
    assert "HIVEMIND_MAX_WAITING_PER_OWNER" in str(answers["ann2"])
    small.jobs.cancel("ann0", 1.0)
    assert small.jobs.create(new_job("ann2", owner="ann")) == ("created", State.WAITING)
    small.close()


@pytest.mark.parametrize("leave", ["reserve", "cancel", "retry"])
def test_an_owners_line_is_the_waiting_line_whatever_way_a_job_goes(stores: Stores, leave: str) -> None:
    announce(stores)
    stores.jobs.create_many([new_job("a", owner="ann"), new_job("b", owner="ann"), new_job("c", owner="")])
    if leave == "cancel":
        stores.jobs.cancel("a", 1.0)
    else:
        assert admit(stores, "a") == "ok"
    if leave == "retry":
        stores.jobs.retry(stores.jobs.claim("a", 1, node="n1", worker="w1"), OK, Step("infra_failures"))
    expected = [b"a", b"b"] if leave == "retry" else [b"b"]
    assert stores.redis.zrange(stores.keys.waiting_of("ann"), 0, -1) == expected
    assert stores.redis.zrange(stores.keys.waiting_of(""), 0, -1) == [b"c"]


def test_what_left_the_line_by_another_door_does_not_fill_its_owners_part(stores: Stores, settings: Settings) -> None:
    small = limited(settings, max_waiting_per_owner=1)
    small.jobs.create(new_job("a", owner="ann"))
    small.redis.zrem(small.keys.waiting_all, "a")
    assert small.jobs.create(new_job("b", owner="ann")) == ("created", State.WAITING)
    small.close()


def test_assignments_that_come_too_fast_are_told_when_to_come_again(stores: Stores, settings: Settings) -> None:
    slow = limited(settings, owner_rate=0.001, owner_burst=2)
    asked = [new_job(f"j{i}", owner="ann") for i in range(3)]
    answers = slow.jobs.create_many([*asked, asked[0], new_job("other", owner="bob")])
    assert answers[:2] == [("created", State.WAITING)] * 2
    refused = answers[2]
    assert isinstance(refused, TooFast)
    assert 900 < refused.retry_after <= 1000
    assert "HIVEMIND_OWNER_RATE" in str(refused)
    assert answers[3:] == [("same", State.WAITING), ("created", State.WAITING)]
    slow.close()


def test_a_bucket_fills_again_at_its_rate_and_never_beyond_its_burst(stores: Stores, settings: Settings) -> None:
    slow = limited(settings, owner_rate=1.0, owner_burst=3)
    key = slow.keys.rate("ann")
    slow.redis.hset(key, mapping={"tokens": 0, "at": slow.ledger.now_ms() - 3_600_000})
    answers = slow.jobs.create_many([new_job(f"j{i}", owner="ann") for i in range(5)])
    assert [isinstance(answer, TooFast) for answer in answers] == [False, False, False, True, True]
    assert slow.redis.pttl(key) > 0
    slow.close()


def test_no_owner_runs_more_than_it_may_on_all_nodes_together(stores: Stores, settings: Settings) -> None:
    fair = limited(settings, max_running_per_owner=2)
    for name in ("n1", "n2"):
        announce(fair, name)
    fair.jobs.create_many([new_job(f"ann{i}", owner="ann") for i in range(3)] + [new_job("bob0", owner="bob")])
    claims = {name: Claim(name, assignment(owner=name[:3]).line, row()) for name in ("ann0", "ann1", "ann2", "bob0")}
    assert fair.ledger.reserve("n2", "w1", [claims["ann0"]]) == ["ok"]
    assert fair.ledger.reserve("n1", "w1", list(claims.values())) == ["gone", "ok", "owner", "ok"]
    fair.jobs.finish(fair.jobs.claim("ann0", 1, node="n2", worker="w1"), OK)
    assert fair.ledger.reserve("n1", "w1", [claims["ann2"]]) == ["ok"]
    fair.close()


def test_a_crowd_of_an_owner_that_may_start_none_hides_nobody(stores: Stores, settings: Settings) -> None:
    fair = limited(settings, max_running_per_owner=1)
    announce(fair)
    fair.jobs.create_many([new_job(f"ann{i:03}", owner="ann") for i in range(300)] + [new_job("bob", owner="bob")])
    assert admit(fair, "ann000") == "ok"
    assert "bob" in {each.task_id for each in fair.ledger.window({"n1": FREE}).candidates}
    fair.jobs.cancel("bob", 1.0)
    assert fair.redis.smembers(fair.keys.owners) == {b"ann"}
    fair.close()
