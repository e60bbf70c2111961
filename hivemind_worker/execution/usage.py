"""The meter: what one container uses, read from the kernel while it runs and in the instant it ends.

The kernel's files vanish some 20 ms after the container's last process (measured: Docker 20.10, cgroup v1), so the
meter holds a pidfd on the container's init, which tells of its end at once. A program of 0.3 s, and even `true`, is
read completely that way. The CPU time includes about 20 ms that the engine's own start-up spends inside the cgroup.
cgroup v1 does not say whose cached pages are written out, so there `block_write` counts direct writes only.
Where this machine's /proc does not show the container (a worker in a container without `pid: host`), the last
reading before the end stands, and network bytes stay 0.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from hivemind_worker.execution import cgroups
from hivemind_worker.execution.cgroups import Reading

#: seconds between readings: short at first, for what a program does at its start, then doubling
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
_MAX_FILE = 64 * 1024
PROC = Path("/proc")


class Meter:
    """One container's meter. Owned by the body's thread; `close` gives its files back. Nothing here raises."""

    def __init__(
        self,
        container: str,
        *,
        network: bool,
        ask_pid: Callable[[], int],
        root: Path = cgroups.ROOT,
        proc: Path = PROC,
    ) -> None:
        """`ask_pid` asks the engine for the init's number; used only where the files are not at a usual place."""
        self.reading = Reading()
        self._files: list[tuple[int, str]] = []
        self._pidfd: int | None = None
        self._pause = FIRST_PAUSE
        #: monotonic time of the next reading
        self.due = time.monotonic() + self._pause
        self._open(root, proc, container, network, ask_pid)
        self.sample()

    def fileno(self) -> int | None:
        """A pidfd, readable once the container's init has ended; None: not to be had."""
        return self._pidfd

    def sample(self) -> Reading:
        """Read everything now; the reading so far."""
        for descriptor, kind in self._files:
            try:
                text = os.pread(descriptor, _MAX_FILE, 0).decode("ascii", "replace")
                self.reading = self.reading.joined(cgroups.parse(kind, text))
            except (OSError, ValueError):
                continue  # the file vanished with the container: the reading before stands
        self.due = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return self.reading

    def ended(self) -> None:
        """Last reading; the init is gone, so there is nothing more to wait for."""
        self.sample()
        self.due = float("inf")
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def close(self) -> None:
        """Give the files back."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        for descriptor, _ in self._files:
            os.close(descriptor)
        self._files.clear()

    def _open(self, root: Path, proc: Path, container: str, network: bool, ask_pid: Callable[[], int]) -> None:
        found = cgroups.sources(root, container)
        pid = _init_of(cgroups.process_list(root, container), proc)
        if not found:
            pid = ask_pid()
            text = _read(proc / str(pid) / "cgroup") if pid else ""
            if container not in text:
                return  # another machine's process, or it has ended
            found = cgroups.sources(root, container, text)
        for source in found:
            self._hold(source.path, source.kind)
        if pid:
            if network:
                self._hold(proc / str(pid) / "net" / "dev", "network")
            self._pidfd = _pidfd(pid, proc, container)

    def _hold(self, path: Path, kind: str) -> None:
        try:
            self._files.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind))
        except OSError:
            return


def _init_of(processes: Path | None, proc: Path) -> int:
    """The number of the container's init as this machine counts; 0: it is not to be seen."""
    if processes is None:
        return 0
    for word in _read(processes).split():
        if word != "0" and cgroups.is_init(_read(proc / word / "status")):
            return int(word)
    return 0


def _pidfd(pid: int, proc: Path, container: str) -> int | None:
    """A pidfd on that process, unless the number is another process's by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if container in _read(proc / str(pid) / "cgroup"):
        return descriptor
    os.close(descriptor)
    return None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE).decode("ascii", "replace")
    except OSError:
        return ""
