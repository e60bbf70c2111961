"""Directories for files under way: one per process, gone with it or swept after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from hivemind_worker.store.staging import STRAY_AGE, Staging, sweep_staging
from tests.disks import fill, small_disk
from tests.processes import REPOSITORY

HOLD = """
import sys
from pathlib import Path
from hivemind_worker.store.staging import Staging
staging = Staging(Path(sys.argv[1]))
(staging.folder / "half").write_text("an upload")
print(staging.folder, flush=True)
input()
"""


def test_what_a_killed_process_had_under_way_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        mine = Staging(tmp_path)
        assert sweep_staging(tmp_path) == 0
        assert (folder / "half").exists()
        os.kill(child.pid, signal.SIGKILL)
    assert sweep_staging(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [mine.folder]
    mine.close()
    mine.close()
    assert list(tmp_path.iterdir()) == []


def test_strays_of_older_releases_go_once_they_are_old(tmp_path: Path) -> None:
    young, old = tmp_path / "blob-1", tmp_path / "artifact-2"
    for path in (young, old):
        path.write_text("x")
    past = old.stat().st_mtime - STRAY_AGE - 1
    os.utime(old, (past, past))
    assert sweep_staging(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [young]
    assert sweep_staging(tmp_path / "nowhere") == 0


def test_on_a_full_disk_a_process_comes_up_nevertheless(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", inodes=3) as disk:
        base = disk / "tmp"
        base.mkdir()
        fill(disk)
        staging = Staging(base)
        assert staging.folder == base
        staging.close()
        assert base.is_dir()
