"""Workspaces on a real file system."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from hivemind_worker.domain.errors import HiveMindError, NodeDiskFull
from hivemind_worker.execution.workspace import create_workspace, list_workspaces, workspaces_of
from tests.disks import NOBODY, as_nobody, fill, small_disk

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "workspaces"


@root_only
def test_a_workspace_is_the_jobs_inside_and_closed_to_others_outside(base: Path) -> None:
    workspace = create_workspace(base, "job", 1, 64646, 64646)
    assert workspace.root == base / f"job-1.{workspace.hand}"
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
    assert stat.S_IMODE(workspace.root.stat().st_mode) == 0o700
    assert (workspace.work.stat().st_uid, workspace.work.stat().st_gid) == (64646, 64646)
    assert workspace.root.stat().st_uid == 0


@root_only
def test_a_worker_without_root_is_told_which_setting_helps_and_nothing_is_left() -> None:
    with as_nobody() as folder:
        with pytest.raises(HiveMindError, match=f"HIVEMIND_JOB_UID={NOBODY}"):
            create_workspace(folder, "job", 1, 64646, 64646)
        assert list(folder.iterdir()) == []
        assert create_workspace(folder, "job", 1, NOBODY, NOBODY).work.is_dir()


def test_two_hands_at_the_same_attempt_do_not_meet(base: Path) -> None:
    frozen = create_workspace(base, "job", 1)
    (frozen.work / "half").touch()
    other = create_workspace(base, "job", 1)
    assert list(other.work.iterdir()) == []
    assert set(workspaces_of(base, "job", 1)) == {frozen, other}
    assert frozen.remove()
    assert workspaces_of(base, "job", 1) == [other]


def test_who_finds_one_keeps_a_log_of_its_own_there_and_may_inherit_the_last(base: Path) -> None:
    first = create_workspace(base, "job", 1)
    first.log.write_text("read before")
    (found,) = workspaces_of(base, "job", 1)
    assert found.log != first.log
    found.inherit_log()
    found.inherit_log()
    assert found.log.read_text() == "read before"
    first.log.write_text("a late word of a frozen hand")
    assert found.log.read_text() == "read before"
    found.drop_older_logs()
    assert sorted(path.name for path in found.root.iterdir()) == sorted(["unended", "work", first.log.name])


def test_only_one_hand_asks_for_the_start(base: Path) -> None:
    first = create_workspace(base, "job", 1)
    (second,) = workspaces_of(base, "job", 1)
    assert first.note_start()
    noted = first.start
    assert not second.note_start()
    assert second.start == noted
    second.forget_start()
    assert second.note_start()


def test_a_workspace_of_an_older_release_is_found(base: Path) -> None:
    (base / "job-1" / "work").mkdir(parents=True)
    assert [one.root.name for one in workspaces_of(base, "job", 1)] == ["job-1"]


def test_attempts_of_one_job_do_not_meet(base: Path) -> None:
    create_workspace(base, "job", 1)
    create_workspace(base, "job-1", 2)
    create_workspace(base, "job", 12)
    assert workspaces_of(base, "job", 2) == []
    assert [one.root.name.partition(".")[0] for one in workspaces_of(base, "job-1", 2)] == ["job-1-2"]
    assert [one.attempt for one in workspaces_of(base, "job", 1)] == [1]


def test_the_list_leaves_out_what_is_no_workspace(base: Path, tmp_path: Path) -> None:
    assert list_workspaces(base) == []
    create_workspace(base, "a-b.c", 12)
    (base / "file-1").touch()
    (base / "link-1").symlink_to(tmp_path)
    (base / "-1").mkdir()
    (base / "job-x").mkdir()
    (base / "job-²").mkdir()
    assert [(one.task_id, one.attempt) for one in list_workspaces(base)] == [("a-b.c", 12)]


def test_a_baseline_survives_the_worker_with_every_kind_of_name(base: Path) -> None:
    workspace = create_workspace(base, "job", 1)
    odd = os.fsdecode(b"caf\xe9\n")
    (workspace.work / "dir").mkdir()
    (workspace.work / "dir" / odd).write_text("x")
    assert not workspace.ready
    assert workspace.baseline() == {}
    workspace.record_baseline()
    (again,) = workspaces_of(base, "job", 1)
    assert again.ready
    assert list(again.baseline()) == [f"dir/{odd}"]
    assert again.baseline()[f"dir/{odd}"].size == 1


def test_meta_that_was_cut_by_a_power_loss_reads_as_not_ready(base: Path) -> None:
    workspace = create_workspace(base, "job", 1)
    workspace.record_baseline()
    workspace.meta.write_text('{"baseline": {"a"')
    assert not workspace.ready
    workspace.meta.write_text("[]")
    assert workspace.baseline() == {}


def test_how_long_it_is_kept_stands_beside_the_baseline(base: Path) -> None:
    workspace = create_workspace(base, "job", 1)
    workspace.record_baseline()
    assert workspace.kept_until is None
    workspace.keep_until(1234.5)
    assert workspace.kept_until == 1234.5
    assert workspace.ready


def test_root_files_are_regular_files_only(base: Path) -> None:
    workspace = create_workspace(base, "job", 1)
    (workspace.work / "main.py").touch()
    (workspace.work / "dir.py").mkdir()
    (workspace.work / "link.py").symlink_to("main.py")
    os.mkfifo(workspace.work / "fifo.py")
    assert workspace.root_files() == ("main.py",)


def test_the_first_line_is_read_without_following_or_waiting(base: Path) -> None:
    workspace = create_workspace(base, "job", 1)
    (workspace.work / "run.sh").write_bytes(b"#!/bin/bash\r\nexit\n")
    (workspace.work / "binary").write_bytes(b"\xff" * 1000)
    (workspace.work / "link").symlink_to("/etc/passwd")
    assert workspace.first_line("run.sh") == "#!/bin/bash"
    assert len(workspace.first_line("binary")) == 256
    with pytest.raises(OSError) as refused:
        workspace.first_line("link")
    assert refused.value.errno == errno.ELOOP


def test_a_workspace_is_removed_whatever_lies_in_it(base: Path) -> None:
    workspace = create_workspace(base, "job", 1)
    (workspace.work / "d").mkdir()
    (workspace.work / "d" / "f").touch()
    (workspace.work / "d").chmod(0)
    os.mkfifo(workspace.work / "fifo")
    workspace.log.write_text("log")
    assert workspace.remove()
    assert workspace.remove()
    assert list(base.iterdir()) == []


@root_only
def test_a_full_disk_is_told_and_leaves_no_half_written_meta(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        workspace = create_workspace(disk / "workspaces", "job", 1)
        (workspace.work / "data").touch()
        fill(disk)
        with pytest.raises(NodeDiskFull):
            workspace.record_baseline()
        assert sorted(path.name for path in workspace.root.iterdir()) == ["unended", "work"]
        assert not workspace.ready


@root_only
def test_why_a_container_is_ended_is_noted_on_a_full_disk_too_and_can_be_taken_back(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        workspace = create_workspace(disk / "workspaces", "job", 1)
        fill(disk)
        assert workspace.ended_for == ""
        workspace.note_end("disk")
        (again,) = workspaces_of(disk / "workspaces", "job", 1)
        assert again.ended_for == "disk"
        again.note_end("")
        assert again.ended_for == ""


@root_only
def test_a_disk_without_inodes_is_told_and_leaves_no_half_made_workspace(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", inodes=3) as disk:
        base = disk / "workspaces"
        with pytest.raises(NodeDiskFull):
            create_workspace(base, "job", 1)
        assert list(base.iterdir()) == []
