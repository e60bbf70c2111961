"""Artifacts of what real programs leave, harmless and hostile."""

from __future__ import annotations

import json
import os
import socket
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hivemind_worker.delivery.artifacts import ArtifactLimits, ArtifactReport, collect_artifact, final_outcome
from hivemind_worker.delivery.selection import Selection
from hivemind_worker.domain.errors import DiskExhausted
from hivemind_worker.domain.files import FileStamp
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.workspace import Workspace, create_workspace
from tests.disks import fill, small_disk

LIMITS = ArtifactLimits(max_bytes=16 * MIB, max_entries=100)
OURS = ["execution_log.txt", "outcome.json"]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, or makes device nodes")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "workspaces", "job", 1)
    made.log.write_text("hello\n")
    return made


def collect(
    workspace: Workspace,
    limits: ArtifactLimits = LIMITS,
    outcome: str | Callable[[ArtifactReport], str] = '{"cause": "ok"}',
) -> tuple[ArtifactReport, dict[str, bytes]]:
    """The report, and every entry's content by name in the zip's order."""
    target = workspace.root.parent.parent / "artifact.zip"
    target.unlink(missing_ok=True)
    report = collect_artifact(workspace.work, workspace.baseline(), workspace.log, outcome, target, limits)
    assert report.bytes == target.stat().st_size
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert report.entries == len(archive.namelist()) - len(OURS)
        return report, {name: archive.read(name) for name in archive.namelist()}


# --- what must never get in -----------------------------------------------------------------------------


def test_links_fifos_and_sockets_are_left_out_and_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    work = workspace.work
    monkeypatch.chdir(work)  # a socket's path has 107 bytes at most
    (work / "shadow").symlink_to("/etc/shadow")
    (work / "etc").symlink_to("/etc")
    (work / "loop").symlink_to("loop")
    os.mkfifo(work / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    (work / "real").write_text("kept")
    report, inside = collect(workspace)
    assert list(inside) == ["real", *OURS]
    assert report.skipped == (
        ("etc", "is a symbolic link"),
        ("fifo", "is a FIFO"),
        ("loop", "is a symbolic link"),
        ("shadow", "is a symbolic link"),
        ("socket", "is a socket"),
    )
    assert report.left_out == 5
    assert report.over == ""
    assert json.loads(inside["outcome.json"])["left_out"][0] == {"name": "etc", "why": "is a symbolic link"}


@root_only
def test_devices_are_left_out_without_being_opened(workspace: Workspace) -> None:
    os.mknod(workspace.work / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(workspace.work / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 200))
    report, inside = collect(workspace)
    assert list(inside) == OURS
    assert [why for _, why in report.skipped] == ["is a block device", "is a character device"]


@pytest.mark.parametrize("swap", ["link", "fifo", "gone"])
def test_a_file_swapped_between_the_look_and_the_open_is_not_followed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    """The race is made certain: the swap happens inside the check that the job would have to overtake."""
    victim = workspace.work / "file"
    victim.write_text("harmless")
    look = Selection._is_new

    def swapped(self: Selection, path: str, status: os.stat_result) -> bool:
        victim.unlink()
        if swap == "link":
            victim.symlink_to("/etc/passwd")
        elif swap == "fifo":
            os.mkfifo(victim)
        return look(self, path, status)

    monkeypatch.setattr(Selection, "_is_new", swapped)
    report, inside = collect(workspace)
    assert list(inside) == OURS
    assert report.left_out == 1


def test_a_directory_swapped_for_a_link_is_not_entered(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.work / "d").mkdir()
    (workspace.work / "d" / "x").write_text("x")
    (workspace.work / "first").write_text("1")
    look = Selection._is_new

    def swapped(self: Selection, path: str, status: os.stat_result) -> bool:
        if path == "first":
            (workspace.work / "d").rename(workspace.root / "moved")
            (workspace.work / "d").symlink_to("/etc")
        return look(self, path, status)

    monkeypatch.setattr(Selection, "_is_new", swapped)
    report, inside = collect(workspace)
    assert list(inside) == ["first", *OURS]
    assert [name for name, _ in report.skipped] == ["d"]


def test_the_nodes_own_directory_is_not_the_jobs(workspace: Workspace) -> None:
    (workspace.work / ".hivemind" / "site").mkdir(parents=True)
    (workspace.work / ".hivemind" / "site" / "lib.py").touch()
    (workspace.work / "sub" / ".hivemind").mkdir(parents=True)
    (workspace.work / "sub" / ".hivemind" / "mine").touch()
    report, inside = collect(workspace)
    assert list(inside) == ["sub/.hivemind/mine", *OURS]
    assert report.left_out == 0


# --- caps ------------------------------------------------------------------------------------------------


def test_a_sparse_terabyte_is_left_out_unread_and_smaller_files_still_go_in(workspace: Workspace) -> None:
    (workspace.work / "a_sparse").touch()
    os.truncate(workspace.work / "a_sparse", 1 << 40)
    (workspace.work / "b").write_text("kept")
    report, inside = collect(workspace)
    assert list(inside) == ["b", *OURS]
    assert report.skipped == (("a_sparse", "is 1T, too large for the cap of 16M"),)
    assert "'a_sparse' with 1T is left out" in report.over
    assert "HIVEMIND_MAX_ARTIFACT_BYTES" in report.over


def test_files_that_pass_the_cap_together_leave_out_the_one_that_passes_it(workspace: Workspace) -> None:
    for name in ("a", "b", "c"):
        (workspace.work / name).write_bytes(b"x" * 400)
    report, inside = collect(workspace, ArtifactLimits(max_bytes=1000, max_entries=100))
    assert list(inside) == ["a", "b", *OURS]
    assert "'c'" in report.over


def test_hard_links_count_each_time_so_that_they_cannot_pass_the_cap(workspace: Workspace) -> None:
    (workspace.work / "0").write_bytes(b"x" * 400)
    for i in range(1, 6):
        os.link(workspace.work / "0", workspace.work / str(i))
    report, inside = collect(workspace, ArtifactLimits(max_bytes=1000, max_entries=100))
    assert list(inside) == ["0", "1", *OURS]
    assert report.left_out == 4


def test_more_files_than_the_cap_are_left_out_counted_and_told(workspace: Workspace) -> None:
    for i in range(250):
        (workspace.work / f"{i:03}").touch()
    report, inside = collect(workspace, ArtifactLimits(max_bytes=MIB, max_entries=20))
    assert len(inside) == 22
    assert report.over.startswith("the artifact is over its cap of 20 files (HIVEMIND_MAX_ARTIFACT_ENTRIES)")
    assert len(report.skipped) == 100
    told = json.loads(inside["outcome.json"])
    assert told["left_out_total"] == report.left_out > 150


def test_the_outcome_is_asked_last_and_becomes_disk_only_where_the_job_did_well(workspace: Workspace) -> None:
    (workspace.work / "big").write_bytes(b"x" * 2000)
    ended: dict[str, Outcome] = {}

    def told(cause: Cause) -> Callable[[ArtifactReport], str]:
        def tell(report: ArtifactReport) -> str:
            ended[cause] = final_outcome(Outcome(cause=cause, exit_code=1, evidence="seen"), report)
            return ended[cause].model_dump_json()

        return tell

    for cause in (Cause.OK, Cause.EXIT, Cause.CANCELLED):
        _, inside = collect(workspace, ArtifactLimits(1000, 10), told(cause))
        assert json.loads(inside["outcome.json"])["cause"] == ended[cause].cause
    assert [ended[cause].cause for cause in ended] == [Cause.DISK, Cause.EXIT, Cause.CANCELLED]
    assert all(outcome.evidence.startswith("seen; the artifact is over") for outcome in ended.values())


def test_an_artifact_within_its_caps_leaves_the_outcome_alone(workspace: Workspace) -> None:
    report, _ = collect(workspace)
    outcome = Outcome(cause=Cause.OK)
    assert final_outcome(outcome, report) is outcome


def test_directories_nested_beyond_reason_are_left_out_and_told(workspace: Workspace) -> None:
    here = os.open(workspace.work, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    report, inside = collect(workspace)
    assert list(inside) == OURS
    assert "nested deeper" in report.skipped[0][1]


@root_only
@pytest.mark.parametrize("room", [0, 4096, 65536, 300_000])
def test_a_disk_that_fills_up_while_collecting_is_told_and_no_file_is_left(
    workspace: Workspace, tmp_path: Path, room: int
) -> None:
    (workspace.work / "data").write_bytes(os.urandom(600_000))
    with small_disk(tmp_path / "disk") as disk:
        fill(disk, leave=room)
        with pytest.raises(DiskExhausted, match="while the artifact was collected"):
            collect_artifact(workspace.work, {}, workspace.log, "{}", disk / "a.zip", LIMITS)
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_fault_of_whoever_writes_the_outcome_leaves_no_file(workspace: Workspace, tmp_path: Path) -> None:
    def fault(_: ArtifactReport) -> str:
        raise RuntimeError("no outcome")

    with pytest.raises(RuntimeError):
        collect_artifact(workspace.work, {}, workspace.log, fault, tmp_path / "a.zip", LIMITS)
    assert not (tmp_path / "a.zip").exists()


def test_a_file_that_lies_where_the_artifact_should_is_not_touched(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("somebody's")
    with pytest.raises(FileExistsError):
        collect_artifact(workspace.work, {}, workspace.log, "{}", tmp_path / "a.zip", LIMITS)
    assert (tmp_path / "a.zip").read_text() == "somebody's"


# --- files that change while they are read -----------------------------------------------------------------


def test_a_file_that_grows_while_it_is_read_ends_where_it_ended_when_opened(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = workspace.work / "grows"
    file.write_bytes(b"x" * 1000)
    pread = os.pread

    def growing(descriptor: int, size: int, at: int) -> bytes:
        data = pread(descriptor, size, at)
        with file.open("ab") as more:
            more.write(b"y" * 1000)
        return data

    monkeypatch.setattr(os, "pread", growing)
    _, inside = collect(workspace)
    assert inside["grows"] == b"x" * 1000


def test_a_file_that_shrinks_while_it_is_read_is_kept_as_far_as_it_went_and_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = workspace.work / "shrinks"
    file.write_bytes(b"x" * 3 * MIB)
    pread = os.pread

    def shrinking(descriptor: int, size: int, at: int) -> bytes:
        data = pread(descriptor, size, at)
        if at == 0 and size == MIB:
            os.truncate(file, MIB)
        return data

    monkeypatch.setattr(os, "pread", shrinking)
    report, inside = collect(workspace)
    assert inside["shrinks"] == b"x" * MIB
    assert report.skipped == (("shrinks", f"is cut: it shrank from {3 * MIB} to {MIB} bytes while it was read"),)
    assert report.left_out == 0


# --- what goes in ----------------------------------------------------------------------------------------


def test_only_new_and_changed_files_go_in_even_after_a_restart_of_the_worker(workspace: Workspace) -> None:
    work = workspace.work
    for name in ("same", "rewritten", "restamped", "replaced", "appended", "deleted"):
        (work / name).write_text("old text")
    workspace.record_baseline()
    restamped = (work / "restamped").stat()
    (work / "rewritten").write_text("new text")
    (work / "restamped").write_text("NEW TEXT")
    os.utime(work / "restamped", ns=(restamped.st_atime_ns, restamped.st_mtime_ns))
    (work / "fresh").write_text("old text")
    (work / "fresh").rename(work / "replaced")
    with (work / "appended").open("a") as file:
        file.write("!")
    (work / "deleted").unlink()
    (work / "out").mkdir()
    (work / "out" / "new").write_text("new")
    _, inside = collect(workspace)
    assert list(inside) == ["appended", "replaced", "restamped", "rewritten", "out/new", *OURS]


def test_log_and_outcome_are_the_nodes_and_the_jobs_own_make_way(workspace: Workspace) -> None:
    work = workspace.work
    (work / "outcome.json").write_text("the job's")
    (work / "execution_log.txt").write_text("the job's log")
    (work / "job.execution_log.txt").write_text("unlucky")
    _, inside = collect(workspace)
    assert inside["execution_log.txt"] == b"hello\n"
    assert json.loads(inside["outcome.json"]) == {"cause": "ok"}
    assert inside["job.outcome.json"] == b"the job's"
    assert inside["job.execution_log.txt"] == b"unlucky"
    assert inside["job.job.execution_log.txt"] == b"the job's log"


def test_a_job_that_wrote_nothing_has_an_artifact_too_even_without_a_log(workspace: Workspace) -> None:
    workspace.log.unlink()
    report, inside = collect(workspace)
    assert inside["execution_log.txt"] == b""
    assert list(inside) == OURS
    assert report.entries == 0


def test_names_that_are_not_text_are_spelled(workspace: Workspace) -> None:
    (workspace.work / os.fsdecode(b"caf\xe9")).write_text("x")
    (workspace.work / "sub\\dir").mkdir()
    (workspace.work / "sub\\dir" / "a\nb").write_text("y")
    _, inside = collect(workspace)
    assert list(inside) == ["caf%E9", "sub%5Cdir/a%0Ab", *OURS]


def test_compression_is_used_where_it_pays(workspace: Workspace) -> None:
    (workspace.work / "noise").write_bytes(os.urandom(200_000))
    (workspace.work / "text").write_bytes(b"the same line again\n" * 10_000)
    (workspace.work / "header_then_noise").write_bytes(bytes(1024) + os.urandom(200_000))
    collect(workspace)
    with zipfile.ZipFile(workspace.root.parent.parent / "artifact.zip") as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
    assert kinds["noise"] == kinds["header_then_noise"] == zipfile.ZIP_STORED
    assert kinds["text"] == zipfile.ZIP_DEFLATED


def test_modes_are_plain_and_dates_beyond_the_calendar_of_zip_are_moved_into_it(workspace: Workspace) -> None:
    (workspace.work / "tool").touch(mode=0o700)
    (workspace.work / "tool").chmod(0o4711)
    (workspace.work / "old").touch()
    os.utime(workspace.work / "old", (0, 0))
    os.utime(workspace.work / "tool", (2**33, 2**33))
    collect(workspace)
    with zipfile.ZipFile(workspace.root.parent.parent / "artifact.zip") as archive:
        modes = {info.filename: oct(info.external_attr >> 16) for info in archive.infolist()}
        assert archive.getinfo("old").date_time == (1980, 1, 1, 0, 0, 0)
        assert archive.getinfo("tool").date_time[0] == 2107
    assert (modes["tool"], modes["old"]) == ("0o100755", "0o100644")


def test_ten_thousand_files_go_in_and_come_in_the_same_order_each_time(workspace: Workspace) -> None:
    for i in range(10_000):
        (workspace.work / f"{i % 10}").mkdir(exist_ok=True)
        (workspace.work / f"{i % 10}" / f"{i}").write_bytes(b"x")
    limits = ArtifactLimits(max_bytes=MIB, max_entries=20_000)
    _, first = collect(workspace, limits)
    _, second = collect(workspace, limits)
    assert len(first) == 10_002
    assert list(first) == list(second)


def test_a_file_that_its_job_closed_and_a_directory_too_go_in(workspace: Workspace) -> None:
    (workspace.work / "d").mkdir()
    (workspace.work / "d" / "f").write_text("x")
    (workspace.work / "d" / "f").chmod(0)
    (workspace.work / "d").chmod(0)
    report, inside = collect(workspace)
    expected = ["d/f", *OURS] if os.geteuid() == 0 else OURS
    assert list(inside) == expected
    assert report.left_out == len(OURS) + 1 - len(inside)


def test_a_stamp_survives_its_way_through_a_document() -> None:
    stamp = FileStamp(1, 2, 3, 4)
    assert FileStamp.parse(json.loads(json.dumps(stamp.values))) == stamp
