"""Kill points as the stack's processes see them: what the nemesis armed happens exactly there, once.

`hivemind_worker.killpoints` calls `reach` where CHAOS_KILLPOINTS names this module, in a source tree only. Arming is
a file named after the point in the directory CHAOS_ARMED; its content says what happens. Whoever renames it fires, and
says so in one line through the FIFO beside it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

#: what may happen at a point: the process dies, or is frozen there and thawed by the nemesis, or another dies
ACTIONS = ("kill", "freeze", "kill redis", "kill engine")
#: seconds a process waits at a point for the nemesis to strike
STRIKE_WITHIN = 5.0
#: the FIFO in CHAOS_ARMED that tells the nemesis what fired, a line each
TOLD = ".told"


def reach(name: str, task_id: str = "") -> None:
    """Called by the product at a named point."""
    folder = os.environ.get("CHAOS_ARMED")
    if not folder:
        return
    armed = Path(folder) / name
    fired = Path(folder) / f".fired-{name}-{os.getpid()}-{time.monotonic_ns()}"
    try:
        armed.rename(fired)
    except OSError:
        return
    action = fired.read_text().strip()
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    process = os.environ.get("CHAOS_PROCESS", "?")
    line = f"{up:.4f}\t{name}\t{action}\t{os.getpid()}\t{process}\t{task_id}\n"
    if action == "kill":
        _tell(folder, line)
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        _tell_and_await_strike(folder, line, struck_of(Path(folder), name, os.getpid()))


def struck_of(folder: Path, name: str, pid: int) -> Path:
    """The FIFO through which the nemesis says that it has struck, this process or another: it opens and closes it."""
    return folder / f".struck-{name}-{pid}"


def _tell(folder: str, line: str) -> None:
    """In one write, which the kernel does not tear. A campaign that is over hears nothing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(Path(folder) / TOLD, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _tell_and_await_strike(folder: str, line: str, struck: Path) -> None:
    struck.unlink(missing_ok=True)
    os.mkfifo(struck)
    try:
        descriptor = os.open(struck, os.O_RDONLY | os.O_NONBLOCK)
        try:
            _tell(folder, line)
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll(1000 * STRIKE_WITHIN)
        finally:
            os.close(descriptor)
    finally:
        struck.unlink(missing_ok=True)
