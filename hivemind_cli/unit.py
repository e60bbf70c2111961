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

#: seconds before a restart: doubled with every failure in a row, forgotten once it was ready for so long
FIRST_PAUSE, LONGEST_PAUSE, STABLE = 0.25, 30.0, 5.0
#: the longest pause of a service that had come up: it was killed rather than broken, and its node waits for it. One
#: that comes up only to die, again and again, is broken after all.
PAUSE_IF_UP, BROKEN = 1.0, 20


def pause_after(failures: int, was_ready: bool = False) -> float:
    """Seconds to wait before the next start, after so many failures in a row (1 or more)."""
    longest = PAUSE_IF_UP if was_ready and failures <= BROKEN else LONGEST_PAUSE
    return min(longest, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))


class Unit:
    """Owned by the supervisor's one thread."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = LogFile(log)
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.identity = ""
        self.started = 0.0  # by the wall clock, to compare with heartbeats
        self.ready_at: float | None = None  # by the monotonic clock
        self.restarts = 0
        self.failures = 0
        self.restart_at: float | None = None  # by the monotonic clock
        self._was_ready = False

    @property
    def name(self) -> str:
        """The service's."""
        return self.service.name

    @property
    def ready(self) -> bool:
        """Whether it runs and has answered."""
        return self.ready_at is not None

    @property
    def pipe(self) -> int:
        """The descriptor that its output comes from."""
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def start(self, before_exec: Callable[[], None]) -> None:
        """Start it. Raises OSError when there is no such program, or no memory, process or descriptor for it."""
        self.restart_at, self.ready_at, self._was_ready = None, None, False
        self.started = time.time()
        self.process = processes.start(self.service.argv, os.environ, before_exec)
        try:
            self.pidfd = os.pidfd_open(self.process.pid)
            self.identity = processes.identity(self.process.pid) or ""
            os.set_blocking(self.pipe, False)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Take back a start that cannot be seen to."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd = -1

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
        self._was_ready = self.ready_at is not None
        if self.ready_at is not None and time.monotonic() - self.ready_at >= STABLE:
            self.failures = 0
        self.process, self.pidfd, self.ready_at = None, -1, None
        self.failures += 1
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def schedule(self) -> float:
        """Plan the next start; in how many seconds."""
        pause = pause_after(self.failures, self._was_ready)
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
