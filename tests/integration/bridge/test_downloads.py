"""DownloadResult: the artifact, whole or from any byte on."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from bridge.client import Client
from bridge.options import CHUNK
from bridge.wire.hivemind.v1 import task_pb2, task_pb2_grpc
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from tests.integration.bridge.conftest import bridge_settings, refused, running
from tests.site import Site

Request = task_pb2.DownloadResultRequest


@pytest.fixture
def content(site: Site, tmp_path: Path) -> bytes:
    """The artifact of the job t1, some chunks long."""
    site.announce()
    made = os.urandom(3 * CHUNK + 17)
    site.end(site.start(), artifact=site.artifact(tmp_path, made))
    return made


def test_an_artifact_arrives_whole_and_checked(bridge: Client, content: bytes, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    got = bridge.download("t1", tmp_path / "out.zip", lambda held, size: seen.append((held, size)))
    assert (tmp_path / "out.zip").read_bytes() == content
    assert got["size"] == len(content) == seen[-1][0] == seen[-1][1]
    assert not (tmp_path / "out.zip.part").exists()


def test_a_partial_file_is_gone_on_with(bridge: Client, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "out.zip.part").write_bytes(content[:1000])
    seen: list[int] = []
    bridge.download("t1", tmp_path / "out.zip", lambda held, _: seen.append(held))
    assert (tmp_path / "out.zip").read_bytes() == content
    assert seen[0] == 1000 + CHUNK


@pytest.mark.parametrize("left", [b"something else", b"x" * 10_000_000])
def test_a_partial_file_of_something_else_is_thrown_away(
    bridge: Client, content: bytes, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "out.zip.part").write_bytes(left)
    bridge.download("t1", tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == content


@pytest.mark.parametrize("at", [0, 1, CHUNK, 3 * CHUNK + 16, 3 * CHUNK + 17])
def test_any_offset_up_to_the_end_will_do(tasks: task_pb2_grpc.TaskServiceStub, content: bytes, at: int) -> None:
    first, *rest = tasks.DownloadResult(Request(task_id="t1", offset=at), timeout=10)
    assert first.size == len(content)
    assert b"".join(part.chunk for part in (first, *rest)) == content[at:]
    assert not any(part.sha256 for part in rest)


@pytest.mark.parametrize("at", [-1, 3 * CHUNK + 18, 2**62])
def test_an_offset_outside_is_refused(tasks: task_pb2_grpc.TaskServiceStub, content: bytes, at: int) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(tasks.DownloadResult(Request(task_id="t1", offset=at), timeout=10))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("offset:")


def test_a_job_that_has_not_ended_has_no_artifact_yet(bridge: Client, site: Site, tmp_path: Path) -> None:
    site.announce()
    site.start()
    with refused("FAILED_PRECONDITION", says="has not ended, it is running"):
        bridge.download("t1", tmp_path / "out.zip")
    assert list(tmp_path.glob("out*")) == []


def test_a_job_that_left_no_artifact_says_why(bridge: Client, site: Site, tmp_path: Path) -> None:
    site.announce()
    site.end(site.start(), Cause.IMAGE, evidence="no such image")
    with refused("FAILED_PRECONDITION", says="without an artifact (image: no such image)"):
        bridge.download("t1", tmp_path / "out.zip")


def test_an_artifact_that_was_swept_is_not_found(
    bridge: Client, stores: Stores, content: bytes, tmp_path: Path
) -> None:
    stores.artifacts.sweep(older_than=-1, in_use=frozenset)
    with refused("NOT_FOUND", says="the artifact of job t1 is no longer kept (retention)"):
        bridge.download("t1", tmp_path / "out.zip")


def test_an_artifact_on_another_node_names_that_node(
    stores: Stores, settings: Settings, content: bytes, tmp_path: Path
) -> None:
    elsewhere = bridge_settings(settings, node_id="n2", state=tmp_path / "n2")
    theirs = open_stores(elsewhere)
    try:
        with (
            running(theirs, elsewhere) as address,
            Client(address) as client,
            refused("NOT_FOUND", says="lies on node n1, whose files this bridge cannot read"),
        ):
            client.download("t1", tmp_path / "out.zip")
    finally:
        theirs.close()


def test_a_target_that_cannot_be_written_is_said_so(bridge: Client, content: bytes, tmp_path: Path) -> None:
    with refused("FAILED_PRECONDITION", says="cannot write"):
        bridge.download("t1", tmp_path / "no such folder" / "out.zip")
