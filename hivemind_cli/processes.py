"""Processes by more than their number: who it is, whether it still lives, and how it is ended."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def identity(pid: int) -> str | None:
    """'boot id:start in clock ticks' of a live process: what tells it from a later one with its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}:{started}"


def is_alive(pid: int, who: str) -> bool:
    """Whether this very process still runs."""
    return identity(pid) == who


class Handle:
    """A live process by its descriptor: no signal can ever reach another. Use in a `with`."""

    def __init__(self, pid: int, who: str) -> None:
        """Raises ProcessLookupError when it is gone."""
        self._fd = os.pidfd_open(pid)
        if identity(pid) != who:
            os.close(self._fd)
            raise ProcessLookupError(pid)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def signal(self, number: signal.Signals) -> None:
        """Send one. Harmless when it has ended meanwhile."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)

    def wait(self, timeout: float) -> bool:
        """Whether it ended within so many seconds."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(max(0, int(timeout * 1000))))


def end(pid: int, who: str, *, patience: float, ask: bool = True) -> bool:
    """Wait for a process, asking it to end, then kill it. False: it was gone already. `patience` in seconds."""
    try:
        with Handle(pid, who) as handle:
            if ask:
                handle.signal(signal.SIGTERM)
            if not handle.wait(patience):
                handle.signal(signal.SIGKILL)
                handle.wait(5.0)
            return True
    except ProcessLookupError:
        return False


def die_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends SIGTERM when the thread that started the child is gone.

    The library is looked up here, in the parent: between fork and exec only the call itself is safe.
    """
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return before_exec


def start(argv: Sequence[str], env: Mapping[str, str], before_exec: Callable[[], None]) -> subprocess.Popen[bytes]:
    """Start a service: its own session (a terminal's Ctrl-C is the supervisor's alone), output into one pipe."""
    return subprocess.Popen(
        argv,
        env=dict(env),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=before_exec,  # safe: the supervisor has one thread
    )
