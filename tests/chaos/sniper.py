"""The sniper: arms one kill point after the other, each before any comes again, and tends to what fires."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hivemind_worker.killpoints import POINTS
from tests.chaos.children import signal_pid
from tests.chaos.journal import Journal
from tests.chaos.stack import WORKERS

#: seconds a point stays armed before the next has its turn; it comes again later
PATIENCE = 20.0
#: seconds between two shots
GAP = (2.0, 8.0)
#: what happens at a point after its first turn, in which the process itself is killed
WAYS = ("kill", "kill", "kill", "freeze", "kill redis", "kill engine")
FROZEN = (19.0, 25.0)


class Sniper:
    """Run by one thread."""

    def __init__(
        self,
        armed: Path,
        journal: Journal,
        seed: int,
        strikes: Mapping[str, Callable[[], None]],
        stopping: threading.Event,
    ) -> None:
        self._armed, self._journal, self._strikes, self._stopping = armed, journal, strikes, stopping
        self._rng = random.Random(f"sniper {seed}")
        self._log = armed / ".log"
        self._log.touch()
        self._read = 0
        self._frozen: list[tuple[float, int]] = []
        #: points that have fired with their process killed
        self.hit: set[str] = set()

    def run(self) -> None:
        """Until told to stop; leaves nothing armed and nothing frozen."""
        try:
            for round_ in itertools.count():
                turn = [name for name in POINTS if round_ or name not in self.hit]
                self._rng.shuffle(turn)
                for name in turn:
                    action = self._rng.choice(WAYS) if name in self.hit else "kill"
                    self._shoot(name, action)
                    if self._rest(self._rng.uniform(*GAP)):
                        return
        finally:
            for _, pid in self._frozen:
                signal_pid(pid, signal.SIGCONT)

    def _shoot(self, name: str, action: str) -> None:
        path = self._armed / name
        fresh = path.with_name(f".arming-{name}")
        fresh.write_text(action)
        fresh.rename(path)
        end = time.monotonic() + PATIENCE
        while path.exists() and time.monotonic() < end and not self._stopping.is_set():
            self._tend()
            time.sleep(0.005)
        path.unlink(missing_ok=True)
        self._tend()

    def _rest(self, seconds: float) -> bool:
        """Whether it is to end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._tend()
            if self._stopping.wait(0.05):
                return True
        return self._stopping.is_set()

    def _tend(self) -> None:
        """Note what fired, strike where another is to be struck, thaw who was frozen long enough."""
        with self._log.open() as file:
            file.seek(self._read)
            for line in file:
                if line.endswith("\n"):
                    self._read += len(line.encode())
                    self._fired(line.rstrip("\n").split("\t"))
        now = time.monotonic()
        for due, pid in list(self._frozen):
            if now >= due:
                signal_pid(pid, signal.SIGCONT)
                self._frozen.remove((due, pid))

    def _fired(self, words: list[str]) -> None:
        up, name, action, pid, process, job = words
        bridge = name == "bundle-kept" or (name == "accepted" and process == "n1")
        who = "bridge" if bridge else WORKERS.get(process, process)
        self._journal.note("point", t=float(up), name=name, action=action, process=who, pid=int(pid), job=job)
        if action == "kill":
            self.hit.add(name)
            self._journal.note("kill", t=float(up), process=who, pid=int(pid))
        elif action == "freeze":
            self._frozen.append((time.monotonic() + self._rng.uniform(*FROZEN), int(pid)))
        else:
            self._strikes[action.removeprefix("kill ")]()
            for fired in self._armed.glob(f".fired-{name}-{pid}-*"):
                os.unlink(fired)  # noqa: PTH108
