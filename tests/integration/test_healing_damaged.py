"""What is damaged is put right or put aside by the beat itself, and keeps nobody else waiting meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from hivemind_worker.admission.hinter import Hinter
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import RecordCorrupt
from hivemind_worker.domain.job import State, view
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.walk import Walk
from tests.builders import assignment, new_job, row
from tests.integration.store_kit import FREE, admit, announce
from tests.integration.test_lost_node import Watcher
from tests.integration.worker_kit import submit
from tests.processes import eventually, worker

#: seconds in which every beat has had its whole round
ROUND = 12.0

DAMAGE: dict[str, tuple[Callable[[redis.Redis, Keys], object], State]] = {
    "rank": (lambda client, keys: client.hset(keys.job("bad"), "rank", "x"), State.FAILED),
    "rank that Lua takes": (lambda client, keys: client.hset(keys.job("bad"), "rank", "nan"), State.FAILED),
    "no shape": (lambda client, keys: client.hdel(keys.job("bad"), "shape"), State.WAITING),
    "shape": (lambda client, keys: client.hset(keys.job("bad"), "shape", "?"), State.WAITING),
    "no record": (lambda client, keys: client.set(keys.job("bad"), "oops"), State.FAILED),
}


def delayed(stores: Stores, client: redis.Redis, *task_ids: str) -> None:
    """Jobs whose attempt the infrastructure lost, and whose pause is over."""
    announce(stores)
    for task_id in task_ids:
        stores.jobs.create(new_job(task_id))
        assert admit(stores, task_id) == "ok"
        job = stores.jobs.claim(task_id, 1, node="n1", worker="w1")
        stores.jobs.retry(job, Outcome(cause=Cause.ENGINE), Step("infra_failures", delay=3600))
    client.zadd(stores.keys.delayed, dict.fromkeys(task_ids, 1))
    for task_id in task_ids:
        client.hset(stores.keys.job(task_id), "not_before", 1)


def line(stores: Stores) -> list[str]:
    candidates = stores.ledger.window({"n1": FREE}).candidates
    assert {each.line for each in candidates} <= {assignment().line}
    return [each.task_id for each in candidates]


@pytest.mark.parametrize(("damage", "becomes"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_among_the_delayed_holds_up_neither_the_others_nor_the_healing(
    stores: Stores, client: redis.Redis, damage: Callable[[redis.Redis, Keys], object], becomes: State
) -> None:
    delayed(stores, client, "bad", "good")
    damage(client, stores.keys)
    watcher = Watcher(stores)
    watcher.watch(2)
    assert "good" in line(stores)
    watcher.watch(ROUND)
    assert stores.jobs.get("bad").state is becomes
    assert line(stores) == (["bad", "good"] if becomes is State.WAITING else ["good"])
    assert stores.audit.quarantined() == (becomes is State.FAILED)


KINDS: dict[str, Callable[[Keys], str]] = {
    "a line": lambda keys: keys.waiting(assignment(owner="ann").line),
    "an owner's part of the line": lambda keys: keys.waiting_of("ann"),
    "owners": lambda keys: keys.owners,
    "shapes": lambda keys: keys.shapes,
    "promise": lambda keys: keys.promise,
    "usage": lambda keys: keys.usage,
    "runs": lambda keys: keys.runs,
    "sweeper": lambda keys: keys.sweeper,
    "quarantine": lambda keys: keys.quarantine,
    "quarantined rows": lambda keys: keys.quarantined_rows,
}


@pytest.mark.parametrize("key", KINDS.values(), ids=KINDS.keys())
def test_a_key_of_another_kind_is_put_aside_and_what_stood_there_made_anew(
    stores: Stores, client: redis.Redis, key: Callable[[Keys], str]
) -> None:
    announce(stores)
    stores.jobs.create_many([new_job("one", owner="ann"), new_job("two", owner="ann")])
    before = {name: client.dump(name) for name in client.scan_iter() if b":waiting" in name or b":owners" in name}
    name = key(stores.keys)
    client.delete(name)
    client.rpush(name, "oops")
    watcher = Watcher(stores)
    watcher.watch(ROUND)
    assert client.lrange(stores.keys.aside(name), 0, -1) == [b"oops"]
    assert {name: client.dump(name) for name in before} == before
    for by_turns in (False, True):
        window = stores.ledger.window({"n1": FREE}, by_turns=by_turns)
        assert [each.task_id for each in window.candidates] == ["one", "two"]
    stores.ledger.books(["n1"])
    assert admit(stores, "one") == "ok"


@pytest.mark.parametrize("by", ["its node", "the sweeper"])
@pytest.mark.parametrize("edit", [b"{", b"\xff", b'{"attempt": 1}', b"7"])
def test_a_row_that_is_damaged_in_its_record_closes_no_node(
    stores: Stores, client: redis.Redis, edit: bytes, by: str
) -> None:
    announce(stores)
    stores.jobs.create_many([new_job("bad"), new_job("good")])
    assert admit(stores, "bad") == "ok"
    rows = stores.ledger.rows("n1")
    client.hset(stores.keys.job("bad"), "row", edit)
    assert not stores.jobs.get("bad").trouble
    if by == "its node":
        stores.audit.rows("n1")
    else:
        stores.audit.jobs(["bad"], active=True)
    assert stores.ledger.rows("n1") == rows
    assert admit(stores, "good") == "ok"
    assert client.hget(stores.keys.job("bad"), "row") == client.hget(stores.keys.reservations("n1"), "bad")


def test_a_row_that_is_damaged_in_the_record_and_the_ledger_is_made_anew(stores: Stores, client: redis.Redis) -> None:
    announce(stores, "n2", "w2")
    stores.jobs.create_many([new_job("bad"), new_job("good")])
    assert stores.ledger.reserve("n2", "w2", [Claim("bad", assignment().line, row(worker="w2"))]) == ["ok"]
    client.hset(stores.keys.job("bad"), "row", "{")
    client.hset(stores.keys.reservations("n2"), "bad", "{")
    Watcher(stores).watch(ROUND)
    assert stores.ledger.rows("n2")["bad"].amount == row().amount
    assert stores.ledger.reserve("n2", "w2", [Claim("good", assignment().line, row(worker="w2"))]) == ["ok"]


INDEXES: dict[str, Callable[[redis.Redis, Keys], object]] = {
    "active is another kind": lambda client, keys: client.set(keys.active, "oops"),
    "active is gone": lambda client, keys: client.delete(keys.active),
    "active lacks those that wait": lambda client, keys: client.zrem(keys.active, "waits", "pauses"),
    "active lacks what is held": lambda client, keys: client.zrem(keys.active, "held"),
    "index is another kind": lambda client, keys: client.set(keys.index, "oops"),
    "index is gone": lambda client, keys: client.delete(keys.index),
    "both are gone": lambda client, keys: client.delete(keys.active, keys.index),
}


@pytest.mark.parametrize("damage", INDEXES.values(), ids=INDEXES.keys())
def test_a_job_that_waits_stays_in_its_line_whatever_becomes_of_the_indexes(
    stores: Stores, client: redis.Redis, damage: Callable[[redis.Redis, Keys], object]
) -> None:
    delayed(stores, client, "pauses")
    client.zadd(stores.keys.delayed, {"pauses": 2**50})
    client.hset(stores.keys.job("pauses"), "not_before", 2**50)
    stores.jobs.create_many([new_job("waits"), new_job("held"), new_job("ended")])
    assert admit(stores, "held") == "ok"
    stores.jobs.cancel("ended", 1.0)
    announce(stores, "n2", "w2")
    watcher = Watcher(stores)
    watcher.watch(ROUND)
    before = {name: client.dump(name) for name in client.scan_iter() if b":job:" in name or b":waiting" in name}
    indexes = {name: client.zrange(name, 0, -1, withscores=True) for name in (stores.keys.active, stores.keys.index)}
    damage(client, stores.keys)
    # n1's own beats look at its rows; n2's worker is the sweeper.
    stores.audit.rows("n1")
    watcher.watch(2 * ROUND, n1=True)
    assert {name: client.zrange(name, 0, -1, withscores=True) for name in indexes} == indexes
    assert {name: client.dump(name) for name in before} == before


def test_a_line_whose_name_says_nothing_keeps_no_other_from_admission(stores: Stores, client: redis.Redis) -> None:
    announce(stores)
    stores.jobs.create_many([new_job("bad"), new_job("good")])
    client.zrem(stores.keys.waiting(assignment().line), "bad")
    client.hset(stores.keys.job("bad"), "shape", "what?")
    client.zadd(stores.keys.waiting("what?"), {"bad": 1})
    client.sadd(stores.keys.shapes, "what?")
    assert line(stores) == ["good"]


def test_a_count_of_deaths_that_is_no_number_keeps_no_job_from_its_hint_and_is_refused_to_the_body(
    stores: Stores, client: redis.Redis
) -> None:
    watcher = Watcher(stores)
    watcher.watch(2)
    stores.jobs.create_many([new_job("bad"), new_job("good")])
    for task_id in ("bad", "good"):
        claim = Claim(task_id, assignment().line, row(worker="w2"))
        assert stores.ledger.reserve("n2", "w2", [claim]) == ["ok"]
    client.hset(stores.keys.job("bad"), mapping={"downs": "x", "trial": "an earlier boot"})
    hinted: list[str] = []
    watcher.healer._hinter = Hinter(lambda task_id, attempt: hinted.append(task_id), 2.0)
    watcher.watch(2)
    assert sorted(hinted) == ["bad", "good"]
    with pytest.raises(RecordCorrupt, match="bad"):
        stores.jobs.claim("bad", 1, node="n2", worker="w2", boot="boot of w2")


# --- bytes that are no text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["spec", "owner", "state"])
def test_a_record_with_bytes_that_are_no_text_is_damaged_and_hides_no_other(
    stores: Stores, client: redis.Redis, field: str
) -> None:
    stores.jobs.create_many([new_job("bad", bundle_sha256="a" * 64), new_job("good", bundle_sha256="b" * 64)])
    client.hset(stores.keys.job("bad"), field, b'{"\xff": 1}')
    shown = {job.task_id: job for job in stores.jobs.list().jobs}
    assert "bad is damaged" in shown["bad"].trouble
    assert view(shown["bad"])["task_id"] == "bad"
    assert not shown["good"].trouble
    assert "b" * 64 in stores.jobs.bundles_in_use()
    assert Walk(stores.redis, stores.keys).step(None, 10).broken == ("bad",)
    with pytest.raises(RecordCorrupt, match="bad is damaged"):
        stores.jobs.prioritize("bad", 9)
    stores.audit.put_aside("bad", "for a reason")
    assert {job.task_id: job.state for job in stores.jobs.list().jobs} == {"bad": State.FAILED, "good": State.WAITING}
    assert client.hget(stores.keys.aside(stores.keys.job("bad")), field) == b'{"\xff": 1}'


@pytest.mark.parametrize("field", ["spec", "owner"])
def test_a_body_is_refused_a_record_with_bytes_that_are_no_text(
    stores: Stores, client: redis.Redis, field: str
) -> None:
    announce(stores)
    stores.jobs.create(new_job("bad"))
    client.hset(stores.keys.job("bad"), field, b"\xff")
    assert line(stores) == ["bad"]
    assert stores.ledger.reserve("n1", "w1", [Claim("bad", assignment().line, row())]) == ["ok"]
    with pytest.raises(RecordCorrupt, match=f"its {field} is no UTF-8"):
        stores.jobs.claim("bad", 1, node="n1", worker="w1")


def test_what_a_job_prints_is_its_own_affair_and_a_past_attempt_costs_only_itself(
    stores: Stores, client: redis.Redis
) -> None:
    stores.jobs.create(new_job("good", command=("echo", "\ufffd")))
    client.hset(stores.keys.job("good"), "past:1", b"\xff")
    assert stores.jobs.get("good").assignment.command == ("echo", "\ufffd")


@pytest.mark.parametrize("key", ["active", "index", "waiting_all", "delayed", "nodes", "shapes", "rows"])
def test_a_name_that_is_no_text_keeps_no_beat_from_its_work(stores: Stores, client: redis.Redis, key: str) -> None:
    announce(stores, "n2", "w2")
    stores.jobs.create(new_job("good"))
    before = stores.jobs.get("good")
    name = stores.keys.reservations("n2") if key == "rows" else getattr(stores.keys, key)
    if key == "rows":
        client.hset(name, b"\xff", b"\xff")
    elif key in ("nodes", "shapes"):
        client.sadd(name, b"\xff")
    else:
        client.zadd(name, {b"\xff": 1})
    client.zrem(stores.keys.waiting(assignment().line), "good")
    Watcher(stores).watch(ROUND)
    assert line(stores) == ["good"]
    assert stores.jobs.list().jobs == (before,)
    stores.jobs.forget_expired()
    assert [each.node for each in stores.ledger.nodes()] == ["n2"]


@pytest.mark.parametrize("key", ["node", "delayed"])
def test_a_worker_goes_on_when_a_key_of_its_beat_is_of_another_kind(
    settings: Settings, stores: Stores, client: redis.Redis, tmp_path: Path, key: str
) -> None:
    keys = stores.keys
    name = {"node": keys.node("n1"), "delayed": keys.delayed}[key]
    with worker(settings, stores, tmp_path / "worker.log"):
        client.set(name, "oops")
        eventually(lambda: client.get(keys.aside(name)) == b"oops")
        submit(stores, "t1", "true")
        eventually(lambda: stores.jobs.get("t1").state is State.COMPLETED)
