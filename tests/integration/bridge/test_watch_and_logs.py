"""WatchTask and StreamLogs: told of every change, resumable, and honest about gaps."""

from __future__ import annotations

import contextlib
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge.client import Client, LogLine
from bridge.options import OPENED
from bridge.wire.hivemind.v1 import task_pb2, task_pb2_grpc
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.store.logs import Stream
from tests.integration.bridge.conftest import OwnRedis, bridge_settings, refused, running
from tests.site import Site


def data(lines: Iterator[LogLine]) -> list[tuple[int, bytes]]:
    return [(line.number, line.data) for line in lines]


def test_a_watcher_sees_the_job_now_and_then_every_change(bridge: Client, site: Site) -> None:
    site.announce()
    job = site.start()
    seen = bridge.watch("t1")
    assert next(seen)["state"] == "running"
    site.end(job, Cause.EXIT)
    rest = list(seen)
    assert rest[-1]["state"] == "failed"
    assert {view["state"] for view in rest} <= {"collecting", "failed"}


def test_a_watch_of_a_job_that_has_ended_shows_it_once(bridge: Client, site: Site) -> None:
    site.announce()
    site.end(site.start())
    assert [view["state"] for view in bridge.watch("t1")] == ["completed"]


def test_log_output_is_no_change_of_the_job(bridge: Client, site: Site) -> None:
    site.announce()
    job = site.start()
    seen = bridge.watch("t1")
    next(seen)
    for number in range(1, 50):
        site.write("t1", b"x", first=number)
    site.end(job)
    assert [view["state"] for view in seen if view["state"] == "running"] == []


def test_a_follower_of_a_silent_job_is_told_that_it_is_heard(bridge: Client, site: Site) -> None:
    """Otherwise a client cannot tell a bridge that came back from one that is away."""
    site.announce()
    site.start()
    request = task_pb2.StreamLogsRequest(task_id="t1", from_chunk=1, follow=True)
    call = bridge.stream("StreamLogs", request, task_pb2.LogChunk)
    assert OPENED in {(key, value) for key, value in call.initial_metadata()}
    call.cancel()


def test_a_follower_gets_what_is_there_and_what_comes(bridge: Client, site: Site) -> None:
    site.announce()
    job = site.start()
    site.write("t1", b"one\n", b"two\n")
    lines = bridge.logs("t1", follow=True)
    assert data(islice(lines, 2)) == [(1, b"one\n"), (2, b"two\n")]
    site.write("t1", b"\xff\xfe\0three", first=3, stream=Stream.STDERR)
    third = next(lines)
    assert (third.number, third.stream, third.data) == (3, "stderr", b"\xff\xfe\0three")
    site.write("t1", b"last\n", first=4)
    site.end(job)
    assert data(lines) == [(4, b"last\n")]


def test_without_follow_the_log_ends_where_it_is(bridge: Client, site: Site) -> None:
    site.announce()
    site.start()
    site.write("t1", b"one", b"two")
    assert data(bridge.logs("t1")) == [(1, b"one"), (2, b"two")]
    assert data(bridge.logs("t1", first=2)) == [(2, b"two")]
    assert data(bridge.logs("t1", first=3)) == []
    assert data(bridge.logs("t1", first=2**62)) == []


def test_a_follower_beyond_the_end_gets_nothing_of_a_job_that_has_ended(bridge: Client, site: Site) -> None:
    site.announce()
    job = site.start()
    site.write("t1", b"one")
    site.end(job)
    assert data(bridge.logs("t1", first=7, follow=True)) == []


def test_a_negative_chunk_number_is_refused(bridge: Client, site: Site) -> None:
    site.submit()
    with refused("INVALID_ARGUMENT", "from_chunk"):
        list(bridge.logs("t1", first=-1))


def test_a_gap_is_named_with_the_remedy_and_can_be_resumed_behind(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce()
    site.start()
    site.write("t1", *[b"%d" % n for n in range(1, 11)])
    stores.logs.trim("t1", 7)
    notice, *rest = bridge.logs("t1")
    assert (notice.stream, notice.number) == ("notice", 6)
    assert b"6 log chunks from number 1 on" in notice.data
    assert b"hivemind fetch t1" in notice.data
    assert data(iter(rest)) == [(n, b"%d" % n) for n in range(7, 11)]
    assert data(bridge.logs("t1", first=notice.number + 1)) == data(iter(rest))


def with_artifact(site: Site, folder: Path, log: bytes | None) -> None:
    """A job that has ended, with this log in its artifact and no chunk kept."""
    site.announce()
    job = site.start()
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        if log is not None:
            file.writestr("execution_log.txt", log)
        file.writestr("outcome.json", "{}")
    site.end(job, artifact=site.artifact(folder, (folder / "a.zip").read_bytes()))


def test_when_no_chunk_is_kept_the_artifact_has_the_log(bridge: Client, site: Site, tmp_path: Path) -> None:
    log = bytes(range(256)) * 1024
    with_artifact(site, tmp_path / "made", log)
    for follow in (False, True):
        pieces = list(bridge.logs("t1", follow=follow))
        assert b"".join(piece.data for piece in pieces) == log
        assert [piece.number for piece in pieces] == [1, 2, 3, 4]
        assert {piece.stream for piece in pieces} == {"stdout"}
    assert b"".join(piece.data for piece in bridge.logs("t1", first=3)) == log[2 * 65536 :]


def test_an_artifact_without_a_log_is_no_error(bridge: Client, site: Site, tmp_path: Path) -> None:
    with_artifact(site, tmp_path / "made", None)
    assert data(bridge.logs("t1", follow=True)) == []


def test_an_artifact_that_is_gone_is_no_error(bridge: Client, stores: Stores, site: Site, tmp_path: Path) -> None:
    with_artifact(site, tmp_path / "made", b"log")
    stores.artifacts.sweep(older_than=-1, in_use=frozenset)
    assert data(bridge.logs("t1")) == []


def test_a_follower_that_hangs_up_is_forgotten(stores: Stores, settings: Settings, site: Site) -> None:
    site.announce()
    job = site.start()
    site.write("t1", b"one")
    with running(stores, bridge_settings(settings)) as address:
        for _ in range(20):
            with Client(address) as client:
                next(client.logs("t1", follow=True))
                next(client.watch("t1"))
        with Client(address) as client:
            assert client.get("t1")["state"] == "running"
        site.end(job)


def test_hundreds_follow_one_job_and_cost_no_thread_each(address: str, site: Site) -> None:
    site.announce()
    job = site.start()
    site.write("t1", b"one")
    with grpc.insecure_channel(address) as channel:
        tasks = task_pb2_grpc.TaskServiceStub(channel)
        calls = [tasks.StreamLogs(task_pb2.StreamLogsRequest(task_id="t1", follow=True)) for _ in range(300)]
        assert all(next(call).data == b"one" for call in calls)
        ours = [thread for thread in threading.enumerate() if thread.name.startswith(("read", "quick", "bulk"))]
        assert len(ours) <= 12
        site.write("t1", b"two", first=2)
        assert all(next(call).data == b"two" for call in calls)
        site.end(job)
        assert all(list(call) == [] for call in calls)


def test_followers_of_many_jobs_each_hear_of_their_own(bridge: Client, site: Site) -> None:
    site.announce(millicores=64_000, memory=64 * 2**30, disk=64 * 2**30, slots=40)
    jobs = [site.start(f"t{n}") for n in range(20)]

    def follow(task_id: str) -> list[bytes]:
        return [line.data for line in bridge.logs(task_id, follow=True)]

    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(follow, job.task_id) for job in jobs]
        for job in jobs:
            site.write(job.task_id, job.task_id.encode())
            site.end(job)
        assert [answer.result(30) for answer in answers] == [[job.task_id.encode()] for job in jobs]


def test_a_bridge_that_stops_sends_its_followers_away_to_come_back(
    stores: Stores, settings: Settings, site: Site
) -> None:
    site.announce()
    site.start()
    site.write("t1", b"one")
    with contextlib.ExitStack() as kept:
        with running(stores, bridge_settings(settings)) as address:
            tasks = task_pb2_grpc.TaskServiceStub(kept.enter_context(grpc.insecure_channel(address)))
            logs: Any = tasks.StreamLogs(task_pb2.StreamLogsRequest(task_id="t1", follow=True))
            watch: Any = tasks.WatchTask(task_pb2.WatchTaskRequest(task_id="t1"))
            assert (next(logs).data, next(watch).state) == (b"one", "running")
        for call in (logs, watch):
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_client_outlasts_a_restart_of_the_bridge_without_losing_a_line(
    stores: Stores, settings: Settings, site: Site
) -> None:
    site.announce()
    job = site.start()
    site.write("t1", b"one", b"two")
    with running(stores, bridge_settings(settings)) as address:
        client = Client(address)
        lines, views = client.logs("t1", follow=True), client.watch("t1")
        assert data(islice(lines, 2)) == [(1, b"one"), (2, b"two")]
        assert next(views)["state"] == "running"
    site.write("t1", b"three", first=3)
    with running(stores, bridge_settings(settings, bridge_port=int(address.rpartition(":")[2]))):
        assert next(lines).data == b"three"
        site.write("t1", b"four", first=4)
        assert next(lines).data == b"four"
        site.end(job)
        assert list(lines) == []
        assert next(iter(reversed(list(views))))["state"] == "completed"
    client.close()


def test_a_follower_outlasts_an_outage_of_redis(own_redis: OwnRedis, own_stores: tuple[Stores, Settings]) -> None:
    stores, settings = own_stores
    site = Site(stores)
    site.announce()
    job = site.start()
    site.write("t1", b"one")
    with running(stores, settings) as address, Client(address) as client:
        lines = client.logs("t1", follow=True)
        assert next(lines).data == b"one"
        own_redis.stop()
        own_redis.start()
        site.write("t1", b"two", first=2)
        assert next(lines).data == b"two"
        site.end(job)
        assert list(lines) == []
