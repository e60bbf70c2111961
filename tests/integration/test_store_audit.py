"""Damage done by hand, by another release, or by a disk: each is put right or put aside, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import RecordCorrupt, RecordTooNew, StaleAttempt
from hivemind_worker.domain.job import State, view
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.logs import Chunk, Stream
from hivemind_worker.store.records import VERSION, job_of
from tests.builders import assignment, new_job, request, row
from tests.integration.store_kit import FREE, OK, admit, admitted, announce


def sweep(stores: Stores) -> dict[str, str]:
    """All that one whole round puts right, and the rows of n1."""
    found = stores.audit.rows("n1")
    for batch in stores.audit.active():
        found += stores.audit.jobs(batch, active=True)
    for _, mended in stores.audit.lines():
        found += mended
    for batch in stores.audit.records():
        found += stores.audit.jobs(batch)
    return dict(found)


def raw(stores: Stores, key: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = stores.redis.hgetall(key)  # type: ignore[assignment]
    return found


def test_what_agrees_is_left_alone(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    stores.jobs.create_many([new_job("waits", requests=request(cpu=64.0)), new_job("other")])
    before = {key: client.dump(key) for key in client.scan_iter()}
    assert sweep(stores) == {}
    assert {key: client.dump(key) for key in client.scan_iter()} == before


# --- the ledger -----------------------------------------------------------------------------------------------


def test_a_row_that_somebody_removed_is_restored_with_the_same_attempt(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    rows = stores.ledger.rows("n1")
    client.delete(stores.keys.reservations("n1"))
    assert sweep(stores) == {"t1": "row restored"}
    assert stores.ledger.rows("n1") == rows
    assert stores.jobs.claim("t1", 1, node="n1", worker="w1").attempt == 1


@pytest.mark.parametrize("edit", [b'{"attempt": 1}', b"{", b"", row(cpu=0.01).model_dump_json().encode()])
def test_a_row_that_somebody_edited_is_corrected(stores: Stores, client: redis.Redis, edit: bytes) -> None:
    admitted(stores)
    rows = stores.ledger.rows("n1")
    client.hset(stores.keys.reservations("n1"), "t1", edit)
    assert stores.audit.rows("n1") == [("t1", "row corrected")]
    assert stores.ledger.rows("n1") == rows


def test_a_row_that_cannot_be_read_admits_nothing_beside_it(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    stores.jobs.create(new_job("t2"))
    client.hset(stores.keys.reservations("n1"), "t1", "{")
    assert stores.ledger.rows("n1") == {}
    assert admit(stores, "t2") == "full"
    stores.audit.rows("n1")
    assert admit(stores, "t2") == "ok"


@pytest.mark.parametrize("becomes", ["nothing", "waiting", "ended", "elsewhere"])
def test_a_row_that_no_record_stands_behind_is_dropped(stores: Stores, client: redis.Redis, becomes: str) -> None:
    admitted(stores)
    held = stores.ledger.rows("n1")["t1"].model_dump_json()
    if becomes == "nothing":
        client.delete(stores.keys.job("t1"))
    elif becomes == "elsewhere":
        client.hset(stores.keys.job("t1"), "node", "n2")
    elif becomes == "ended":
        stores.jobs.finish(stores.jobs.claim("t1", 1, node="n1", worker="w1"), OK)
    else:
        stores.jobs.create(new_job("t2"))
        client.hset(stores.keys.reservations("n1"), "t2", held)
    client.hset(stores.keys.reservations("n1"), "t1", held)
    dropped = stores.audit.rows("n1")
    assert {what for _, what in dropped} <= {
        "row dropped: it has no job", "row dropped: its job is waiting elsewhere",
        "row dropped: its job is completed elsewhere", "row dropped: its job is admitted elsewhere",
    }  # fmt: skip
    assert len(dropped) == 1
    assert set(stores.ledger.rows("n1")) == ({"t1"} if becomes == "waiting" else set())


def test_a_row_of_an_older_release_is_taken_into_the_record(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    client.hdel(stores.keys.job("t1"), "row")
    assert stores.audit.rows("n1") == []
    assert raw(stores, stores.keys.job("t1"))[b"row"] == raw(stores, stores.keys.reservations("n1"))[b"t1"]


@pytest.mark.parametrize("runs", [False, True])
def test_a_row_that_nobody_remembers_is_made_anew_from_the_request_with_the_end_that_admission_allows(
    stores: Stores, client: redis.Redis, settings: Settings, runs: bool
) -> None:
    admitted(stores, owner="ann", timeout_seconds=60.0)
    if runs:
        stores.jobs.claim("t1", 1, node="n1", worker="w1")
        stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    client.hdel(stores.keys.job("t1"), "row")
    client.delete(stores.keys.reservations("n1"))
    assert sweep(stores) == {"t1": "row made anew from its request"}
    made = stores.ledger.rows("n1")["t1"]
    assert (made.amount, made.attempt, made.worker, made.owner) == (row().amount, 1, "w1", "ann")
    times, holds = stores.jobs.get("t1").times, 1000 * int(60 + settings.stop_grace + settings.job_overhead)
    begins = times.started if runs else (times.admitted or 0) + 1000 * int(settings.job_overhead)
    assert (made.deadline, made.from_start) == ((begins or 0) + holds, 0 if runs else holds)


# --- the lines ------------------------------------------------------------------------------------------------


DAMAGE: dict[str, Callable[[redis.Redis, Keys], object]] = {
    "whole line": lambda client, keys: client.zrem(keys.waiting_all, "t1"),
    "shape's line": lambda client, keys: client.zrem(keys.waiting(assignment().line), "t1"),
    "owner's line": lambda client, keys: client.delete(keys.waiting_all + "/"),
    "shapes": lambda client, keys: client.delete(keys.shapes),
    "all of it": lambda client, keys: client.delete(keys.waiting_all, keys.waiting(assignment().line), keys.shapes),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_job_that_fell_out_of_its_line_is_put_back_at_its_place(
    stores: Stores, client: redis.Redis, damage: Callable[[redis.Redis, Keys], object]
) -> None:
    stores.jobs.create_many([new_job("t1"), new_job("t2")])
    before = {key: client.dump(key) for key in client.scan_iter()}
    damage(client, stores.keys)
    assert "put back into the line" in sweep(stores).values()
    assert {key: client.dump(key) for key in client.scan_iter()} == before
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["t1", "t2"]


def test_a_job_that_no_index_knows_of_is_found_and_put_back(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create(new_job())
    client.delete(stores.keys.active, stores.keys.index, stores.keys.waiting_all)
    assert sweep(stores)["t1"] == "put back into the line"
    assert stores.jobs.counts() == {"waiting": 1, "active": 1, "known": 1}


def test_ids_without_a_waiting_record_leave_the_lines_and_the_active(stores: Stores, client: redis.Redis) -> None:
    announce(stores)
    shape = assignment().line
    stores.jobs.create_many([new_job("done"), new_job("good")])
    stores.jobs.cancel("done", 1.0)
    for key in (stores.keys.waiting_all, stores.keys.waiting(shape), stores.keys.active):
        client.zadd(key, {"done": 1, "nobody": 2})
    client.zadd(stores.keys.waiting(shape), {"stray": 3})
    sweep(stores)
    assert stores.jobs.counts() == {"waiting": 1, "active": 1, "known": 2}
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["good"]
    assert client.zrange(stores.keys.waiting(shape), 0, -1) == [b"good"]


def test_a_job_in_a_line_of_another_shape_is_not_admitted_and_leaves_it(stores: Stores, client: redis.Redis) -> None:
    announce(stores)
    stores.jobs.create(new_job("t1", requests=request(cpu=2.0)))
    client.zadd(stores.keys.waiting(assignment().line), {"t1": 1})
    client.sadd(stores.keys.shapes, assignment().line)
    assert stores.ledger.reserve("n1", "w1", [Claim("t1", assignment().line, row())]) == ["gone"]
    assert client.zcard(stores.keys.waiting(assignment().line)) == 0
    assert client.zcard(stores.keys.waiting(assignment(requests=request(cpu=2.0)).line)) == 1


# --- versions ---------------------------------------------------------------------------------------------------


def as_version_1(stores: Stores, task_id: str = "t1") -> None:
    stores.redis.hset(stores.keys.job(task_id), "version", 1)
    stores.redis.hdel(stores.keys.job(task_id), "shape", "row", "owner")


def test_a_record_of_an_older_release_is_read_run_and_migrated(stores: Stores) -> None:
    announce(stores)
    stores.jobs.create(new_job())
    as_version_1(stores)
    assert stores.jobs.get("t1").assignment == assignment()
    assert admit(stores) == "ok"
    assert sweep(stores) == {"t1": "migrated from version 1"}
    record = raw(stores, stores.keys.job("t1"))
    assert (record[b"version"], record[b"shape"]) == (str(VERSION).encode(), assignment().line.encode())
    assert sweep(stores) == {}


def test_a_record_of_a_newer_release_is_shown_by_name_and_neither_run_nor_deleted(
    stores: Stores, client: redis.Redis
) -> None:
    announce(stores)
    stores.jobs.create_many([new_job("new"), new_job("known")])
    client.hset(stores.keys.job("new"), mapping={"version": 99, "spec": "in other words"})
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["known"]
    assert admit(stores, "new") == "gone"
    shown = {job.task_id: view(job) for job in stores.jobs.list().jobs}
    assert "version 99; this release reads up to" in shown["new"]["evidence"]
    assert shown["new"]["state"] == "waiting"
    before = client.dump(stores.keys.job("new"))
    assert sweep(stores) == {}
    assert client.dump(stores.keys.job("new")) == before
    with pytest.raises(RecordTooNew, match="new"):
        job_of({key.decode(): value.decode() for key, value in raw(stores, stores.keys.job("new")).items()}, "new")


def test_a_held_record_of_a_newer_release_is_neither_claimed_nor_adopted(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    client.hset(stores.keys.job("t1"), "version", 99)
    with pytest.raises(StaleAttempt):
        stores.jobs.claim("t1", 1, node="n1", worker="w1")
    client.delete(stores.keys.lease("n1", "w1"))
    assert not stores.ledger.adopt("n1", "t1", stores.ledger.rows("n1")["t1"], "w2")


# --- what cannot be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("state", "nowhere"), ("attempt", "one"), ("created", ""), ("rank", "x"), ("version", "?"), ("node", "")],
)
def test_a_damaged_record_is_put_aside_and_its_job_ends_once(
    stores: Stores, client: redis.Redis, field: str, value: str
) -> None:
    admitted(stores, secrets={"K": "v"})
    stores.jobs.create(new_job("t2"))
    client.hset(stores.keys.job("t1"), field, value)
    damaged = raw(stores, stores.keys.job("t1"))
    assert sweep(stores)["t1"].startswith("put aside: ")
    job = stores.jobs.get("t1")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause) == (State.FAILED, Cause.INTERNAL)
    assert "damaged" in view(job)["evidence"]
    assert raw(stores, stores.keys.aside(stores.keys.job("t1"))) == damaged
    assert stores.audit.quarantined() == 1
    assert stores.ledger.rows("n1") == {}
    assert stores.jobs.secrets("t1") == {}
    assert stores.jobs.counts() == {"waiting": 1, "active": 1, "known": 2}
    assert sweep(stores) == {}
    newest = stores.events.recent(1)[0]
    assert (newest.task_id, newest.state, newest.cause) == ("t1", "failed", "internal")


def test_a_key_of_another_kind_in_a_records_place_is_put_aside(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create_many([new_job("t1"), new_job("t2")])
    client.set(stores.keys.job("t1"), "oops")
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["t2"]
    assert "damaged" in {job.task_id: job.trouble for job in stores.jobs.list().jobs}["t1"]
    assert stores.jobs.stop_graces(["t1", "t2"]) == {}
    assert sweep(stores)["t1"] == "put aside: it is no record"
    assert stores.jobs.get("t1").state is State.FAILED
    assert client.get(stores.keys.aside(stores.keys.job("t1"))) == b"oops"


def test_a_record_whose_assignment_is_damaged_is_refused_to_its_body_and_can_be_put_aside(
    stores: Stores, client: redis.Redis
) -> None:
    admitted(stores)
    client.hset(stores.keys.job("t1"), "spec", "{")
    with pytest.raises(RecordCorrupt, match="t1"):
        stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.audit.put_aside("t1", "its assignment cannot be read")
    shown = view(stores.jobs.get("t1"))
    assert (shown["state"], shown["cause"]) == ("failed", "internal")
    assert "its assignment cannot be read" in shown["evidence"]


def test_a_shared_key_of_another_kind_is_put_aside_and_made_anew(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    stores.jobs.create(new_job("t2"))
    for key in (stores.keys.reservations("n1"), stores.keys.node("n1"), stores.keys.active, stores.keys.waiting_all):
        client.delete(key)
        client.set(key, "oops")
    assert stores.ledger.nodes() == []
    sweep(stores)
    announce(stores)
    assert set(stores.ledger.rows("n1")) == {"t1"}
    assert stores.jobs.counts() == {"waiting": 1, "active": 2, "known": 2}
    assert stores.audit.quarantined() == 4


def test_a_node_that_cannot_be_read_hides_no_other(stores: Stores, client: redis.Redis) -> None:
    announce(stores)
    announce(stores, "n2")
    client.hset(stores.keys.node("n1"), "capacity", "{")
    assert [each.node for each in stores.ledger.nodes()] == ["n2"]


def test_a_damaged_chunk_is_put_aside_and_the_rest_of_the_log_is_read(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    chunks = [Chunk(n, Stream.STDOUT, b"line %d\n" % n, 0, 1, stdout_end=7 * n) for n in (1, 2)]
    stores.logs.append("t1", chunks, worker="w1")
    client.xadd(stores.keys.log("t1"), {"d": "half a chu"}, id="3-0")
    for _ in range(2):
        one, two, three = stores.logs.read("t1", 0)
        assert (one.data, two.data, three.number, three.stream) == (b"line 1\n", b"line 2\n", 3, Stream.NOTICE)
        assert b"put aside" in three.data
    last = stores.logs.last("t1")
    assert last is not None
    assert (last.number, last.stdout_end, last.attempt) == (3, 14, 1)
    assert stores.audit.quarantined() == 1
    assert raw(stores, stores.keys.quarantined_chunks)[b"t1/3"] == b"d=half a chu"


def test_an_entry_that_somebody_added_to_a_log_keeps_nothing_of_what_comes_after_it_out(
    stores: Stores, client: redis.Redis
) -> None:
    admitted(stores)
    log, lines = (
        stores.keys.log("t1"),
        [Chunk(n, Stream.STDOUT, b"line %d\n" % n, 0, 1, stdout_end=n) for n in range(5)],
    )
    stores.logs.append("t1", lines[1:3], worker="w1")
    client.xadd(log, {"d": "stray"})  # by Redis' own clock: far beyond every number there will be
    client.xadd(log, {"d": "stray"})
    for _ in range(2):
        stores.logs.append("t1", lines[3:], worker="w1")
        assert [chunk.data for chunk in stores.logs.read("t1", 0)] == [line.data for line in lines[1:]]
    assert stores.audit.quarantined() == 2


@pytest.mark.parametrize("first", ["append", "read", "last", "trim"])
def test_a_log_that_is_no_stream_is_put_aside_by_whoever_meets_it_and_the_job_goes_on(
    stores: Stores, client: redis.Redis, first: str
) -> None:
    admitted(stores)
    logs, key = stores.logs, stores.keys.log("t1")
    line = Chunk(4, Stream.STDOUT, b"four\n", 0, 1)
    client.set(key, "a string")
    meet: dict[str, Callable[[], object]] = {
        "append": lambda: logs.append("t1", [line], worker="w1"),
        "read": lambda: logs.read("t1", 0),
        "last": lambda: logs.last("t1"),
        "trim": lambda: logs.trim("t1", 3),
    }
    meet[first]()
    logs.append("t1", [line], worker="w1")
    assert [chunk.data for chunk in logs.read("t1", 0)] == [b"four\n"]
    assert client.get(stores.keys.aside(key)) == b"a string"
    assert stores.audit.quarantined() == 1


def test_a_damaged_chunk_keeps_its_number(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    client.xadd(stores.keys.log("t1"), {"d": "half a chu"}, id="1-0")
    stores.logs.append("t1", [Chunk(2, Stream.STDOUT, b"two\n", 0, 1)], worker="w1")
    assert [chunk.number for chunk in stores.logs.read("t1", 0)] == [1, 2]


def test_one_worker_sweeps_and_another_takes_over_when_it_is_silent(stores: Stores, client: redis.Redis) -> None:
    assert stores.audit.is_sweeper("w1", 10)
    assert not stores.audit.is_sweeper("w2", 10)
    assert stores.audit.is_sweeper("w1", 10)
    client.delete(stores.keys.sweeper)
    assert stores.audit.is_sweeper("w2", 10)


def test_a_past_attempt_that_cannot_be_read_costs_only_itself(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create(new_job())
    client.hset(stores.keys.job("t1"), mapping={"past:1": "{", "past:2": json.dumps({"attempt": 2})})
    assert [past.attempt for past in stores.jobs.get("t1").past] == [2]
