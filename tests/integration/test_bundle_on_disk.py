"""Bundles unpacked as root, for another user, and on a disk that fills up."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hivemind_worker.domain.errors import NodeDiskFull
from hivemind_worker.execution.bundle import BundleLimits, extract_bundle
from tests import zips
from tests.disks import small_disk
from tests.zips import Entry

LIMITS = BundleLimits(max_bytes=1 << 30, max_unpacked_bytes=1 << 30, max_entries=20_000)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and changes owners")


def test_a_disk_that_fills_up_is_told_and_holds_nothing_of_the_bundle(tmp_path: Path) -> None:
    bundle = zips.write(tmp_path / "b.zip", Entry("a/small", b"x" * 1000), Entry("b", os.urandom(2 << 20)))
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(NodeDiskFull, match="disk filled up while the bundle was unpacked"):
            extract_bundle(bundle, disk, LIMITS)
        assert list(disk.iterdir()) == []
        with pytest.raises(NodeDiskFull):
            extract_bundle(bundle, disk / "new", LIMITS)
        assert list(disk.iterdir()) == []


def test_a_disk_without_inodes_is_told_too(tmp_path: Path) -> None:
    bundle = zips.write(tmp_path / "b.zip", *(Entry(f"d{i}/f", b"x") for i in range(50)))
    with small_disk(tmp_path / "disk", inodes=20) as disk:
        with pytest.raises(NodeDiskFull):
            extract_bundle(bundle, disk, LIMITS)
        assert list(disk.iterdir()) == []


def test_everything_belongs_to_the_jobs_user_whatever_the_umask(tmp_path: Path) -> None:
    bundle = zips.write(
        tmp_path / "b.zip", Entry("a/b/run", b"x", mode=stat.S_IFREG | 0o100), Entry("c/", mode=stat.S_IFDIR)
    )
    old = os.umask(0o077)
    try:
        extract_bundle(bundle, tmp_path / "out", LIMITS, uid=64646, gid=64647)
    finally:
        os.umask(old)
    made = {}
    for path in (tmp_path / "out").rglob("*"):
        status = path.stat()
        owner = status.st_uid, status.st_gid
        made[os.fspath(path.relative_to(tmp_path / "out"))] = (*owner, oct(stat.S_IMODE(status.st_mode)))
    assert made == {
        "a": (64646, 64647, "0o755"),
        "a/b": (64646, 64647, "0o755"),
        "a/b/run": (64646, 64647, "0o755"),
        "c": (64646, 64647, "0o755"),
    }


def test_ten_thousand_files_are_unpacked(tmp_path: Path) -> None:
    bundle = zips.write(tmp_path / "b.zip", *(Entry(f"{i % 100}/{i // 100}/f{i}", b"x") for i in range(10_000)))
    extract_bundle(bundle, tmp_path / "out", LIMITS)
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "out")) == 10_000
