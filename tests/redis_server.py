"""A Redis of one test's own, which it may take away and bring back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from signal import Signals

from hivemind_worker.bootstrap import open_stores
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.settings import load_settings
from tests.conftest import valkey_binary
from tests.processes import eventually


class OwnRedis:
    """A server on a Unix socket that keeps what it knows in its folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._options = options
        self.url = f"unix://{folder}/own.sock"
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", "0", "--unixsocket", f"{self._folder}/own.sock", "--dir", str(self._folder)]
        self._child = subprocess.Popen(
            [str(valkey_binary()), *options, "--save", "", "--appendonly", "yes", *self._options],
            stdout=subprocess.DEVNULL,
        )
        probe = open_stores(load_settings(state=self._folder / "probe", redis_url=self.url))

        def answers() -> bool:
            try:
                return probe.jobs.counts()["known"] >= 0  # not while it still loads its file
            except StoreUnavailable:
                return False

        try:
            eventually(answers)
        finally:
            probe.close()

    def signal(self, number: Signals) -> None:
        """Freeze it or thaw it."""
        assert self._child is not None
        self._child.send_signal(number)

    def down(self) -> None:
        """Take it away."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(10)
            self._child = None
