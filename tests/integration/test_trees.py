"""Trees that a hostile program left: they are measured and removed, and nothing outside is touched."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from hivemind_worker.trees import TreeChanged, Walk, disk_usage, remove_tree
from tests.disks import NOBODY, as_nobody

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes device nodes or changes its user")


def deep(root: Path, levels: int) -> None:
    """Directories nested far beyond PATH_MAX and the number of files a process may open."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_a_missing_tree_counts_as_removed(tmp_path: Path) -> None:
    assert remove_tree(tmp_path / "none") is None


def test_links_are_removed_and_what_they_point_to_stays(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("stays")
    victim.chmod(0o500)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "to_dir").symlink_to(victim)
    (tree / "to_file").symlink_to(victim / "file")
    (tree / "dangling").symlink_to("/nowhere")
    assert remove_tree(tree) is None
    assert not tree.exists()
    assert (victim / "file").read_text() == "stays"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o500


def test_a_root_that_is_a_link_is_removed_itself(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(victim)
    assert remove_tree(link) is None
    assert not link.is_symlink()
    assert (victim / "file").exists()


def test_a_tree_deeper_than_any_limit_is_measured_and_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    try:
        deep(tree, 5000)
        assert disk_usage(tree) >= 0
        assert sum(1 for _ in Walk(tree)) == 5001
    finally:  # pytest's own clean-up gives up on such a tree
        assert remove_tree(tree) is None
    assert not tree.exists()


def test_odd_things_and_odd_names_are_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tree / "s"))
    for name in (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"x" * 255):
        (tree / os.fsdecode(name)).mkdir()
        (tree / os.fsdecode(name) / "file").touch()
    assert remove_tree(tree) is None
    assert not tree.exists()


@root_only
def test_device_nodes_are_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert remove_tree(tree) is None


def test_ten_thousand_files_and_directories_are_removed_in_one_call(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for i in range(5000):
        (tree / f"f{i}").touch()
        (tree / f"d{i}").mkdir()
    assert remove_tree(tree) is None


def test_a_root_that_is_kept_is_empty_afterwards(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)
    assert remove_tree(tmp_path / "tree", keep_root=True) is None
    assert list((tmp_path / "tree").iterdir()) == []


@root_only
def test_directories_that_their_owner_closed_are_opened_and_removed_without_root() -> None:
    with as_nobody() as folder:
        tree = folder / "tree"
        (tree / "closed" / "deeper").mkdir(parents=True)
        (tree / "closed" / "deeper" / "file").touch()
        (tree / "closed" / "deeper").chmod(0)
        (tree / "closed").chmod(0o400)
        tree.chmod(0o000)
        assert remove_tree(tree) is None
        assert not tree.exists()


@root_only
def test_what_may_not_be_removed_is_told_and_the_rest_is_gone() -> None:
    with as_nobody() as folder:
        tree = folder / "tree"
        (tree / "ours").mkdir(parents=True)
        os.seteuid(0)
        (tree / "theirs").mkdir()
        (tree / "theirs" / "file").touch()
        os.seteuid(NOBODY)
        error = remove_tree(tree)
        assert isinstance(error, OSError)
        assert [path.name for path in tree.iterdir()] == ["theirs"]


def test_usage_counts_allocated_bytes_and_hard_links_once(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(os.urandom(1024 * 1024))
    once = disk_usage(tmp_path)
    for i in range(5):
        os.link(tmp_path / "data", tmp_path / f"link{i}")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    (tmp_path / "away").symlink_to("/usr")
    assert 1024 * 1024 <= once <= disk_usage(tmp_path) < 2 * 1024 * 1024


def test_usage_stops_counting_where_the_answer_is_known(tmp_path: Path) -> None:
    for i in range(50):
        (tmp_path / str(i)).write_bytes(b"x" * 8192)
    assert 16_384 < disk_usage(tmp_path, at_most=16_384) <= 24_576


def test_usage_is_bounded_in_entries(tmp_path: Path) -> None:
    for i in range(50):
        (tmp_path / str(i)).write_bytes(b"x" * 4096)
    assert disk_usage(tmp_path, most_entries=10) <= 10 * 4096


def test_a_directory_moved_away_under_the_walk_ends_it_instead_of_leading_it_astray(tmp_path: Path) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    (tree / "a" / "b").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "secret").touch()
    (tree / "a" / "b" / "file").touch()
    seen = []
    with pytest.raises(TreeChanged):  # noqa: PT012
        for found in Walk(tree):
            seen.append(found.path)
            if found.name == "file":
                (tree / "a" / "b").rename(elsewhere / "b")
    assert seen == ["a/b/file"]
    assert disk_usage(tree) >= 0


def test_an_ordered_walk_goes_by_name_files_first(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/x", "z", "y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [found.path for found in Walk(tmp_path, ordered=True)] == ["y", "z", "a/x", "a", "b/1", "b/2", "b"]
