"""The sniper: arms one kill point after the other, each before any comes again, and tends to what fires."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from hivemind_worker.killpoints import POINTS, RARE
from tests.chaos.children import signal_pid
from tests.chaos.journal import Journal
from tests.chaos.points import TOLD, struck_of
from tests.chaos.stack import WORKERS

#: seconds a point stays armed before the next has its turn; it comes again later. One that is reached only where
#: something befell a job stays armed until it fires: so long everything waits for what was to bring it about
PATIENCE, PATIENCE_RARE = 20.0, 60.0
#: seconds that a process which has taken its point may need to say so
TELLS_WITHIN = 2.0
#: seconds between two shots
GAP = (2.0, 8.0)
#: what happens at a point after its first turn, in which the process itself is killed
WAYS = ("kill", "kill", "kill", "freeze", "kill redis", "kill engine")
FROZEN = (19.0, 25.0)

#: lasts from its entry to its exit
Occasion = Callable[[], AbstractContextManager[None]]


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
        """`strikes`: what else may be struck at a point."""
        self._armed, self._journal, self._strikes, self._stopping = armed, journal, strikes, stopping
        #: what brings a point about, for as long as it is armed
        self.occasions: dict[str, Occasion] = {}
        self._rng = random.Random(f"sniper {seed}")
        os.mkfifo(armed / TOLD)
        self._told = os.open(armed / TOLD, os.O_RDWR)  # for writing too, so that it is never at its end
        self._torn = ""
        #: points that are armed and have not fired
        self._waiting: set[str] = set()
        self._frozen: list[tuple[float, int]] = []
        #: points that have fired with their process killed
        self.hit: set[str] = set()

    def run(self) -> None:
        """Until told to stop; leaves nothing armed and nothing frozen."""
        try:
            for name in RARE:
                self._arm(name, "kill")
            for round_ in itertools.count():
                for name in self.turn(round_):
                    action = self._rng.choice(WAYS) if name in self.hit else "kill"
                    self.shoot(name, action)
                    self._tend(self._rng.uniform(*GAP))
                    if self._stopping.is_set():
                        return
        finally:
            for name in RARE:
                self._disarm(name)
            for _, pid in self._frozen:
                signal_pid(pid, signal.SIGCONT)

    def turn(self, round_: int) -> list[str]:
        """In which order points are armed in one round: what was not struck yet first, and of those the rare last."""
        names = [name for name in POINTS if round_ or name not in self.hit]
        self._rng.shuffle(names)
        return sorted(names, key=lambda name: (name in self.hit, name in RARE))

    def stop(self) -> None:
        """Wake the thread, which was told to stop."""
        os.write(self._told, b"\n")

    def close(self) -> None:
        """Once nothing can fire any more."""
        os.close(self._told)

    def shoot(self, name: str, action: str) -> None:
        """Arm a point, and tend to it until it has fired or has had its time."""
        self._arm(name, action)
        with self.occasions.get(name, contextlib.nullcontext)():
            self._tend(PATIENCE_RARE if name in RARE else PATIENCE, name)
        if name not in RARE:
            self._disarm(name)

    def _arm(self, name: str, action: str) -> None:
        path = self._armed / name
        fresh = path.with_name(f".arming-{name}")
        fresh.write_text(action)
        fresh.rename(path)
        self._waiting.add(name)

    def _disarm(self, name: str) -> None:
        if name not in self._waiting:
            return
        try:
            (self._armed / name).unlink()
        except FileNotFoundError:  # it fires at this moment
            self._tend(TELLS_WITHIN, name, whatever=True)
        self._waiting.discard(name)

    def _tend(self, seconds: float, name: str = "", *, whatever: bool = False) -> bool:
        """For so long, note what fires, strike where another is to be struck, thaw who was frozen long enough.

        Ends early once `name` has fired, and returns whether it did; also, but for `whatever`, when told to stop.
        """
        end = time.monotonic() + seconds
        poller = select.poll()
        poller.register(self._told, select.POLLIN)
        while whatever or not self._stopping.is_set():
            self._thaw()
            now = time.monotonic()
            if now >= end:
                break
            until = min([end, *(due for due, _ in self._frozen)])
            if poller.poll(max(1, math.ceil(1000 * (until - now)))) and name in self._read():
                return True
        return False

    def _read(self) -> set[str]:
        """Take what was told; the points that fired."""
        *lines, self._torn = (self._torn + os.read(self._told, 65536).decode()).split("\n")
        told = [line.split("\t") for line in lines if line]
        for words in told:
            self._fired(words)
        return {words[1] for words in told}

    def _thaw(self) -> None:
        now = time.monotonic()
        for due, pid in list(self._frozen):
            if now >= due:
                signal_pid(pid, signal.SIGCONT)
                self._frozen.remove((due, pid))

    def _fired(self, words: list[str]) -> None:
        up, name, action, pid, process, job = words
        self._waiting.discard(name)
        bridge = name in ("bundle-kept", "stopped") or (name == "accepted" and process == "n1")
        who = "bridge" if bridge else WORKERS.get(process, process)
        self._journal.note("point", t=float(up), name=name, action=action, process=who, pid=int(pid), job=job)
        if action == "kill":
            self.hit.add(name)
            self._journal.note("kill", t=float(up), process=who, pid=int(pid))
            return
        if action == "freeze":
            if signal_pid(int(pid), signal.SIGSTOP):
                self._frozen.append((time.monotonic() + self._rng.uniform(*FROZEN), int(pid)))
        else:
            self._strikes[action.removeprefix("kill ")]()
        with contextlib.suppress(OSError):  # who waited was killed meanwhile, or has waited long enough
            os.close(os.open(struck_of(self._armed, name, int(pid)), os.O_WRONLY | os.O_NONBLOCK))
