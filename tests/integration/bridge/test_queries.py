"""GetTask, ListTasks and CancelTask."""

from __future__ import annotations

import math

import pytest

from bridge.client import Client
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import BlobRef, Cause, LogInfo, Usage
from tests.integration.bridge.conftest import refused
from tests.site import Site


@pytest.mark.parametrize("task_id", ["", "a b", "x" * 65, "\n"])
def test_an_id_that_cannot_be_one_is_an_invalid_argument(bridge: Client, task_id: str) -> None:
    for call in (bridge.get, bridge.cancel, lambda i: list(bridge.watch(i)), lambda i: list(bridge.logs(i))):
        with refused("INVALID_ARGUMENT", "task_id"):
            call(task_id)


def test_a_job_that_is_not_known_is_not_found(bridge: Client) -> None:
    for call in (bridge.get, bridge.cancel, lambda i: list(bridge.watch(i)), lambda i: list(bridge.logs(i))):
        with refused("NOT_FOUND", says="nobody"):
            call("nobody")


def test_a_job_reads_over_the_wire_as_it_does_at_home(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce()
    site.submit("waits", env={"A": "b"}, command=("echo", "hi"), owner="ann")
    job = site.start("ran", retries=2, priority=9)
    site.end(
        job, Cause.EXIT, evidence="exited with 1", artifact=BlobRef(sha256="a" * 64, size=12),
        usage=Usage(cpu_seconds=1.5, memory_peak=2**40), log=LogInfo(bytes=2**33, truncated=True),
    )  # fmt: skip
    for task_id in ("waits", "ran"):
        assert bridge.get(task_id) == Explainer(stores.jobs, stores.ledger).views([stores.jobs.get(task_id)])[0]


def test_the_pages_of_a_list_hold_every_job_once(bridge: Client, site: Site) -> None:
    wanted = {site.submit(f"t{i}") for i in range(25)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = bridge.list(limit=10, cursor=cursor)
        seen += [task["task_id"] for task in page["tasks"]]
        if not (cursor := page["next"]):
            break
    assert len(seen) == 25
    assert set(seen) == wanted


def test_a_list_can_be_narrowed(bridge: Client, site: Site) -> None:
    site.announce()
    site.submit("ann", owner="ann")
    site.submit("bob", owner="bob")
    site.end(site.start("done", owner="ann"))

    def ids(**given: object) -> set[str]:
        return {task["task_id"] for task in bridge.list(**given)["tasks"]}  # type: ignore[arg-type]

    assert ids() == {"ann", "bob", "done"}
    assert ids(owner="ann") == {"ann", "done"}
    assert ids(state="completed") == {"done"}
    assert ids(active_only=True) == {"ann", "bob"}


def test_a_page_of_long_commands_is_cut_shorter_than_asked(bridge: Client, site: Site) -> None:
    wanted = {site.submit(f"t{i}", command=("x" * 120_000,)) for i in range(60)}
    seen: set[str] = set()
    cursor, pages = "", 0
    while True:
        page = bridge.list(limit=1000, cursor=cursor)
        seen |= {task["task_id"] for task in page["tasks"]}
        pages += 1
        if not (cursor := page["next"]):
            break
    assert seen == wanted
    assert pages > 1


def test_one_broken_record_does_not_hide_the_others(bridge: Client, stores: Stores, site: Site) -> None:
    site.submit("fine")
    stores.redis.hset(stores.keys.job("broken"), mapping={"spec": "{", "state": "no state"})
    assert "broken" in bridge.get("broken")["evidence"]
    assert bridge.get("fine")["state"] == "waiting"


@pytest.mark.parametrize("limit", [-1, 1001, 2**31 - 1])
def test_a_limit_out_of_bounds_is_refused(bridge: Client, limit: int) -> None:
    with refused("INVALID_ARGUMENT", "limit"):
        bridge.list(limit=limit)


@pytest.mark.parametrize("cursor", ["x", "1", ":", "a:b", "-1:x", "9" * 5000 + ":x", "²:x"])
def test_a_cursor_that_no_page_gave_is_refused(bridge: Client, site: Site, cursor: str) -> None:
    site.submit()
    with refused("INVALID_ARGUMENT", "cursor"):
        bridge.list(cursor=cursor)


def test_a_state_that_does_not_exist_is_refused_with_those_that_do(bridge: Client) -> None:
    with refused("INVALID_ARGUMENT", "state", says="waiting, admitted"):
        bridge.list(state="sleeping")


def test_a_waiting_job_that_is_cancelled_ends_at_once(bridge: Client, site: Site) -> None:
    site.submit()
    assert bridge.cancel("t1") == {"task_id": "t1", "state": "stopped", "accepted": True}
    assert bridge.get("t1")["cause"] == "cancelled"
    assert bridge.cancel("t1") == {"task_id": "t1", "state": "stopped", "accepted": False}


def test_a_running_job_carries_the_grace_to_its_worker(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce()
    site.start("given")
    site.start("default")
    assert bridge.cancel("given", grace=2.5)["accepted"]
    assert bridge.cancel("default")["accepted"]
    assert stores.jobs.get("given").stop_grace == 2.5
    assert stores.jobs.get("default").stop_grace == 10.0


@pytest.mark.parametrize("grace", [-1.0, -math.inf, math.nan, math.inf, 1e300])
def test_a_grace_that_makes_no_sense_is_refused(bridge: Client, stores: Stores, site: Site, grace: float) -> None:
    site.submit()
    with refused("INVALID_ARGUMENT", "grace_seconds"):
        bridge.cancel("t1", grace=grace)
    assert stores.jobs.get("t1").state == "waiting"


def test_a_waiting_job_gets_another_priority_and_one_that_started_does_not(bridge: Client, site: Site) -> None:
    site.announce()
    site.submit("waits")
    site.start("runs")
    assert bridge.prioritize("waits", 8) == {"task_id": "waits", "state": "waiting", "accepted": True}
    assert bridge.get("waits")["priority"] == 8
    assert bridge.prioritize("runs", 8)["accepted"] is False
    with refused("INVALID_ARGUMENT", "priority"):
        bridge.prioritize("waits", 10)
    with refused("NOT_FOUND", says="nobody"):
        bridge.prioritize("nobody", 1)
