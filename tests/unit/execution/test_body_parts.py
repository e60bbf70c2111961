"""The small parts of a body: its handle, the disk watch, the requirements."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.disk import INODE_BYTES, DiskWatch
from hivemind_worker.execution.handle import Detached, Handle, StoppedEarly
from hivemind_worker.execution.patience import patiently
from hivemind_worker.execution.requirements import asks_for_packages, read_marker, wrap

# --- the handle ---------------------------------------------------------------------------------------------


def readable(handle: Handle) -> bool:
    return bool(select.select([handle.fileno()], [], [], 0)[0])


def test_words_after_the_close_are_not_heard_and_do_no_harm() -> None:
    handle = Handle()
    handle.close()
    handle.close()
    handle.stop(1.0)
    handle.detach()


def test_the_first_grace_stands() -> None:
    handle = Handle()
    handle.stop(5.0)
    handle.stop(0.0)
    assert handle.stop_requested == 5.0
    handle.close()


def test_a_word_wakes_until_it_was_taken_in() -> None:
    handle = Handle()
    assert not readable(handle)
    handle.stop(1.0)
    assert readable(handle)
    handle.drain()
    assert not readable(handle)
    handle.drain()
    handle.close()


def test_a_stop_does_not_end_the_wait_for_a_detach() -> None:
    handle = Handle()
    handle.stop(1.0)
    assert not handle.wait_detached(0.01)
    handle.detach()
    assert handle.wait_detached(60.0)
    handle.close()


def test_patience_ends_with_a_stop_before_the_start_and_only_with_a_detach_after_it() -> None:
    def away() -> None:
        handle.stop(1.0)
        tries.append(1)
        if len(tries) > 2:
            handle.detach()
        raise EngineUnavailable

    handle, tries = Handle(), list[int]()
    with pytest.raises(StoppedEarly):
        patiently(handle, away)
    with pytest.raises(Detached):
        patiently(handle, away, started=True)
    assert len(tries) == 3
    handle.close()


# --- the disk watch -------------------------------------------------------------------------------------------


def measure(root: Path, cap: int = 2**40, budget: float = 1.0) -> DiskWatch:
    watch = DiskWatch([root], cap)
    due = watch.due
    watch.step(budget)
    while watch.due < due:
        watch.step(budget)
    return watch


def test_links_are_counted_once_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(100_000))
    once = measure(tmp_path).used
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "out").symlink_to("/usr")
    assert measure(tmp_path).used == once + INODE_BYTES


def test_a_sparse_file_counts_what_it_holds(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert measure(tmp_path).used < 2**20


def test_empty_files_are_not_free(tmp_path: Path) -> None:
    for n in range(100):
        (tmp_path / str(n)).touch()
    assert measure(tmp_path).used >= 100 * INODE_BYTES


def test_measuring_in_many_steps_gives_the_same_sum(tmp_path: Path) -> None:
    for n in range(50):
        (tmp_path / str(n)).write_bytes(b"x" * 5000)
    assert measure(tmp_path, budget=0.0).used == measure(tmp_path).used


def test_a_tree_that_is_over_the_cap_is_known_without_seeing_all_of_it(tmp_path: Path) -> None:
    for n in range(50):
        (tmp_path / str(n)).write_bytes(b"x" * 5000)
    watch = measure(tmp_path, cap=20_000)
    assert watch.over
    assert 20_000 < watch.used < 40_000


def test_a_workspace_that_vanished_does_not_break_the_watch(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone").used == 0


# --- requirements ---------------------------------------------------------------------------------------------


def test_only_lines_that_say_something_ask_for_packages(tmp_path: Path) -> None:
    assert not asks_for_packages(tmp_path)
    (tmp_path / "requirements.txt").write_text("\n# none\n   \n")
    assert not asks_for_packages(tmp_path)
    (tmp_path / "requirements.txt").write_text("# one\nnumpy\n")
    assert asks_for_packages(tmp_path)


def test_a_requirements_file_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").symlink_to("/etc/passwd")
    assert not asks_for_packages(tmp_path)


def test_a_marker_is_read_and_a_forged_one_is_not_followed(tmp_path: Path) -> None:
    assert read_marker(tmp_path) == ""
    own = tmp_path / ".hivemind"
    own.mkdir()
    (own / "requirements").write_text("failed\n")
    assert read_marker(tmp_path) == "failed"
    (own / "requirements").write_text("something else\n")
    assert read_marker(tmp_path) == ""
    (own / "requirements").unlink()
    os.mkfifo(own / "requirements")
    assert read_marker(tmp_path) == ""


def test_the_program_comes_last_and_unchanged() -> None:
    shell, flag, script, name, *program = wrap(("python3", "a b.py", "$x"))
    assert (shell, flag, name) == ("/bin/sh", "-c", "hivemind")
    assert program == ["python3", "a b.py", "$x"]
    assert script.rstrip().endswith('exec "$@"')
