"""What an artifact still holds when the disk fills up while it is collected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.delivery.artifacts import ArtifactLimits
from hivemind_worker.delivery.report import ROOM_PAUSES, Collector, Source
from hivemind_worker.domain.outcome import Cause, LogInfo, Outcome
from hivemind_worker.domain.resources import KIB, MIB
from hivemind_worker.store.blobs import BlobStore
from tests import zips
from tests.builders import job
from tests.disks import fill, small_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
FULL = "the disk filled up while the artifact was collected"


class Node:
    """A collector whose blobs and staging lie on a small disk, and a job's files that lie elsewhere."""

    def __init__(self, disk: Path, folder: Path) -> None:
        self.disk = disk
        self.source = Source(folder / "work", {}, folder / "log")
        (folder / "work" / "out").mkdir(parents=True)
        (folder / "work" / "out" / "result.bin").write_bytes(os.urandom(MIB))
        self.staging, self.blobs = disk / "tmp", disk / "blobs"
        self.store = BlobStore(self.blobs.as_uri(), self.staging)
        for first in range(256):  # as on a node that has run a while
            (self.blobs / f"{first:02x}").mkdir(parents=True)

    def collect(self, log: bytes, room: int, cause: Cause = Cause.OK, source: bool = True) -> Outcome:
        """Collect with `room` bytes free."""
        assert self.source.log is not None
        self.source.log.write_bytes(log)
        fill(self.disk, leave=room)
        before = Outcome(cause=cause, evidence="seen", log=LogInfo(bytes=len(log)))
        collector = Collector(self.store, self.staging, ArtifactLimits(16 * MIB, 100))
        return collector.collect(job(), self.source if source else None, before)

    def inside(self, outcome: Outcome) -> tuple[bytes, dict[str, object]]:
        """The kept log and outcome.json, which are all there is."""
        assert outcome.artifact is not None
        digest = outcome.artifact.sha256
        content = zips.read(self.blobs / digest[:2] / digest)
        assert list(content) == ["execution_log.txt", "outcome.json"]
        return content["execution_log.txt"], json.loads(content["outcome.json"])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with small_disk(tmp_path / "disk") as disk:
        made = Node(disk, tmp_path)
        yield made
        assert list(made.staging.iterdir()) == []


def test_where_not_even_the_outcome_fits_there_is_no_artifact(node: Node) -> None:
    outcome = node.collect(b"hello\n", room=0)
    assert outcome.artifact is None
    assert outcome.cause is Cause.INTERNAL
    assert FULL in outcome.evidence
    assert [path for path in node.blobs.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("cause", "becomes"), [(Cause.OK, Cause.INTERNAL), (Cause.EXIT, Cause.EXIT)])
def test_a_job_whose_files_do_not_fit_keeps_its_log_and_is_told_what_is_missing(
    node: Node, cause: Cause, becomes: Cause
) -> None:
    outcome = node.collect(b"hello\n", room=64 * KIB, cause=cause)
    kept, told = node.inside(outcome)
    assert kept == b"hello\n"
    assert outcome.cause is becomes
    assert outcome.evidence == told["evidence"] == f"seen; {FULL}: no file of the job is in the artifact"
    assert told["cause"] == becomes.value
    assert told["skipped"] == [{"name": "out/result.bin", "why": FULL}]
    assert told["skipped_total"] == 1
    assert not outcome.log.truncated


@pytest.mark.parametrize(("room", "keep"), [(128 * KIB, 64 * KIB), (12 * KIB, 4 * KIB)])
def test_a_log_that_does_not_fit_keeps_its_end(node: Node, room: int, keep: int) -> None:
    log = os.urandom(300 * KIB)
    outcome = node.collect(log, room)
    kept, told = node.inside(outcome)
    assert kept == log[-keep:]
    assert outcome.log.truncated
    assert outcome.log.bytes == len(log)
    skipped = told["skipped"]
    assert isinstance(skipped, list)
    assert [one["name"] for one in skipped] == ["execution_log.txt", "out/result.bin"]
    assert f"left out: {FULL}" in skipped[0]["why"]


def test_an_artifact_waits_for_room_and_is_whole_once_there_is(node: Node) -> None:
    assert node.source.log is not None
    node.source.log.write_bytes(b"hello\n")
    fill(node.disk)
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        assert list(node.staging.iterdir()) == [], "nothing half-made lies there meanwhile"
        if len(rests) == 3:
            (node.disk / "filler").unlink()
            (node.disk / "blobs").mkdir(exist_ok=True)

    collector = Collector(node.store, node.staging, ArtifactLimits(16 * MIB, 100))
    node.source.work.joinpath("out", "result.bin").write_bytes(b"r" * KIB)  # type: ignore[union-attr]
    outcome = collector.collect_patiently(job(), node.source, Outcome(cause=Cause.OK), rest)
    assert rests == list(ROOM_PAUSES[:3])
    assert outcome.cause is Cause.OK
    assert outcome.artifact is not None
    digest = outcome.artifact.sha256
    assert list(zips.read(node.blobs / digest[:2] / digest)) == ["out/result.bin", "execution_log.txt", "outcome.json"]


def test_an_artifact_waits_no_longer_than_that_nor_for_a_worker_that_leaves(node: Node) -> None:
    fill(node.disk)
    rests: list[float] = []
    collector = Collector(node.store, node.staging, ArtifactLimits(16 * MIB, 100))
    outcome = collector.collect_patiently(job(), node.source, Outcome(cause=Cause.OK), rests.append)
    assert tuple(rests) == ROOM_PAUSES
    assert outcome.cause is Cause.INTERNAL

    def leave(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collector.collect_patiently(job(), node.source, Outcome(cause=Cause.OK), leave)


def test_a_job_that_never_started_needs_room_for_its_outcome_only(node: Node) -> None:
    outcome = node.collect(b"", room=4 * KIB, cause=Cause.BUNDLE, source=False)
    kept, told = node.inside(outcome)
    assert kept == b""
    assert (told["cause"], told["evidence"]) == ("bundle", "seen")
