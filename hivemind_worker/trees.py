"""Safe walks over directory trees that somebody else wrote: nothing is followed, no depth and no name breaks them."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class TreeChanged(OSError):
    """Directories were moved while they were walked."""


@dataclass(slots=True)
class _Frame:
    """One directory on the way from the root to here, and which of its directories are still to be entered."""

    name: str
    identity: tuple[int, int]
    todo: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """One entry. `directory` is the open directory that holds it, until the walk goes on.

    A directory comes after its content; `error` says why it could not be entered, None where it was.
    """

    name: str
    directory: int
    is_dir: bool
    depth: int
    error: OSError | None
    _frames: list[_Frame]

    @property
    def path(self) -> str:
        """Path relative to the root; to be asked before the walk goes on."""
        return "/".join([*(frame.name for frame in self._frames[1:]), self.name])

    def status(self) -> os.stat_result:
        """lstat of the entry. Raises OSError, as when it vanished."""
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)


class Walk:
    """Every entry under one directory, depth first, in constant memory per level and two open files.

    `most`: look at so many entries at most, then set `cut`. `max_depth`: directories below are yielded with an error
    and not entered. `ordered`: files by name, then directories by name. `unlock`: make directories accessible that
    their owner closed. `skip`: names directly under the root to leave alone. Another file system is never entered.
    Raises TreeChanged, OSError when the root is not there.
    """

    def __init__(
        self,
        root: Path,
        *,
        most: int | None = None,
        max_depth: int | None = None,
        ordered: bool = False,
        unlock: bool = False,
        skip: frozenset[str] = frozenset(),
    ) -> None:
        self._root = root
        self._skip = skip
        self._left = most
        self._max_depth = max_depth
        self._ordered = ordered
        self._unlock = unlock
        #: whether `most` ended the walk
        self.cut = False

    def __iter__(self) -> Generator[Found, None, None]:
        if self._unlock:
            _unlock_closed(self._root)
        here = os.open(self._root, DIRECTORY)
        try:
            frames = [_Frame("", self._enter(here))]
            device = frames[0].identity[0]
            yield from self._files(here, frames)
            while not self.cut:
                if frames[-1].todo:
                    name = frames[-1].todo.pop()
                    below, error = self._open(here, name, device, len(frames))
                    if below is None:
                        yield Found(name, here, True, len(frames), error, frames)
                        continue
                    os.close(here)
                    here = below
                    frames.append(_Frame(name, self._enter(here)))
                    yield from self._files(here, frames)
                elif len(frames) > 1:
                    above = os.open("..", DIRECTORY, dir_fd=here)
                    os.close(here)
                    here = above
                    left = frames.pop()
                    if _identity(here) != frames[-1].identity:
                        raise TreeChanged(f"{left.name!r} was moved while it was walked")
                    yield Found(left.name, here, True, len(frames), None, frames)
                else:
                    return
        finally:
            os.close(here)

    def _enter(self, directory: int) -> tuple[int, int]:
        if self._unlock:
            unlock(directory)
        return _identity(directory)

    def _open(self, here: int, name: str, device: int, depth: int) -> tuple[int | None, OSError | None]:
        if self._max_depth is not None and depth > self._max_depth:
            return None, OSError(f"is nested deeper than {self._max_depth} directories")
        try:
            if self._unlock:
                _unlock_closed(name, here)
            below = os.open(name, DIRECTORY, dir_fd=here)
        except OSError as error:
            return None, error
        if os.fstat(below).st_dev != device:
            os.close(below)
            return None, OSError("is another file system")
        return below, None

    def _files(self, here: int, frames: list[_Frame]) -> Iterator[Found]:
        """Yield what is not a directory; leave the directories for later, last name first."""
        todo = frames[-1].todo
        try:
            with os.scandir(here) as entries:
                files: list[str] = []
                for entry in entries:
                    if len(frames) == 1 and entry.name in self._skip:
                        continue
                    if self._left is not None:
                        if self._left == 0:
                            self.cut = True
                            break
                        self._left -= 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.name)
                    elif self._ordered:
                        files.append(entry.name)
                    else:
                        yield Found(entry.name, here, False, len(frames), None, frames)
        except FileNotFoundError:
            return  # the directory itself was deleted: it has no entries
        for name in sorted(files):
            yield Found(name, here, False, len(frames), None, frames)
        if self._ordered:
            todo.sort(reverse=True)


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def unlock(directory: int) -> None:
    """Give the owner of an open directory all rights on it, where we may."""
    mode = os.fstat(directory).st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        try:
            Path(f"/proc/self/fd/{directory}").chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
        except PermissionError:
            return  # not ours: what follows says so where it matters


def _unlock_closed(name: str | Path, here: int | None = None) -> None:
    """A directory that cannot be read cannot be opened either, except as a mere place (O_PATH)."""
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    try:
        unlock(place)
    finally:
        os.close(place)


def remove_tree(root: Path, *, keep_root: bool = False) -> OSError | None:
    """Delete a tree whatever its modes, depth and names; the last thing that went wrong, or None.

    Follows no link. Goes on after a failure, so that as much as can be is gone. A missing tree is removed.
    """
    last: OSError | None = None
    for _ in range(3):  # entries may be skipped by a scan that deletes as it goes, or appear behind it
        last = _remove_once(root)
        try:
            if keep_root:
                if not any(root.iterdir()):
                    return None
            else:
                root.rmdir()
                return None
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            root.unlink(missing_ok=True)
            return None
        except OSError as error:
            last = last or error
    return last or OSError(f"{root} filled up again while it was emptied")


def _remove_once(root: Path) -> OSError | None:
    last: OSError | None = None
    try:
        for found in Walk(root, unlock=True):
            try:
                if found.is_dir:
                    os.rmdir(found.name, dir_fd=found.directory)
                else:
                    os.unlink(found.name, dir_fd=found.directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                last = found.error or error
    except (FileNotFoundError, NotADirectoryError):
        return last
    except OSError as error:
        return error
    return last


def disk_usage(root: Path, *, at_most: int | None = None, most_entries: int = 1_000_000) -> int:
    """Bytes allocated under a directory, hard links once; a tree that changes meanwhile is counted as far as seen.

    Counting stops beyond `at_most` bytes or after `most_entries` entries. Raises OSError when `root` is not there.
    """
    total = 0
    linked: set[int] = set()
    try:
        with closing(iter(Walk(root, most=most_entries))) as walk:
            for found in walk:
                try:
                    status = found.status()
                except OSError:
                    continue
                if status.st_nlink > 1 and not found.is_dir:
                    if status.st_ino in linked:
                        continue
                    linked.add(status.st_ino)
                total += status.st_blocks * 512
                if at_most is not None and total > at_most:
                    break
    except TreeChanged:
        return total
    return total
