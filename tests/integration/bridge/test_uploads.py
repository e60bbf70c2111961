"""UploadBundle: what is kept is whole and safe; what is refused, cut off or too large leaves no file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from bridge.client import Client
from bridge.wire.hivemind.v1 import task_pb2, task_pb2_grpc
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.settings import Settings, load_settings
from tests import zips
from tests.disks import MIB, small_disk
from tests.integration.bridge.conftest import bridge_settings, refused, running

Request = task_pb2.UploadBundleRequest


def bundle(size: int = 100) -> bytes:
    """A sound zip with some bytes that do not compress."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("main.py", "print('hello')")
        file.writestr("data", os.urandom(size))
    return made.getvalue()


def files(settings: Settings) -> list[Path]:
    """Every file that the node holds of bundles, staged or kept."""
    roots = (settings.state / "tmp", settings.state / "blobs")
    return [path for root in roots if root.exists() for path in root.rglob("*") if path.is_file()]


def code_of(call: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()  # type: ignore[operator]
    return caught.value.code(), caught.value.details()


def until_some_file(settings: Settings, tasks: task_pb2_grpc.TaskServiceStub) -> None:
    """The same until something of the bundle is on disk."""
    for _ in range(2000):
        if files(settings):
            return
        with pytest.raises(grpc.RpcError):
            tasks.GetTask(task_pb2.GetTaskRequest(task_id="nobody"), timeout=10)
    assert files(settings)


def until_no_file(settings: Settings, tasks: task_pb2_grpc.TaskServiceStub) -> None:
    """The bridge hears of a lost client on its own loop: give it turns of that loop, not time."""
    for _ in range(2000):
        if not files(settings):
            return
        with pytest.raises(grpc.RpcError):
            tasks.GetTask(task_pb2.GetTaskRequest(task_id="nobody"), timeout=10)
    assert not files(settings)


def test_a_bundle_is_kept_under_its_digest(bridge: Client, stores: Stores, tmp_path: Path) -> None:
    data = bundle(3 * MIB)
    (tmp_path / "b.zip").write_bytes(data)
    seen: list[tuple[int, int]] = []
    sha256 = bridge.upload(tmp_path / "b.zip", lambda sent, size: seen.append((sent, size)))
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join(stores.bundles.chunks(sha256)) == data
    assert seen[-1] == (len(data), len(data))
    assert [sent for sent, _ in seen] == sorted(sent for sent, _ in seen)
    assert bridge.assign({"task_id": "t1", "bundle_sha256": sha256})["created"]


def test_a_bundle_the_node_has_is_answered_without_being_sent(
    bridge: Client, tasks: task_pb2_grpc.TaskServiceStub, tmp_path: Path
) -> None:
    (tmp_path / "b.zip").write_bytes(bundle())
    sha256 = bridge.upload(tmp_path / "b.zip")

    def requests() -> Iterator[task_pb2.UploadBundleRequest]:
        yield Request(expected_sha256=sha256)
        hold.result(20)  # nothing more, and no end either

    hold: Future[None] = Future()
    try:
        answer = tasks.UploadBundle(requests(), timeout=15)
    finally:
        hold.set_result(None)
    assert (answer.sha256, answer.size) == (sha256, (tmp_path / "b.zip").stat().st_size)


BAD_ZIPS: dict[str, tuple[bytes, str]] = {
    "not a zip": (b"#!/bin/sh\necho hi\n", ""),
    "an empty zip": (zips.build([]), ""),
    "truncated": (bundle()[:-30], ""),
    "cut in half": (bundle()[:70], ""),
    "dot dot": (zips.build([zips.Entry("../evil", b"x")]), "evil"),
    "absolute": (zips.build([zips.Entry("/etc/cron.d/evil", b"x")]), "evil"),
    "a symlink": (zips.build([zips.Entry("link", b"/etc/passwd", mode=0o120777)]), "link"),
    "a device": (zips.build([zips.Entry("dev", b"", mode=0o060644)]), "dev"),
    "encrypted": (zips.build([zips.Entry("secret", b"x" * 20, flags=1)]), "secret"),
    "a million entries": (zips.build([zips.Entry("a", b"x")], count=65535), ""),
    "a bomb": (zips.build([zips.Entry("bomb", bytes(80 * MIB), method=8)]), "bomb"),
    "overlapping": (zips.build(zips.overlapping(b"x" * 1000, 50)), ""),
}


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_an_unsafe_or_damaged_zip_is_refused_and_leaves_nothing(
    bridge: Client, settings: Settings, tmp_path: Path, name: str
) -> None:
    data, says = BAD_ZIPS[name]
    (tmp_path / "bad.zip").write_bytes(data)
    with refused("INVALID_ARGUMENT", "bundle", says=says):
        bridge.upload(tmp_path / "bad.zip")
    assert not files(settings)


def test_an_upload_of_nothing_is_refused(tasks: task_pb2_grpc.TaskServiceStub, settings: Settings) -> None:
    for requests in ([], [Request()], [Request(chunk=b"")], [Request(), Request()]):
        code, says = code_of(lambda requests=requests: tasks.UploadBundle(iter(requests), timeout=10))
        assert (code, "empty" in says) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert not files(settings)


@pytest.mark.parametrize(
    ("first", "field"),
    [
        (Request(expected_sha256="x" * 64), "expected_sha256"),
        (Request(expected_sha256="../../../etc/passwd"), "expected_sha256"),
        (Request(expected_size=-1), "expected_size"),
        (Request(expected_size=2**62), "bundle"),
        (Request(expected_sha256="0" * 64), "bundle"),
        (Request(expected_size=5), "bundle"),
    ],
)
def test_an_announcement_that_does_not_hold_is_refused(
    tasks: task_pb2_grpc.TaskServiceStub, settings: Settings, first: task_pb2.UploadBundleRequest, field: str
) -> None:
    code, says = code_of(lambda: tasks.UploadBundle(iter([first, Request(chunk=bundle())]), timeout=10))
    assert (code, says.startswith(f"{field}:")) == (grpc.StatusCode.INVALID_ARGUMENT, True), says
    assert not files(settings)


def test_the_size_cap_holds_while_the_bundle_streams(stores: Stores, settings: Settings) -> None:
    small = bridge_settings(settings, max_bundle_bytes=MIB)
    sent = 0

    def endless() -> Iterator[task_pb2.UploadBundleRequest]:
        nonlocal sent
        while True:
            sent += 256 * 1024
            yield Request(chunk=bytes(256 * 1024))

    with running(stores, small) as address, grpc.insecure_channel(address) as channel:
        tasks = task_pb2_grpc.TaskServiceStub(channel)
        code, says = code_of(lambda: tasks.UploadBundle(endless(), timeout=20))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "HIVEMIND_MAX_BUNDLE_BYTES" in says
    assert sent < 64 * MIB  # flow control: the sender ran into the window, not into its memory
    assert not files(settings)


def test_a_full_disk_is_said_to_be_full_and_the_file_goes(stores: Stores, settings: Settings, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size=2 * MIB) as disk:
        narrow = load_settings(
            state=disk / "state", redis_url=settings.redis, node_id="n1", bridge_port=0, flower_enabled=False
        )
        (tmp_path / "b.zip").write_bytes(bundle(4 * MIB))
        own = open_stores(narrow)
        with running(own, narrow) as address, Client(address) as client:
            with refused("RESOURCE_EXHAUSTED", says="disk is full"):
                client.upload(tmp_path / "b.zip")
            assert not files(narrow)
            (tmp_path / "small.zip").write_bytes(bundle())
            assert client.upload(tmp_path / "small.zip")
        own.close()


def test_a_client_that_disconnects_in_the_middle_leaves_no_file(address: str, settings: Settings) -> None:
    def half() -> Iterator[task_pb2.UploadBundleRequest]:
        yield Request(chunk=bundle(MIB)[: MIB // 2])
        gone.result(20)

    gone: Future[None] = Future()
    channel = grpc.insecure_channel(address)
    call = task_pb2_grpc.TaskServiceStub(channel).UploadBundle.future(half(), timeout=20)
    with grpc.insecure_channel(address) as other:
        tasks = task_pb2_grpc.TaskServiceStub(other)
        until_some_file(settings, tasks)
        channel.close()
        gone.set_result(None)
        until_no_file(settings, tasks)
    assert call.done()


def test_a_client_that_cancels_in_the_middle_leaves_no_file(
    tasks: task_pb2_grpc.TaskServiceStub, settings: Settings
) -> None:
    gone: Future[None] = Future()

    def half() -> Iterator[task_pb2.UploadBundleRequest]:
        yield Request(chunk=bundle(MIB)[: MIB // 2])
        gone.result(20)

    call = tasks.UploadBundle.future(half(), timeout=20)
    until_some_file(settings, tasks)
    call.cancel()
    gone.set_result(None)
    until_no_file(settings, tasks)


def test_many_uploads_of_one_bundle_at_once_end_in_one_file(bridge: Client, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(bundle(2 * MIB))
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: bridge.upload(tmp_path / "b.zip"), range(8)))
    assert [path.name for path in files(settings)] == list(digests)


def test_a_bridge_that_stops_in_the_middle_leaves_no_file_and_no_noise(
    stores: Stores, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    gone: Future[None] = Future()

    def half() -> Iterator[task_pb2.UploadBundleRequest]:
        yield Request(chunk=bundle(MIB)[: MIB // 2])
        gone.result(20)

    with contextlib.ExitStack() as kept:
        with running(stores, bridge_settings(settings)) as address:
            tasks = task_pb2_grpc.TaskServiceStub(kept.enter_context(grpc.insecure_channel(address)))
            call = tasks.UploadBundle.future(half(), timeout=20)
            until_some_file(settings, tasks)
        gone.set_result(None)
        code, _ = code_of(call.result)
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert not files(settings)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
