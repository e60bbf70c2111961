"""Files under way: each process has a directory of its own for them, and whose process is dead is swept.

The directory is locked, and the kernel frees the lock with the process, so a leftover is known without guessing by age
or by process number, which mean nothing from one container to the next.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from hivemind_worker.trees import remove_tree

#: seconds after which a file beside the directories, as older releases made them, is nobody's
STRAY_AGE = 3600.0
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """One process' directory below `base`, until `close` or the process' end."""

    def __init__(self, base: Path) -> None:
        """Where none can be made, as on a full disk, `base` itself does: a process must come up nevertheless.

        Raises OSError when there is not even that.
        """
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder, self._descriptor = base, -1
        with suppress(OSError):
            while (descriptor := _make(folder := base / uuid4().hex)) is None:
                continue  # a sweep came between
            self.folder, self._descriptor = folder, descriptor

    def close(self) -> None:
        """Remove it with all that is in it. Harmless to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            remove_tree(self.folder)
            os.close(descriptor)


def sweep_staging(base: Path) -> int:
    """Remove the directories of processes that are dead, and strays; how many went."""
    gone = 0
    with suppress(FileNotFoundError):
        for path in base.iterdir():
            with suppress(OSError):
                gone += _sweep_one(path)
    return gone


def _make(folder: Path) -> int | None:
    """Make and lock it; None when a sweep took it for a leftover in between."""
    folder.mkdir(mode=0o700)
    descriptor = -1
    try:
        descriptor = os.open(folder, _OPEN)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    if descriptor >= 0:
        os.close(descriptor)
    return None


def _sweep_one(path: Path) -> bool:
    """Whether it was a leftover and is gone. Raises OSError, for one in use among other things."""
    try:
        descriptor = os.open(path, _OPEN)
    except NotADirectoryError:
        if time.time() - path.lstat().st_mtime < STRAY_AGE:
            return False
        path.unlink()
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return remove_tree(path) is None
    finally:
        os.close(descriptor)
