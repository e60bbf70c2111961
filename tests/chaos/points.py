"""Kill points as the stack's processes see them: what the nemesis armed happens exactly there, once.

`hivemind_worker.killpoints` calls `reach` where CHAOS_KILLPOINTS names this module, in a source tree only. Arming is
a file named after the point in the directory CHAOS_ARMED; its content says what happens. Whoever renames it fires.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

#: what may happen at a point: the process dies, or freezes until the nemesis thaws it, or another dies or pauses
ACTIONS = ("kill", "freeze", "kill redis", "kill engine")
#: seconds a process waits at a point for the nemesis to strike another one
STRIKE_WITHIN = 5.0


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
    descriptor = os.open(Path(folder) / ".log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        _await_strike(fired)


def _await_strike(fired: Path) -> None:
    """The nemesis takes the file away once it has struck."""
    end = time.monotonic() + STRIKE_WITHIN
    while fired.exists() and time.monotonic() < end:
        time.sleep(0.005)
