"""Processes of the stack that the harness supervises itself, as systemd would: started again when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.chaos.journal import Journal

#: seconds between an end and the next start: systemd's RestartSec default
PAUSE = 0.1


class Child:
    """One service. Threads may share it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        output: Path,
        journal: Journal,
        *,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._command, self._env, self._output, self._journal = list(command), dict(env), output, journal
        self._before = before
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._gone = threading.Event()
        self._gone.set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def up(self) -> None:
        """Let it run, now and after each of its ends."""
        self._wanted.set()

    def hold(self) -> None:
        """Do not start it again until `up`."""
        self._wanted.clear()

    def signal(self, number: signal.Signals) -> bool:
        """Send one, if it runs."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                return False
            self._child.send_signal(number)
            return True

    def wait_gone(self, timeout: float) -> bool:
        """Wait until it does not run."""
        return self._gone.wait(timeout)

    @property
    def pid(self) -> int | None:
        """Its number, if it runs."""
        with self._lock:
            return self._child.pid if self._child is not None and self._child.poll() is None else None

    def close(self) -> None:
        """End it for good."""
        self._closing.set()
        self._wanted.set()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not self._gone.wait(15):
            self.signal(signal.SIGKILL)
        self._thread.join(15)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._closing.is_set():
                return
            self._before()
            with self._output.open("ab") as output:
                child = subprocess.Popen(
                    self._command, env=self._env, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                    cwd=self._output.parent, start_new_session=True,
                )  # fmt: skip
            with self._lock:
                self._child = child
                self._gone.clear()
            self._journal.note("process", name=self.name, what="start", pid=child.pid)
            code = child.wait()
            with self._lock:
                self._child = None
                self._gone.set()
            how = signal.Signals(-code).name if code < 0 else str(code)
            self._journal.note("process", name=self.name, what="end", pid=child.pid, how=how)
            self._closing.wait(PAUSE)


def signal_pid(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a process that somebody else started; False when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
