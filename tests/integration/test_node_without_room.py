"""A node whose disk is full: nothing is admitted, no job pays for it, nothing is left behind, and it passes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import NodeDiskFull
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import CAUSES, Cause
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.room import no_room
from hivemind_worker.settings import Settings
from tests.builders import new_job, request
from tests.disks import fill, small_disk
from tests.processes import eventually, until, worker
from tests.workspaces import kept_log, workspace_of

from .execution_kit import BUSYBOX, Kit
from .execution_kit import until as until_true

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture
def cramped(settings: Settings, stores: Stores) -> Iterator[tuple[Settings, Stores]]:
    """Settings and stores of a node whose state lies on a small disk."""
    stores.staging.close()
    with small_disk(settings.state.parent / "small", size=32 * MIB, inodes=20_000) as disk:
        own = settings.model_copy(update={"state": disk})
        opened = open_stores(own)
        try:
            yield own, opened
        finally:
            opened.close()


@pytest.fixture
def kit(cramped: tuple[Settings, Stores]) -> Iterator[Kit]:
    made = Kit(*cramped)
    yield made
    make_room(made.settings.state)
    made.close()


def make_room(disk: Path) -> None:
    (disk / "filler").unlink(missing_ok=True)


def test_a_disk_with_room_is_no_trouble_and_a_full_one_or_one_that_is_gone_is(kit: Kit) -> None:
    disk = kit.settings.state
    assert no_room(disk) == ""
    fill(disk)
    assert no_room(disk) == f"its disk is full: {disk} has 0 bytes left"
    assert "No such file" in no_room(disk / "nowhere")


def test_an_attempt_that_cannot_be_prepared_for_want_of_room_is_the_infrastructures_and_leaves_nothing(
    kit: Kit,
) -> None:
    job = kit.job(bundle={"main.py": b"print(1)", "big": os.urandom(MIB)}, image=BUSYBOX)
    fill(kit.settings.state, leave=64 * 1024)
    with contextlib.closing(Handle()) as handle, pytest.raises(NodeDiskFull) as full:
        kit.prepare(job, handle)
    assert CAUSES[full.value.cause].fault == "infrastructure"
    assert kit.leftovers() == []


def test_a_job_that_fails_within_its_share_while_its_nodes_disk_is_full_is_not_to_blame(kit: Kit) -> None:
    job = kit.job("sh", "-c", "until [ -e go ]; do sleep 0.05; done; echo x > y", image=BUSYBOX)
    handle = Handle()
    body = kit.start(job, handle)
    work = workspace_of(kit.settings.state, job.task_id).work
    (work / "go.part").touch()
    fill(kit.settings.state)
    (work / "go.part").rename(work / "go")
    ended = body.result()
    handle.close()
    assert (ended.cause, ended.exit_code) == (Cause.INTERNAL, 1)
    assert "its disk is full" in ended.evidence


@pytest.mark.parametrize("then", ["sleep 60", "exit 1"])
def test_a_job_that_takes_more_than_its_share_is_to_blame_although_the_disk_is_full_by_then(
    kit: Kit, then: str
) -> None:
    script = f"head -c 100000000 /dev/zero > big; {then}"
    _, ended = kit.run(kit.job("sh", "-c", script, image=BUSYBOX, requests={"disk": 8 * MIB}))
    assert ended.cause is Cause.DISK


def test_a_log_on_a_full_disk_is_cut_short_and_said_to_be_and_the_live_one_is_whole(kit: Kit) -> None:
    waits = "until [ -e {0} ]; do sleep 0.05; done; "
    code = waits.format("go") + "seq 1 60000; " + waits.format("end")
    job = kit.job("sh", "-c", code, image=BUSYBOX)
    handle = Handle()
    body = kit.start(job, handle)
    workspace = workspace_of(kit.settings.state, job.task_id).root
    work = workspace / "work"
    (work / "go.part").touch()
    fill(kit.settings.state)
    (work / "go.part").rename(work / "go")
    expected = b"".join(b"%d\n" % n for n in range(1, 60001))
    until_true(lambda: kit.live(job) == expected, "the live log")
    make_room(kit.settings.state)
    (work / "end").touch()
    ended = body.result()
    handle.close()
    assert ended.cause is Cause.OK
    assert ended.log.truncated
    kept = kept_log(workspace)
    assert b"[hivemind] the rest of this file could not be written" in kept


def test_nothing_is_admitted_to_a_full_disk_and_what_waited_runs_once_there_is_room(
    cramped: tuple[Settings, Stores], tmp_path: Path
) -> None:
    settings, stores = cramped
    (settings.state / "locks").mkdir()
    with worker(settings, stores, tmp_path / "worker.log", HIVEMIND_RESERVE_DISK="0"):
        fill(settings.state)
        eventually(lambda: "its disk is full" in stores.ledger.node("n1").trouble)
        small = request(cpu=0.1, memory=32 * MIB, disk=MIB)
        stores.jobs.create(new_job("waits", image=BUSYBOX, command=("true",), requests=small))
        heard = stores.ledger.node("n1").heartbeat
        eventually(lambda: stores.ledger.node("n1").heartbeat != heard)
        assert stores.jobs.get("waits").state is State.WAITING
        make_room(settings.state)
        job = until(stores, "waits")
        assert (job.state, job.attempt) == (State.COMPLETED, 1)
