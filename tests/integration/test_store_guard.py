"""The guard and the nodes it guards: what a row may take, whatever a plan says, and whose a row is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import (
    NotFound,
    StaleAttempt,
)
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.node import Gpu, NodeState, node_view, total
from tests.builders import assignment, new_job, node, row
from tests.integration.store_kit import admit, admitted, announce


def test_processes_are_counted_as_any_other_resource(stores: Stores) -> None:
    announce(stores, pids=130)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(3)])
    claims = [Claim(f"j{i}", assignment().line, row(pids=64)) for i in range(3)]
    assert stores.ledger.reserve("n1", "w1", claims) == ["ok", "ok", "full"]


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


def test_a_node_tells_the_most_it_ever_lends_and_one_of_an_older_release_lends_no_more_than_now(stores: Stores) -> None:
    now = node(slots=10)
    most = now.allocatable.model_copy(update={"spare": 8000})
    stores.ledger.announce(now.model_copy(update={"most": most}), worker="w1", lease_seconds=10)
    stores.ledger.set_caps("n1", {"slots": 0})
    assert stores.ledger.node("n1").ever == most
    stores.redis.hdel(stores.keys.node("n1"), "most")
    assert stores.ledger.node("n1").ever == now.allocatable


@pytest.mark.parametrize(("cap", "answer"), [(None, "ok"), (1, "full")])
def test_a_cordoned_device_counts_under_a_cap_while_a_job_is_on_it(
    stores: Stores, cap: int | None, answer: str
) -> None:
    announce(stores, gpus=tuple(Gpu(uuid=uuid, name="x", memory=9) for uuid in ("a", "b")))
    stores.jobs.create_many([new_job(f"j{i}") for i in range(2)])
    claims = [Claim(f"j{i}", assignment().line, row(gpus=(uuid,))) for i, uuid in enumerate(("a", "b"))]
    assert stores.ledger.reserve("n1", "w1", claims[:1]) == ["ok"]
    stores.ledger.cordon("n1", ["a"], on=True)
    stores.ledger.set_caps("n1", {"gpus": cap})
    assert stores.ledger.reserve("n1", "w1", claims[1:]) == [answer]


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
    assert "more than the node has" in node_view(known, {}, 0)["warnings"][0]
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
