"""What a plan looks at: bounded however many wait, deep where jobs fit, everyone in time, run times known by kind."""

from __future__ import annotations

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.line import REMEMBERED, Claim
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import MIB, Amount
from hivemind_worker.store import ledger
from tests.builders import new_job, node, request, row

FREE = Amount(millicores=4000, memory=1024 * MIB, disk=1024 * MIB, pids=1000, slots=3, spare=4000)


def seen(stores: Stores, free: Amount = FREE) -> list[str]:
    return [each.task_id for each in stores.ledger.window({"n1": free}).candidates]


def ran(stores: Stores, task_id: str, cause: Cause = Cause.OK) -> None:
    """Run a waiting job to its end."""
    stores.ledger.announce(node(), worker="w1", lease_seconds=60)
    line = stores.jobs.get(task_id).assignment.line
    assert stores.ledger.reserve("n1", "w1", [Claim(task_id, line, row())]) == ["ok"]
    job = stores.jobs.claim(task_id, 1, node="n1", worker="w1")
    stores.redis.hset(stores.keys.job(task_id), "started", stores.ledger.now_ms() - 5_000)
    stores.jobs.finish(job, Outcome(cause=cause))


def test_of_each_line_as_many_are_seen_as_fit_and_who_is_next(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "WINDOW_FRONT", 1)
    stores.jobs.create_many([new_job(f"small{i}") for i in range(9)])
    stores.jobs.create_many([new_job(f"large{i}", requests=request(cpu=9.0)) for i in range(9)])
    assert seen(stores) == ["small0", "small1", "small2", "small3", "large0"]


def test_the_front_of_the_whole_line_is_seen_whatever_the_lines_are(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"large{i}", requests=request(cpu=9.0)) for i in range(ledger.WINDOW_FRONT + 9)])
    stores.jobs.create_many([new_job(f"small{i}") for i in range(9)])
    found = seen(stores)
    assert sum(task_id.startswith("large") for task_id in found) == ledger.WINDOW_FRONT
    assert [task_id for task_id in found if task_id.startswith("small")] == ["small0", "small1", "small2", "small3"]


def test_where_owners_take_turns_the_front_of_each_owners_part_is_seen(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"ann{i:03}", owner="ann", timeout_seconds=float(i + 1)) for i in range(300)])
    stores.jobs.create_many([new_job(f"bob{i:03}", owner="bob") for i in range(300)])
    found = [each.task_id for each in stores.ledger.window({"n1": FREE}, by_turns=True).candidates]
    half = ledger.WINDOW_FRONT // 2
    assert {f"{owner}{i:03}" for owner in ("ann", "bob") for i in range(half)} <= set(found)
    assert f"bob{half:03}" not in found


def test_jobs_of_another_owner_program_or_timeout_are_not_hidden_by_a_crowd(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"crowd{i}", owner="ann") for i in range(50)])
    others = [
        new_job("owner", owner="bob"),
        new_job("image", owner="ann", image="other"),
        new_job("program", owner="ann", command=("./other",)),
        new_job("timeout", owner="ann", timeout_seconds=5.0),
    ]
    stores.jobs.create_many(others)
    assert {"owner", "image", "program", "timeout"} <= set(seen(stores))


def test_a_window_that_leaves_out_what_could_start_says_so(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.jobs.create_many([new_job(f"j{i}") for i in range(9)])
    assert stores.ledger.window({"n1": FREE}).whole
    monkeypatch.setattr(ledger, "WINDOW_FRONT", 1)
    monkeypatch.setattr(ledger, "WINDOW_JOBS", 2)
    window = stores.ledger.window({"n1": FREE})
    assert (len(window.candidates), window.whole) == (2, False)


def test_of_many_lines_the_first_are_looked_at_always_and_the_others_in_time(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WINDOW_FRONT", 4)
    monkeypatch.setattr(ledger, "WINDOW_LINES", 8)
    stores.jobs.create_many([new_job(f"j{i:02}", timeout_seconds=float(i + 1)) for i in range(40)])
    met: set[str] = set()
    while len(met) < 40:
        now = seen(stores)
        assert now[:4] == ["j00", "j01", "j02", "j03"]
        assert len(now) <= 8
        met |= set(now)


def test_run_times_of_its_kind_predict_a_job_those_of_its_size_before_others(stores: Stores) -> None:
    stores.jobs.create_many([new_job("first"), new_job("same"), new_job("size", requests=request(cpu=2.0))])
    stores.jobs.create(new_job("stranger", owner="bob"))
    ran(stores, "first")
    found = {each.task_id: each.predicted for each in stores.ledger.window({"n1": FREE}).candidates}
    assert found["same"] == pytest.approx(5.0, abs=1.0)
    assert found["size"] == found["same"]
    assert found["stranger"] is None


def test_only_the_last_ten_runs_count_and_none_that_was_stopped_or_lost(stores: Stores) -> None:
    names = [f"run{number}" for number in range(REMEMBERED + 1)]
    stores.jobs.create_many([new_job(name) for name in (*names, "stopped", "next")])
    ran(stores, "stopped", Cause.CANCELLED)
    assert stores.redis.hlen(stores.keys.runs) == 0
    for name in names:
        ran(stores, name)
    assert {len(runs.split()) for runs in stores.redis.hvals(stores.keys.runs)} == {REMEMBERED}
