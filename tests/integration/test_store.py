"""The scripts on a real server: each all or nothing, each harmless when repeated, each refused to a stale attempt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import (
    AlreadyExists,
    InvalidField,
    NotFound,
    StaleAttempt,
    StoreUnavailable,
    TooFast,
)
from hivemind_worker.domain.job import State
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.node import Gpu, NodeState, total
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from tests.builders import assignment, new_job, node, request, row

#: what is free on an empty node
FREE = node(slots=10).allocatable
OK = Outcome(cause=Cause.OK, exit_code=0)


def announce(stores: Stores, name: str = "n1", worker: str = "w1", **have: Any) -> None:
    stores.ledger.announce(node(name, **have), worker=worker, lease_seconds=10)


def admit(stores: Stores, task_id: str = "t1", attempt: int = 1, worker: str = "w1") -> str:
    claim = Claim(task_id, stores.jobs.get(task_id).assignment.line, row(attempt, worker))
    return stores.ledger.reserve("n1", worker, [claim])[0]


def admitted(stores: Stores, task_id: str = "t1", **given: object) -> None:
    announce(stores)
    stores.jobs.create(new_job(task_id, **given))
    assert admit(stores, task_id) == "ok"


def at_rest(client: redis.Redis) -> set[bytes]:
    """Keys that may stay when no job is there any more but ended ones."""
    return {key for key in client.scan_iter() if b":waiting" in key or b"reservations" in key or b"secrets" in key}


def test_the_same_assignment_twice_is_one_job(stores: Stores) -> None:
    assert stores.jobs.create(new_job()) == ("created", State.WAITING)
    assert stores.jobs.create(new_job()) == ("same", State.WAITING)
    assert stores.jobs.counts() == {"waiting": 1, "active": 1, "known": 1}


def test_another_assignment_under_a_taken_id_is_refused_and_changes_nothing(stores: Stores) -> None:
    stores.jobs.create(new_job())
    with pytest.raises(AlreadyExists, match="t1"):
        stores.jobs.create(new_job(priority=9))
    with pytest.raises(AlreadyExists):
        stores.jobs.create(new_job(secrets={"K": "v"}))
    assert stores.jobs.get("t1").assignment.priority == 5


def test_secrets_are_sealed_in_redis_and_gone_after_the_end(stores: Stores, client: redis.Redis) -> None:
    admitted(stores, secrets={"TOKEN": "hunter2"})
    everything = b"".join(client.dump(key) or b"" for key in client.scan_iter())
    assert b"hunter2" not in everything
    assert stores.jobs.secrets("t1") == {"TOKEN": "hunter2"}
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.finish(job, OK)
    assert stores.jobs.secrets("t1") == {}


def test_a_full_line_refuses_and_leaves_no_record(stores: Stores, settings: Settings) -> None:
    small = open_stores(settings.model_copy(update={"max_waiting": 1}))
    small.jobs.create(new_job("a"))
    answers = small.jobs.create_many([new_job("b"), new_job("a")])
    assert "1 jobs wait" in str(answers[0])
    assert answers[1] == ("same", State.WAITING)
    with pytest.raises(NotFound):
        small.jobs.get("b")
    small.close()


def limited(settings: Settings, **limits: object) -> Stores:
    return open_stores(settings.model_copy(update=limits))


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


def test_processes_are_counted_as_any_other_resource(stores: Stores) -> None:
    announce(stores, pids=130)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(3)])
    claims = [Claim(f"j{i}", assignment().line, row(pids=64)) for i in range(3)]
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "ok", "full"]


def test_redis_away_is_named(settings: Settings) -> None:
    nowhere = open_stores(settings.model_copy(update={"redis_url": None}))
    with pytest.raises(StoreUnavailable):
        nowhere.jobs.create(new_job())
    with pytest.raises(StoreUnavailable):
        nowhere.jobs.get("t1")
    nowhere.close()


def test_the_whole_way_of_a_job_leaves_nothing_held(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert job.state is State.PREPARING
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1")
    stores.jobs.finish(job, OK)
    ended = stores.jobs.get("t1")
    assert (ended.state, ended.outcome) == (State.COMPLETED, OK)
    times = ended.times
    assert times.admitted is not None
    assert times.started is not None
    assert times.finished is not None
    assert times.created <= times.admitted <= times.started <= times.finished
    assert at_rest(client) == set()
    told = [(event.state, event.attempt) for event in reversed(stores.events.recent(10))]
    assert told == [
        ("waiting", 0), ("admitted", 1), ("preparing", 1), ("running", 1), ("collecting", 1), ("completed", 1),
    ]  # fmt: skip


def test_every_step_may_be_repeated(stores: Stores) -> None:
    admitted(stores)
    assert admit(stores) == "gone"
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    again = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert again.state is State.RUNNING
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    stores.jobs.finish(job, OK)
    stores.jobs.finish(job, Outcome(cause=Cause.INTERNAL))
    assert stores.jobs.get("t1").outcome == OK


def test_no_step_goes_back(stores: Stores) -> None:
    admitted(stores)
    stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    assert stores.jobs.get("t1").state is State.COLLECTING


def test_another_worker_cannot_claim(stores: Stores) -> None:
    admitted(stores)
    with pytest.raises(StaleAttempt):
        stores.jobs.claim("t1", 1, node="n1", worker="w2")
    with pytest.raises(StaleAttempt):
        stores.jobs.claim("t1", 2, node="n1", worker="w1")


def test_a_retry_raises_the_attempt_and_fences_off_the_old_one(stores: Stores) -> None:
    admitted(stores, retries=1)
    old = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert stores.jobs.retry(old, Outcome(cause=Cause.EXIT, exit_code=1), Step("failures"))
    waiting = stores.jobs.get("t1")
    assert (waiting.state, waiting.failures, waiting.node) == (State.WAITING, 1, "")
    assert stores.ledger.rows("n1") == {}
    assert admit(stores, attempt=1) == "gone"
    assert admit(stores, attempt=2) == "ok"
    with pytest.raises(StaleAttempt):
        stores.jobs.finish(old, OK)
    with pytest.raises(StaleAttempt):
        stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    with pytest.raises(StaleAttempt):
        stores.jobs.retry(old, OK, Step("failures"))
    assert set(stores.ledger.rows("n1")) == {"t1"}


def test_a_job_asked_to_stop_is_not_given_back_to_the_line(stores: Stores) -> None:
    admitted(stores, retries=3)
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.cancel("t1", 2.0)
    assert stores.jobs.retry(job, Outcome(cause=Cause.EXIT), Step("failures")) is False
    assert stores.jobs.get("t1").state is State.PREPARING


def test_cancelling_a_waiting_job_ends_it_and_frees_its_place(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create(new_job(secrets={"K": "v"}))
    assert stores.jobs.cancel("t1", 5.0) == (True, State.STOPPED)
    ended = stores.jobs.get("t1")
    assert ended.outcome is not None
    assert ended.outcome.cause is Cause.CANCELLED
    assert at_rest(client) == set()
    assert stores.jobs.cancel("t1", 5.0) == (False, State.STOPPED)


def test_cancelling_a_held_job_records_the_first_grace_and_tells_its_node(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    ear = client.pubsub(ignore_subscribe_messages=True)
    ear.subscribe(stores.keys.control("n1"))
    while ear.get_message(timeout=5) is not None:
        pass
    assert stores.jobs.cancel("t1", 3.0) == (True, State.ADMITTED)
    stores.jobs.cancel("t1", 99.0)
    assert stores.jobs.stop_graces(["t1", "t2"]) == {"t1": 3.0}
    told = ear.get_message(timeout=5)
    assert told is not None
    assert told["data"] == b"t1"
    ear.close()


def test_an_unknown_job_cannot_be_cancelled(stores: Stores) -> None:
    with pytest.raises(NotFound):
        stores.jobs.cancel("nobody", 1.0)


def test_the_guard_never_oversubscribes_whoever_asks(stores: Stores) -> None:
    announce(stores, millicores=4000, slots=100)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(40)])

    def grab(i: int) -> str:
        return admit(stores, f"j{i}", worker=f"w{i % 4}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(grab, range(40)))
    assert answers.count("ok") == 4
    held = stores.ledger.rows("n1")
    assert node().allocatable.covers(total(list(held.values())))
    assert len(held) == 4


def test_the_guard_refuses_a_batch_item_by_item(stores: Stores) -> None:
    announce(stores, millicores=2500)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(4)])
    claims = [Claim(f"j{i}", assignment().line, row()) for i in range(4)]
    claims.insert(1, Claim("nobody", assignment().line, row()))
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "gone", "ok", "full", "full"]


def test_one_device_is_never_held_twice(stores: Stores) -> None:
    announce(stores, gpus=(Gpu(uuid="gpu-a", name="x", memory=1), Gpu(uuid="gpu-b", name="x", memory=1)))
    stores.jobs.create_many([new_job(f"j{i}") for i in range(2)])
    claims = [Claim(f"j{i}", assignment().line, row(gpus=("gpu-a",))) for i in range(2)]
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "full"]


def test_the_guard_sums_shares_per_device(stores: Stores) -> None:
    announce(stores, gpus=(Gpu(uuid="a", name="x", memory=10, reserved=1), Gpu(uuid="b", name="x", memory=10)))
    stores.jobs.create_many([new_job(f"j{i}") for i in range(6)])
    rows = [
        row(gpus=("a",), gpu_memory=5), row(gpus=("a",), gpu_memory=5), row(gpus=("a",), gpu_memory=4),
        row(gpus=("a",)), row(gpus=("b", "b"), gpu_memory=1), row(gpus=("b",)),
    ]  # fmt: skip
    claims = [Claim(f"j{i}", assignment().line, each) for i, each in enumerate(rows)]
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "full", "ok", "full", "full", "ok"]


def test_ill_and_cordoned_devices_take_nothing_whatever_a_plan_says(stores: Stores) -> None:
    ill, cordoned = Gpu(uuid="a", name="x", memory=9, trouble="gone"), Gpu(uuid="b", name="x", memory=9)
    announce(stores, gpus=(ill, cordoned))
    stores.ledger.cordon("n1", ["b"], on=True)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(3)])
    claims = [Claim(f"j{i}", assignment().line, row(gpus=(uuid,))) for i, uuid in enumerate(("a", "b", "unknown"))]
    assert stores.ledger.reserve("n1", "w1", claims) == ["full", "full", "full"]


def test_a_cordon_and_a_cap_outlive_heartbeats_and_end_nothing(stores: Stores) -> None:
    have = {"gpus": (Gpu(uuid="a", name="x", memory=9), Gpu(uuid="b", name="x", memory=9)), "millicores": 8000}
    announce(stores, **have)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(4)])
    assert admit(stores, "j0") == "ok"
    stores.ledger.cordon("n1", ["a"], on=True)
    stores.ledger.set_caps("n1", {"millicores": 2000, "memory": 2**60})
    announce(stores, **have)
    known = stores.ledger.node("n1")
    assert (known.allocatable.millicores, known.allocatable.spare, known.allocatable.gpus) == (2000, 2000, 1)
    assert known.allocatable.memory == known.capacity.memory
    assert [gpu.cordoned for gpu in known.gpus] == [True, False]
    assert "more than the node has" in known.caps.warnings(known.capacity)[0]
    assert [admit(stores, f"j{i}") for i in (1, 2)] == ["ok", "full"]
    stores.ledger.set_caps("n1", {"millicores": 1000})
    assert set(stores.ledger.rows("n1")) == {"j0", "j1"}
    stores.ledger.set_caps("n1", {"millicores": None})
    stores.ledger.cordon("n1", ["a"], on=False)
    assert stores.ledger.node("n1").allocatable.millicores == 8000
    assert stores.ledger.node("n1").gpus[0].usable
    assert admit(stores, "j2") == "ok"


def test_a_node_that_is_not_there_cannot_be_changed(stores: Stores) -> None:
    for change in (
        lambda: stores.ledger.set_caps("n9", {"gpus": 1}),
        lambda: stores.ledger.cordon("n9", ["a"], on=True),
    ):
        with pytest.raises(NotFound):
            change()
    assert stores.ledger.nodes() == []


def test_reclaimable_jobs_take_idle_cores_and_keep_no_other_out(stores: Stores) -> None:
    announce(stores, millicores=4000, spare=6000)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(9)])
    spare, own = row(cpu=2.0, reclaimable=True), row(cpu=2.0)
    claims = [
        Claim(f"j{i}", assignment().line, each)
        for i, each in enumerate([spare, spare, own, spare, own, own, spare, spare])
    ]
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "ok", "ok", "full", "ok", "full", "full", "full"]


def test_no_more_devices_are_in_use_than_the_cap_says(stores: Stores) -> None:
    announce(stores, gpus=(Gpu(uuid="a", name="x", memory=9), Gpu(uuid="b", name="x", memory=9)))
    stores.redis.hset(stores.keys.node("n1"), "alloc_gpus", 1)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(3)])
    rows = [row(gpus=("a",), gpu_memory=3), row(gpus=("b",), gpu_memory=3), row(gpus=("a",), gpu_memory=3)]
    claims = [Claim(f"j{i}", assignment().line, each) for i, each in enumerate(rows)]
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "full", "ok"]


def test_a_draining_node_is_closed_to_the_guard(stores: Stores) -> None:
    announce(stores)
    stores.jobs.create(new_job())
    stores.ledger.set_state("n1", NodeState.DRAINING)
    assert admit(stores) == "closed"
    announce(stores)
    assert stores.ledger.node("n1").state is NodeState.DRAINING
    stores.ledger.set_state("n1", NodeState.UP)
    assert admit(stores) == "ok"


def test_an_unknown_node_cannot_be_drained(stores: Stores) -> None:
    with pytest.raises(NotFound):
        stores.ledger.set_state("nowhere", NodeState.DRAINING)


def test_the_line_is_ordered_by_priority_then_age_across_shapes(stores: Stores) -> None:
    stores.jobs.create(new_job("old"))
    stores.jobs.create(new_job("other-shape", requests=request(cpu=2.0)))
    stores.jobs.create(new_job("urgent", priority=9))
    stores.jobs.create(new_job("late", priority=0))
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == [
        "urgent",
        "old",
        "other-shape",
        "late",
    ]
    assert stores.jobs.positions(["late", "urgent", "nobody"]) == {"late": 4, "urgent": 1}


def test_a_thousand_that_do_not_fit_hide_nothing(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"big{i}", requests=request(cpu=64.0)) for i in range(1000)])
    stores.jobs.create(new_job("small"))
    assert "small" in {each.task_id for each in stores.ledger.window({"n1": FREE}).candidates}


def test_pages_neither_repeat_nor_skip(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"j{i:03}", owner="ann" if i % 3 else "bob") for i in range(250)])
    seen: list[str] = []
    cursor = ""
    while True:
        page = stores.jobs.list(limit=70, cursor=cursor, owner="ann")
        seen += [job.task_id for job in page.jobs]
        cursor = page.next
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 166


def test_a_cursor_of_somebodys_making_is_refused(stores: Stores) -> None:
    with pytest.raises(InvalidField, match="cursor"):
        stores.jobs.list(cursor="nonsense")


def test_what_redis_has_forgotten_leaves_the_index(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create_many([new_job("a"), new_job("b")])
    client.delete(stores.keys.job("a"))
    assert [job.task_id for job in stores.jobs.list().jobs] == ["b"]
    assert client.zcard(stores.keys.index) == 1


def test_a_node_not_heard_of_is_down(stores: Stores, client: redis.Redis) -> None:
    announce(stores)
    assert stores.ledger.node("n1").state is NodeState.UP
    client.hset(stores.keys.node("n1"), "heartbeat", 1)
    assert stores.ledger.node("n1").state is NodeState.DOWN


def test_a_worker_that_leaves_in_order_takes_its_lease_along(stores: Stores, client: redis.Redis) -> None:
    announce(stores)
    stores.ledger.retire("n1", "w1")
    assert client.exists(stores.keys.lease("n1", "w1")) == 0
    assert stores.ledger.node("n1").state is NodeState.DOWN


def test_the_shape_of_the_record_survives_the_round_trip(stores: Stores) -> None:
    spec = assignment("t9", command=("echo", "ä\n"), env={"A": "b"}, owner="ann", retries=2, network="internet")
    stores.jobs.create(
        new_job("t9", command=("echo", "ä\n"), env={"A": "b"}, owner="ann", retries=2, network="internet")
    )
    assert stores.jobs.get("t9").assignment == spec


def test_a_thousand_that_do_not_fit_cost_one_look(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"big{i:04}", requests=request(cpu=64.0)) for i in range(1000)])
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["big0000"]


def test_pages_stay_whole_while_jobs_arrive_in_between(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"old{i:03}") for i in range(450)])
    seen: list[str] = []
    cursor = ""
    for n in range(20):
        page = stores.jobs.list(limit=50, cursor=cursor)
        seen += [job.task_id for job in page.jobs]
        stores.jobs.create_many([new_job(f"new{n}-{i}") for i in range(30)])
        if not (cursor := page.next):
            break
    assert len(seen) == len(set(seen)) == 450


def test_the_index_forgets_what_redis_has_forgotten(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create_many([new_job("a"), new_job("b")])
    client.delete(stores.keys.job("a"))
    stores.jobs.forget_expired()
    assert client.zrange(stores.keys.index, 0, -1) == [b"b"]


def test_a_full_redis_is_named_and_leaves_nothing(stores: Stores, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="full"):
            stores.jobs.create(new_job())
        with pytest.raises(StoreUnavailable):
            announce(stores)
    finally:
        client.config_set("maxmemory", "0")
    assert stores.jobs.counts()["known"] == 0


def test_a_living_workers_row_cannot_be_adopted(stores: Stores) -> None:
    admitted(stores)
    assert stores.ledger.living("n1", ["w1", "w9"]) == {"w1"}
    assert not stores.ledger.adopt("n1", "t1", stores.ledger.rows("n1")["t1"], "w2")


def test_a_dead_workers_row_is_adopted_once_with_the_same_attempt(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    client.delete(stores.keys.lease("n1", "w1"))
    row_of_the_dead = stores.ledger.rows("n1")["t1"]
    assert stores.ledger.adopt("n1", "t1", row_of_the_dead, "w2")
    assert not stores.ledger.adopt("n1", "t1", row_of_the_dead, "w3")
    assert stores.jobs.claim("t1", 1, node="n1", worker="w2").attempt == 1
    with pytest.raises(StaleAttempt):
        stores.jobs.claim("t1", 1, node="n1", worker="w1")
