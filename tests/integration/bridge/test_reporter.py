"""Reports to a master that drops, delays, repeats and refuses: in order per job, none missing, none forgotten."""

from __future__ import annotations

import signal
import sys
import threading
from itertools import count
from pathlib import Path

import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from bridge.leaders import build_leaders
from bridge.reporter import WAVE, WINDOW
from bridge.results import UPLOADS
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.store.outbox import REPORTS
from hivemind_worker.store.outbox_status import read_status
from tests.integration.bridge.conftest import OwnRedis, bridge_settings
from tests.integration.bridge.reporter_kit import WHOLE, reporting, run, settled, status
from tests.master import Master
from tests.processes import environment, eventually, process
from tests.site import Site

_NUMBERS = count()


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_what_the_master_refuses_is_set_aside_and_holds_up_nobody(
    stores: Stores, master: Master, client: redis.Redis
) -> None:
    master.refuse["bad"] = "I know no such task"
    run(stores, "bad", "good")
    with reporting(stores, master):
        settled(stores)
    assert master.states("good") == WHOLE
    assert status(stores).refused == len(WHOLE)
    why = client.xrange(stores.keys.set_aside(REPORTS))[0][1][b"why"]
    assert why == b"the master refuses it: I know no such task"


def test_one_report_that_spoils_a_call_is_found_and_set_aside(stores: Stores, master: Master) -> None:
    ids = [f"j{i}" for i in range(9)]
    master.poison["j4"] = "its name offends"
    run(stores, *ids)
    with reporting(stores, master):
        settled(stores)
    assert all(master.states(task_id) == WHOLE for task_id in ids if task_id != "j4")
    assert status(stores).refused == len(WHOLE)


def test_a_wave_that_takes_longer_than_the_term_is_told_call_by_call(stores: Stores, master: Master) -> None:
    ids = [f"j{i}" for i in range(16)]
    master.poison["j11"] = "its name offends"
    master.delay = 0.3
    site = Site(stores)
    site.announce()
    for task_id in ids:
        site.submit(task_id)
    with reporting(stores, master, term=1.0):
        settled(stores)
    assert (status(stores).delivered, status(stores).refused) == (15, 1)
    assert sum(len(call) for call in master.calls) == 15


def test_an_event_of_an_unknown_kind_is_set_aside_and_the_rest_goes_on(
    stores: Stores, master: Master, client: redis.Redis
) -> None:
    run(stores, "before")
    client.xadd(stores.keys.events, {"id": "before", "state": "levitating", "attempt": "1", "at": "now"})
    client.xadd(stores.keys.events, {"what": "ever"})
    run(stores, "after")
    with reporting(stores, master):
        settled(stores)
    assert (master.states("before"), master.states("after")) == (WHOLE, WHOLE)
    reasons = [body[b"why"].decode() for _, body in client.xrange(stores.keys.set_aside(REPORTS))]
    assert reasons == ["unknown state 'levitating'", "names no job: ''"]


def test_a_master_that_is_away_is_waited_for_within_bounds(stores: Stores, client: redis.Redis) -> None:
    master = Master()
    address = master.up()
    master.down()
    run(stores, *(f"j{i}" for i in range(250)))
    with reporting(stores, master):
        eventually(lambda: address in status(stores).trouble)
        assert client.xpending(stores.keys.events, REPORTS)["pending"] == WINDOW
        assert status(stores).lag_entries == 250 * len(WHOLE)
        assert master.up() == address
        settled(stores)
        eventually(lambda: status(stores).trouble == "")
    assert all(master.states(f"j{i}") == WHOLE for i in range(250))
    assert max(len(call) for call in master.calls) <= WAVE
    assert status(stores).delivered == 250 * len(WHOLE)
    master.down()


def test_two_bridges_of_a_site_report_in_turn_not_together(stores: Stores, master: Master) -> None:
    run(stores, "a")
    with reporting(stores, master, "first", "n1"):
        settled(stores)
        with reporting(stores, master, "second", "n2"):
            run(stores, "b")
            settled(stores)
            assert len({call[0].task_id for call in master.calls}) == 2
        run(stores, "c")
        settled(stores)
    with reporting(stores, master, "second", "n2"):
        run(stores, "d")
        settled(stores)
    assert [len(call) for call in master.calls] == [1] * 4 * len(WHOLE)


def test_a_stalled_bridge_that_wakes_up_breaks_no_order(stores: Stores, master: Master) -> None:
    """Its call has reached the master and hangs; another takes over and goes on; then the first one comes back."""
    master.gate = gate = threading.Event()
    run(stores, "a")
    with reporting(stores, master, "stalled"):
        assert master.reached.wait(30)
        master.gate = None
        with reporting(stores, master, "successor"):
            settled(stores)
            assert master.states("a") == WHOLE
            gate.set()
            run(stores, "b")
            settled(stores)
    assert (master.states("a"), master.states("b")) == (WHOLE, WHOLE)
    assert status(stores).delivered == 2 * len(WHOLE)


def test_a_bridge_killed_in_the_middle_of_a_call_loses_and_disorders_nothing(
    stores: Stores, settings: Settings, master: Master, tmp_path: Path
) -> None:
    ids = [f"j{i}" for i in range(20)]
    env = environment(
        settings, HIVEMIND_BRIDGE_PORT="0", HIVEMIND_FLOWER_ENABLED="0", MASTER_ADDRESS=f"127.0.0.1:{master.port}"
    )
    command = [sys.executable, "-m", "bridge"]
    for _ in range(3):
        master.reached.clear()
        master.gate = gate = threading.Event()
        with process(command, env, tmp_path / "bridge.log") as child:
            run(stores, *[task_id for task_id in ids[:5] if task_id not in master.jobs()])
            assert master.reached.wait(30), (tmp_path / "bridge.log").read_text()
            child.send_signal(signal.SIGKILL)
            child.wait(10)
        gate.set()
    master.gate = None
    run(stores, *ids[5:])
    with process(command, env, tmp_path / "bridge.log"):
        settled(stores)
    assert all(master.states(task_id) == WHOLE for task_id in ids)


def test_redis_that_goes_and_comes_back_loses_nothing(own_redis: OwnRedis, own_stores: tuple[Stores, Settings]) -> None:
    stores, _ = own_stores
    master = Master()
    master.up()
    with reporting(stores, master):
        run(stores, "a")
        settled(stores)
        own_redis.stop()
        own_redis.start()
        run(stores, "b")
        settled(stores)
    assert (master.states("a"), master.states("b")) == (WHOLE, WHOLE)
    master.down()


# --- what is promised -------------------------------------------------------------------------------------------


@how(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(["", "drop", "cut", "retry", "silent"]), max_size=12),
    batches=st.lists(st.integers(min_value=1, max_value=3), min_size=1, max_size=3),
)
def test_whatever_the_master_does_each_job_arrives_whole_and_in_order(
    settings: Settings, faults: list[str], batches: list[int]
) -> None:
    own = open_stores(settings.model_copy(update={"namespace": f"t{next(_NUMBERS)}"}))
    master = Master()
    master.up()
    master.faults = list(faults)
    ids = []
    try:
        for number, size in enumerate(batches):  # each batch by another bridge, the one before cut off
            with reporting(own, master, f"p{number}"):
                new = [f"j{number}-{i}" for i in range(size)]
                run(own, *new)
                ids += new
        with reporting(own, master, "last"):
            settled(own)
    finally:
        master.down()
        own.close()
    assert {task_id: master.states(task_id) for task_id in ids} == dict.fromkeys(ids, WHOLE)
    assert read_status(own.redis, own.keys, REPORTS).refused == 0


def test_the_end_of_a_job_is_told_with_all_that_is_known_of_it(stores: Stores, master: Master) -> None:
    site = Site(stores)
    site.announce()
    site.end(site.start("a", owner="ann", secrets={"K": "hunter2"}), Cause.OOM, evidence="seen", exit_code=137)
    with reporting(stores, master):
        settled(stores)
    told = master.last("a")
    assert (told.state, told.cause, told.attempt) == ("failed", "oom", 1)
    assert (told.task.owner, told.task.exit_code, told.task.evidence) == ("ann", 137, "seen")
    assert "hunter2" not in str(master.calls)


def test_results_are_sent_when_the_master_wants_them_and_go_on_where_they_were_cut(
    stores: Stores, master: Master, tmp_path: Path
) -> None:
    site, content = Site(stores), bytes(range(256)) * 8192
    site.announce()
    ref = site.artifact(tmp_path, content)
    site.end(site.start("a"), artifact=ref)
    site.end(site.start("none"))
    gone = ref.model_copy(update={"sha256": "b" * 64})
    site.end(site.start("gone"), artifact=gone)
    master.want_results = True
    master.held["a"] = content[:100_000]
    with reporting(stores, master):
        settled(stores)
    assert master.results["a"] == content
    assert set(master.missing) == {"none", "gone"}
    assert "no longer kept" in master.missing["gone"]


def test_a_long_result_holds_up_no_report_of_another_job(stores: Stores, master: Master, tmp_path: Path) -> None:
    site = Site(stores)
    site.announce()
    site.end(site.start("a"), artifact=site.artifact(tmp_path, b"x" * 3_000_000))
    master.want_results = True
    master.result_gate = threading.Event()
    with reporting(stores, master):
        eventually(lambda: master.states("a") == WHOLE)
        run(stores, "b")
        eventually(lambda: master.states("b") == WHOLE)
        assert status(stores).lag_entries > 0
        master.faults = ["cut"]
        master.result_gate.set()
        settled(stores)
    assert master.results["a"] == b"x" * 3_000_000


def test_results_under_way_are_broken_off_with_the_lead_and_few_at_once(
    stores: Stores, master: Master, client: redis.Redis, tmp_path: Path
) -> None:
    site = Site(stores)
    site.announce()
    ref = site.artifact(tmp_path, b"x" * 1000)
    for i in range(10):
        site.end(site.start(f"j{i}"), artifact=ref)
    master.want_results = True
    master.result_gate = threading.Event()
    with reporting(stores, master):
        eventually(lambda: master.coming == UPLOADS)
        for lost in (1, 2):
            client.delete(stores.keys.outbox_lead(REPORTS))
            eventually(lambda lost=lost: (master.broken_off, master.coming) == (lost * UPLOADS, UPLOADS))
        master.result_gate.set()
        settled(stores)
    assert set(master.results) == {f"j{i}" for i in range(10)}


def test_a_node_that_stands_alone_has_no_reporter(stores: Stores, settings: Settings) -> None:
    assert len(build_leaders(stores, bridge_settings(settings))) == 1
    joined = bridge_settings(settings, master_address="127.0.0.1:1")
    built = build_leaders(stores, joined)
    assert len(built) == 2
