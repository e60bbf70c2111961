"""The live tail on a real Redis that hangs, comes back and forgets; and the janitor on real containers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import EngineUnavailable, StoreUnavailable
from hivemind_worker.domain.job import Job
from hivemind_worker.execution import live
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.janitor import Janitor
from hivemind_worker.execution.live import Shipper
from hivemind_worker.settings import Settings
from hivemind_worker.store.connection import connect
from hivemind_worker.store.logs import LogStore, Stream
from tests.site import hold

from .execution_kit import Kit, until


@pytest.fixture
def quick(settings: Settings, stores: Stores) -> Iterator[LogStore]:
    """A log store that finds out soon that Redis hangs."""
    client = connect(settings.redis, timeout=0.2)
    yield LogStore(client, stores.keys)
    client.close()


@pytest.fixture(autouse=True)
def _held(stores: Stores) -> None:
    """The jobs whose logs are written here are this worker's."""
    hold(stores, "t1")
    hold(stores, "t2")


@contextmanager
def hung(stores: Stores) -> Iterator[None]:
    """Redis takes connections and answers nothing."""
    pid = int(stores.redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def busy(settings: Settings, stores: Stores) -> Iterator[None]:
    """Somebody's script keeps Redis for itself, which says so to everybody else."""
    other = redis.Redis.from_url(settings.redis)
    threshold = stores.redis.config_get("busy-reply-threshold")["busy-reply-threshold"]
    stores.redis.config_set("busy-reply-threshold", 1)

    def said() -> bool:
        try:
            stores.redis.ping()
        except redis.exceptions.ResponseError as error:
            return str(error).startswith("BUSY")
        return False

    with ThreadPoolExecutor() as pool:
        script = pool.submit(other.eval, "while true do end", 0)
        try:
            until(said, "redis is busy")
            yield
        finally:
            stores.redis.script_kill()
            assert "killed" in str(script.exception(30))
            stores.redis.config_set("busy-reply-threshold", threshold)
            other.close()


def fed(shipper: Shipper, sizes: list[int]) -> live.LiveLog:
    made, end = shipper.open("t1", 1, None, worker="w1"), 0
    for size in sizes:
        end += size
        made.put(Stream.STDOUT, b"x" * size, end)
    return made


# --- the live tail ------------------------------------------------------------------------------------------


def test_what_redis_could_not_take_in_an_outage_is_one_marked_gap(
    stores: Stores, quick: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BOUND", 100_000)
    monkeypatch.setattr(live, "ROOM_PATIENCE", 0.05)
    shipper = Shipper(quick)
    with hung(stores):
        made = fed(shipper, [30_000] * 10)
        assert not made.flush(0.1)
    until(lambda: made.flush(5.0), "redis has it all")
    made.put(Stream.STDOUT, b"after", 300_005)
    until(lambda: made.flush(5.0), "redis has it all")
    found = stores.logs.read("t1", 0, count=100)
    kept = sum(len(chunk.data) for chunk in found if chunk.stream is Stream.STDOUT) - 5
    gaps = [chunk.data.decode() for chunk in found if chunk.stream is Stream.NOTICE]
    assert 0 < kept <= 100_000
    assert gaps == [f"[hivemind] {300_000 - kept} bytes of output are missing here: Redis was away\n"]
    assert [chunk.number for chunk in found] == list(range(1, len(found) + 1))
    assert (found[-1].data, found[-1].stdout_end) == (b"after", 300_005)
    shipper.close(5.0)


def test_a_long_log_is_cut_to_its_tail_after_the_end_and_a_short_one_is_not(stores: Stores) -> None:
    shipper = Shipper(stores.logs, trim_after=0.0)
    long, short = fed(shipper, [1000] * 20), shipper.open("t2", 1, None, worker="w1")
    short.put(Stream.STDOUT, b"x" * 3000, 3000)
    long.close(3000)
    short.close(3000)
    until(lambda: len(stores.logs.read("t1", 0, count=100)) == 3, "the cut")
    assert [chunk.number for chunk in stores.logs.read("t1", 0)] == [18, 19, 20]
    shipper.close(5.0)
    assert len(stores.logs.read("t2", 0)) == 1


def test_a_job_that_ends_is_told_that_redis_is_away_and_its_log_goes_first_once_it_is_back(
    stores: Stores, quick: LogStore
) -> None:
    shipper = Shipper(quick)
    with hung(stores):
        made = fed(shipper, [10])
        made.close(None)
        for _ in range(3):  # longer and longer pauses
            with pytest.raises(StoreUnavailable):
                shipper.settle_job("t1", 10.0)
    shipper.settle_job("t1", 10.0)
    assert [chunk.data for chunk in stores.logs.read("t1", 0)] == [b"x" * 10]
    shipper.settle_job("t1", 10.0)  # there is nothing left to send
    shipper.close(1.0)


def test_a_job_whose_log_is_still_being_sent_may_not_end_yet(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, append = threading.Event(), stores.logs.append

    def slowly(*given: Any, **named: Any) -> None:
        assert go_on.wait(60)
        append(*given, **named)

    monkeypatch.setattr(stores.logs, "append", slowly)
    shipper = Shipper(stores.logs)
    fed(shipper, [10]).close(None)
    with pytest.raises(StoreUnavailable, match="takes its time"):
        shipper.settle_job("t1", 0.05)
    go_on.set()
    shipper.settle_job("t1", 10.0)
    assert [chunk.data for chunk in stores.logs.read("t1", 0)] == [b"x" * 10]
    shipper.close(1.0)


def test_a_redis_that_is_busy_with_a_script_is_away_and_no_line_is_lost(
    settings: Settings, stores: Stores, quick: LogStore
) -> None:
    shipper = Shipper(quick)
    with busy(settings, stores):
        fed(shipper, [10] * 3).close(None)
        with pytest.raises(StoreUnavailable, match="BUSY"):
            stores.jobs.get("t1")
        with pytest.raises(StoreUnavailable):
            shipper.settle_job("t1", 10.0)
    until(lambda: len(stores.logs.read("t1", 0)) == 3, "the log")
    assert [chunk.stream for chunk in stores.logs.read("t1", 0)] == [Stream.STDOUT] * 3
    shipper.close(5.0)


def refusing(stores: Stores, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Redis refuses the log so many times, for a reason that nobody has thought of."""
    append, left = stores.logs.append, [None] * times

    def refuse(*given: Any, **named: Any) -> None:
        if left:
            left.pop()
            raise redis.exceptions.ResponseError("ERR of tomorrow")
        append(*given, **named)

    monkeypatch.setattr(stores.logs, "append", refuse)
    monkeypatch.setattr(live, "REFUSALS", 3)


def test_what_redis_refuses_is_tried_again(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(stores, monkeypatch, 2)
    shipper = Shipper(stores.logs)
    fed(shipper, [10]).close(None)
    until(lambda: stores.logs.read("t1", 0), "the log")
    assert [chunk.data for chunk in stores.logs.read("t1", 0)] == [b"x" * 10]
    shipper.close(5.0)


def test_what_redis_goes_on_refusing_is_a_marked_gap_and_holds_up_no_end(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(stores, monkeypatch, 3)
    shipper = Shipper(stores.logs)
    fed(shipper, [10]).close(None)
    until(lambda: stores.logs.read("t1", 0), "the log")
    found = stores.logs.read("t1", 0)
    assert [(chunk.number, chunk.stream, chunk.stdout_end) for chunk in found] == [(1, Stream.NOTICE, 10)]
    assert found[0].data == b"[hivemind] 10 bytes of output are missing here: Redis refused them\n"
    refusing(stores, monkeypatch, 1000)
    fed(shipper, [10]).close(None)
    until(lambda: not shipper._open, "nothing waits any more")
    shipper.close(5.0)


def test_a_log_that_cannot_be_cut_holds_up_no_other(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = threading.Event()

    def broken(*_: Any, **__: Any) -> list[Any]:
        refused.set()
        raise ValueError("no chunk")

    monkeypatch.setattr(stores.logs, "read", broken)
    shipper = Shipper(stores.logs, trim_after=0.0)
    fed(shipper, [10, 10]).close(keep=5)
    assert refused.wait(20)
    live_log = shipper.open("t2", 1, None, worker="w1")
    live_log.put(Stream.STDOUT, b"on", 2)
    shipper.settle_job("t2", 10.0)
    shipper.close(1.0)


def test_a_log_of_very_many_chunks_is_bounded_while_its_job_runs(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_CHUNKS", 100)
    monkeypatch.setattr(live, "CHECK_EVERY", 50)
    shipper = Shipper(stores.logs)
    made = fed(shipper, [1] * 1000)
    assert made.flush(20.0)
    shipper.close(5.0)
    assert 100 <= len(stores.logs.read("t1", 0, count=1000)) <= 100 + 50 + live.BATCH_CHUNKS


def test_a_shipper_that_is_closed_has_sent_what_was_queued(stores: Stores) -> None:
    shipper = Shipper(stores.logs)
    fed(shipper, [10] * 50)
    shipper.close(20.0)
    assert sum(len(chunk.data) for chunk in stores.logs.read("t1", 0, count=100)) == 500


def test_a_shipper_ends_although_redis_hangs(stores: Stores, quick: LogStore) -> None:
    shipper = Shipper(quick)
    with hung(stores):
        made = fed(shipper, [10])
        made.close(None)
        shipper.close(10.0)
    assert made.chunks


def test_a_log_whose_thread_cannot_be_started_fails_alone_and_the_next_one_is_sent(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    shipper = Shipper(stores.logs)
    with monkeypatch.context() as cramped:
        cramped.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            fed(shipper, [10])
    assert fed(shipper, [10]).flush(20.0)
    shipper.close(20.0)


# --- the janitor --------------------------------------------------------------------------------------------


def abandoned(kit: Kit) -> Job:
    """A running job whose worker has left."""
    job, handle = kit.job("sleep", "60"), Handle()
    body = kit.start(job, handle)
    handle.detach()
    body.join()
    handle.close()
    return job


def remains(kit: Kit) -> list[str]:
    """Containers and workspaces, these without what tells two of one attempt apart."""
    return sorted(name.partition(".")[0] for name in kit.leftovers())


def test_the_janitor_removes_at_once_what_has_no_row_and_nothing_else(kit: Kit) -> None:
    jobs = [abandoned(kit), abandoned(kit)]
    site = kit.stores.ledger.site_id
    janitor = Janitor(kit.engine, kit.settings, site_id=site, node="n1")
    other = Janitor(kit.engine, kit.settings, site_id=site, node="n2")
    live_row = frozenset({(jobs[0].task_id, 1)})
    other.sweep(lambda: live_row)
    assert f"hm-{jobs[1].task_id}-1" in kit.leftovers()
    janitor.sweep(lambda: live_row)
    assert remains(kit) == sorted([f"hm-{jobs[0].task_id}-1", f"{jobs[0].task_id}-1"])


def test_an_attempt_that_begins_while_the_janitor_looks_around_is_left_alone(kit: Kit) -> None:
    begun: list[Job] = []

    def rows() -> frozenset[tuple[str, int]]:
        begun.append(abandoned(kit))  # after the list, and its row is not in this answer
        return frozenset()

    left = abandoned(kit)
    Janitor(kit.engine, kit.settings, site_id=kit.stores.ledger.site_id, node="n1").sweep(rows)
    assert remains(kit) == sorted([f"hm-{begun[0].task_id}-1", f"{begun[0].task_id}-1"])
    assert left.task_id != begun[0].task_id


def test_two_janitors_of_one_node_do_each_other_no_harm(kit: Kit) -> None:
    for _ in range(3):
        abandoned(kit)
    janitors = [Janitor(kit.engine, kit.settings, site_id=kit.stores.ledger.site_id, node="n1") for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(janitor.sweep, frozenset) for janitor in janitors]:
            done.result(60)
    janitors[0].sweep(frozenset)  # what one found gone, the other may not have come to yet
    assert kit.leftovers() == []


def test_an_engine_that_is_away_puts_the_round_off_and_no_workspace_goes(kit: Kit) -> None:
    job = abandoned(kit)
    off = Engine(kit.settings.model_copy(update={"docker_enabled": False}))
    with pytest.raises(EngineUnavailable):
        Janitor(off, kit.settings, site_id=kit.stores.ledger.site_id, node="n1").sweep(frozenset)
    assert f"{job.task_id}-1" in remains(kit)
