"""Events that nobody can read any more: the master is told of every job that changed, from the records, once more."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis

from bridge.resync import STEP
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.store.outbox import REPORTS
from tests.integration.bridge.reporter_kit import WHOLE, end_told, reporting, run, settled, status
from tests.integration.history_kit import recording
from tests.integration.history_kit import status as history_status
from tests.master import Master
from tests.processes import eventually
from tests.site import Site


def move_back(stores: Stores, client: redis.Redis, task_id: str, minutes: int) -> None:
    """The job ended that long ago: its record and its events say so. Nothing else may be in the stream yet."""
    entries, by = client.xrange(stores.keys.events), minutes * 60_000
    client.delete(stores.keys.events)
    for number, (event_id, body) in enumerate(entries):
        client.xadd(stores.keys.events, body, id=f"{int(event_id.split(b'-')[0]) - by}-{number}")
    for time in ("created", "finished"):
        client.hincrby(stores.keys.job(task_id), time, -by)


def test_events_trimmed_unread_are_made_up_for_by_each_jobs_latest_state(
    stores: Stores, settings: Settings, master: Master, client: redis.Redis
) -> None:
    site = Site(stores)
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
    with recording(stores, settings):
        run(stores, "only-history", cause=Cause.EXIT)
        eventually(lambda: "only-history" in stores.history.get_many(["only-history"]))
        eventually(lambda: history_status(stores, settings).lag_entries == 0)
    client.delete(stores.keys.job("only-history"))
    run(stores, *(f"ended{i}" for i in range(300)))
    site.start("runs")
    site.submit("waits")
    client.xtrim(stores.keys.events, maxlen=2, approximate=False)
    with reporting(stores, master):
        settled(stores)
        for task_id in ("only-history", "runs", "waits", *(f"ended{i}" for i in range(300))):
            assert master.last(task_id).resync, task_id
        assert master.last("only-history").task.cause == "exit"
        assert master.last("runs").state == "running"
        assert master.last("runs").task.times.HasField("started")
        site.end(stores.jobs.get("runs"))
        settled(stores)
    assert master.states("runs") == ["running", "collecting", "completed"]
    assert status(stores).gaps == 1


def test_what_was_taken_long_ago_and_is_trimmed_since_is_told_after_a_restart(
    stores: Stores, client: redis.Redis
) -> None:
    master = Master()
    master.up()
    master.down()
    run(stores, "old")
    move_back(stores, client, "old", minutes=30)
    run(stores, "mid")
    with reporting(stores, master):
        eventually(lambda: client.xpending(stores.keys.events, REPORTS)["pending"] == 2 * len(WHOLE))
    run(stores, *(f"later{i}" for i in range(5)))
    client.xtrim(stores.keys.events, maxlen=6, approximate=False)
    master.up()
    with reporting(stores, master):
        settled(stores)
    assert master.jobs() == {"old", "mid", *(f"later{i}" for i in range(5))}
    master.down()


def test_what_the_master_refuses_of_a_resync_is_set_aside_as_well(
    stores: Stores, master: Master, client: redis.Redis
) -> None:
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
    run(stores, "bad", "good")
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    master.refuse["bad"] = "I know no such task"
    with reporting(stores, master):
        settled(stores)
    assert master.last("good").resync


@pytest.mark.parametrize("how_lost", ["deleted", "put aside"])
def test_what_a_lost_stream_had_to_tell_is_told_from_the_records(
    stores: Stores, master: Master, client: redis.Redis, how_lost: str
) -> None:
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
    run(stores, "lost", cause=Cause.EXIT)
    client.delete(stores.keys.events)
    if how_lost == "put aside":
        client.set(stores.keys.events, "oops")
        stores.audit.rows("n1")
    with reporting(stores, master):
        run(stores, "new")
        settled(stores)
    assert master.last("lost").state == "failed"
    assert master.last("new").state == "completed"
    assert status(stores).gaps == 1


def test_one_job_that_is_put_off_in_a_resync_holds_up_no_other_and_is_not_forgotten(
    stores: Stores, master: Master, client: redis.Redis
) -> None:
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
    run(stores, *(f"j{i:03}" for i in range(STEP + 100)), "stuck")
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    master.put_off = {"j050", "stuck"}
    others = {"told", *(f"j{i:03}" for i in range(STEP + 100))} - {"j050"}
    with reporting(stores, master):
        eventually(lambda: master.jobs() == others)
        run(stores, "fresh")
        eventually(lambda: end_told(master, "fresh"))
        eventually(lambda: status(stores).lag_entries == 0)
        assert status(stores).resyncing
    with reporting(stores, master):  # the place in Redis is before those that were put off
        run(stores, "fresher")
        eventually(lambda: end_told(master, "fresher"))
        assert status(stores).resyncing
        master.put_off = set()
        settled(stores)
    assert master.last("j050").state == master.last("stuck").state == "completed"


def test_a_long_result_holds_up_no_resync(stores: Stores, master: Master, client: redis.Redis, tmp_path: Path) -> None:
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
    site = Site(stores)
    site.end(site.start("large"), artifact=site.artifact(tmp_path, b"x" * 1000))
    run(stores, *(f"j{i:03}" for i in range(STEP)))
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    master.want_results = True
    master.results |= dict.fromkeys(("told", "fresh", *(f"j{i:03}" for i in range(STEP))), b"")
    master.result_gate = threading.Event()
    with reporting(stores, master):
        eventually(lambda: len(master.jobs()) == STEP + 2)
        run(stores, "fresh")
        eventually(lambda: end_told(master, "fresh"))
        assert status(stores).resyncing
        master.result_gate.set()
        settled(stores)
    assert master.results["large"] == b"x" * 1000


def test_a_second_gap_during_a_resync_is_looked_through_as_well(
    stores: Stores, master: Master, client: redis.Redis
) -> None:
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
        master.put_off = {"first"}
        run(stores, "first")
        client.delete(stores.keys.events)
        eventually(lambda: status(stores).resyncing)
        run(stores, "second")
        client.delete(stores.keys.events)
        eventually(lambda: status(stores).gaps == 2)
        eventually(lambda: end_told(master, "second"))
        master.put_off = set()
        settled(stores)
    assert master.last("first").state == master.last("second").state == "completed"


def test_a_resync_cut_short_goes_on_with_the_next_bridge(stores: Stores, master: Master, client: redis.Redis) -> None:
    with reporting(stores, master):
        run(stores, "told")
        settled(stores)
    run(stores, *(f"j{i}" for i in range(450)))
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    master.reached.clear()
    master.gate = gate = threading.Event()
    with reporting(stores, master, "first"):
        assert master.reached.wait(30)
        master.gate = None
        with reporting(stores, master, "second"):
            settled(stores)
            gate.set()
    assert all(master.last(f"j{i}").state == "completed" for i in range(450))
