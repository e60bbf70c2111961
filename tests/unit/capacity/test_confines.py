"""What confines a node, read from sample trees of both kinds of cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.capacity.confines import Confines, cores_here, parse_mounts, read_confines

V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
V1_MOUNTS = "\n".join(
    f"{i} 31 0:{i} {{root}} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"
    for i, name in enumerate(("cpu,cpuacct", "memory", "pids"), 40)
)


def tree(base: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Confines:
    """The confines that a process with these two files of /proc and this /sys/fs/cgroup reads."""
    (base / "proc").mkdir()
    (base / "proc" / "cgroup").write_text(cgroup)
    (base / "proc" / "mountinfo").write_text(mountinfo)
    for name, text in files.items():
        path = base / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return read_confines(base / "proc", base)


def test_a_process_at_the_top_is_not_confined(tmp_path: Path) -> None:
    assert tree(tmp_path, "0::/", V2_MOUNT, {"cgroup.procs": ""}) == Confines()


def test_v2_the_tightest_of_all_levels_counts(tmp_path: Path) -> None:
    files = {
        "cpu.max": "max 100000", "memory.max": "max",
        "a/cpu.max": "150000 100000", "a/memory.max": "8589934592", "a/pids.max": "4096",
        "a/b/cpu.max": "400000 100000", "a/b/memory.max": "max", "a/b/pids.max": "max",
    }  # fmt: skip
    assert tree(tmp_path, "0::/a/b", V2_MOUNT, files) == Confines(1.5, 8589934592, 4096)


def test_v2_inside_a_namespace_the_top_is_the_containers_own(tmp_path: Path) -> None:
    files = {"cpu.max": "50000 100000", "memory.max": "268435456", "pids.max": "100"}
    assert tree(tmp_path, "0::/", V2_MOUNT, files) == Confines(0.5, 268435456, 100)


def test_v1_each_controller_has_a_tree_of_its_own(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9223372036854771712", "memory/y/memory.limit_in_bytes": "1073741824",
        "pids/z/pids.max": "max",
    }  # fmt: skip
    cgroup = "8:pids:/z\n4:memory:/y\n2:cpu,cpuacct:/x\n0::/"
    assert tree(tmp_path, cgroup, V1_MOUNTS.format(root="/"), files) == Confines(2.5, 1073741824, None)


def test_v1_in_a_container_sees_its_own_part_of_the_tree_as_the_whole(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": "1073741824", "pids/pids.max": "55"}
    cgroup = "8:pids:/docker/abc\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc"
    assert tree(tmp_path, cgroup, V1_MOUNTS.format(root="/docker/abc"), files) == Confines(None, 1073741824, 55)


@pytest.mark.parametrize("path", ["/elsewhere/x", "/../.."])
def test_where_another_part_is_mounted_its_top_is_all_there_is(tmp_path: Path, path: str) -> None:
    files = {"memory/memory.limit_in_bytes": "1073741824", "memory/x/memory.limit_in_bytes": "5"}
    assert tree(tmp_path, f"4:memory:{path}", V1_MOUNTS.format(root="/docker/abc"), files).memory == 1073741824


@pytest.mark.parametrize(
    "files", [{"cpu.max": "", "memory.max": "lots", "pids.max": "-1"}, {"cpu.max": "5 0", "memory.max": "9" * 19}]
)
def test_what_makes_no_sense_does_not_confine(tmp_path: Path, files: dict[str, str]) -> None:
    assert tree(tmp_path, "0::/", V2_MOUNT, files) == Confines()


def test_without_proc_nothing_confines(tmp_path: Path) -> None:
    assert read_confines(tmp_path / "nowhere", tmp_path) == Confines()


def test_blanks_in_a_mount_point_are_read() -> None:
    assert parse_mounts(r"1 2 0:3 / /a\040b rw - cgroup2 none rw")[0].point == "/a b"


def test_a_quota_below_the_cores_counts_and_one_above_does_not() -> None:
    assert cores_here(Confines(cores=0.25)) == 0.25
    assert cores_here(Confines(cores=9999.0)) == cores_here(Confines())
