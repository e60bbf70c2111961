"""One service under supervision: its process, its log, and how often it has failed lately."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hivemind_cli import processes
from hivemind_cli.logfile import LogFile, tail
from hivemind_cli.plan import Service

#: seconds before a restart: doubled with every failure in a row, forgotten after a run this long
FIRST_PAUSE, LONGEST_PAUSE, STABLE = 0.25, 30.0, 60.0


def pause_after(failures: int) -> float:
    """Seconds to wait before the next start, after so many failures in a row (1 or more)."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 1))


class Unit:
    """Owned by the supervisor's one thread."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = LogFile(log)
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.identity = ""
        self.started = 0.0  # by the wall clock, to compare with heartbeats
        self.ready = False
        self.restarts = 0
        self.failures = 0
        self.restart_at: float | None = None  # by the monotonic clock
        self._began = 0.0

    @property
    def name(self) -> str:
        """The service's."""
        return self.service.name

    @property
    def pipe(self) -> int:
        """The descriptor that its output comes from."""
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def start(self, before_exec: Callable[[], None]) -> None:
        """Start it. Raises OSError when there is no such program."""
        self.restart_at, self.ready = None, False
        self.started, self._began = time.time(), time.monotonic()
        self.process = processes.start(self.service.argv, os.environ, before_exec)
        self.pidfd = os.pidfd_open(self.process.pid)
        self.identity = processes.identity(self.process.pid) or ""
        os.set_blocking(self.pipe, False)

    def drain(self) -> bool:
        """Move what it has written into its log; False at the end of its output."""
        for _ in range(16):  # others want their turn
            try:
                data = os.read(self.pipe, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.log.write(data)
        return True

    def ended(self) -> str:
        """Take note of its end; how it ended, for a person."""
        assert self.process is not None
        code = self.process.wait()
        self.drain()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.pidfd)
        self.process, self.pidfd, self.ready = None, -1, False
        if time.monotonic() - self._began >= STABLE:
            self.failures = 0
        self.failures += 1
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def schedule(self) -> float:
        """Plan the next start; in how many seconds."""
        pause = pause_after(self.failures)
        self.restart_at = time.monotonic() + pause
        self.restarts += 1
        return pause

    def signal(self, number: signal.Signals) -> None:
        """Send one, if it runs."""
        if self.process is not None:
            signal.pidfd_send_signal(self.pidfd, number)

    def tail(self, lines: int = 8) -> list[str]:
        """The end of its log."""
        return tail(self.log.path, lines)

    def describe(self) -> dict[str, Any]:
        """Its entry in node.json."""
        pid = self.process.pid if self.process else None
        return {
            "name": self.name,
            "pid": pid,
            "identity": self.identity if pid else None,
            "ready": self.ready,
            "restarts": self.restarts,
            "log": str(self.log.path),
        }
