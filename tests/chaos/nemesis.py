"""The nemesis: draws faults from a seed, inflicts them on the stack, and makes good what it did when told to end."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.children import signal_pid
from tests.chaos.sniper import Sniper
from tests.chaos.stack import WORKERS, Stack
from tests.disks import fill

#: seconds that outlast a worker's lease and a sibling's patience with it, so that its rows are adopted
PAST_LEASE = (19.0, 25.0)

#: what the two lanes draw from, with weights. Quick ones come one after the other; slow ones lie across them.
QUICK = {
    "kill worker": 9, "kill bridge": 2, "kill api": 1, "kill redis": 2, "kill up": 1, "stop worker": 2, "kill all": 0.5,
}  # fmt: skip
SLOW = {
    "freeze worker": 3, "cut": 3, "cut long": 2, "disk full": 2, "kill engine": 2, "stop engine": 1, "freeze engine": 1,
    "pause redis": 1.5, "upgrade": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One thing to do: `pause` seconds after the one before it, for `lasts` seconds."""

    name: str
    pause: float
    lasts: float
    target: str
    #: a second choice that some faults need
    way: str


def draw(seed: int, lane: str, weights: dict[str, float], gap: float) -> Iterator[Fault]:
    """The endless sequence of a lane; the same for the same seed, whatever the stack does meanwhile."""
    rng = random.Random(f"{lane} {seed}")
    first = list(weights)
    rng.shuffle(first)  # each once before any comes again
    while True:
        name = first.pop() if first else rng.choices(list(weights), list(weights.values()))[0]
        yield Fault(
            name=name,
            pause=min(4 * gap, rng.expovariate(1 / gap)),
            lasts=rng.random(),
            target=rng.choice(sorted(WORKERS)),
            way=rng.choice(("refuse", "mute")),
        )


@dataclass
class Nemesis:
    """Two lanes of faults and a sniper at the kill points, each a thread."""

    stack: Stack
    seed: int
    quick_gap: float = 7.0
    slow_gap: float = 6.0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _engine_lock: threading.Lock = field(default_factory=threading.Lock)
    _redis_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"engine {self.seed}")
        self.stack.engine.live_restore = self._rng.random() < 0.5
        strikes = {"redis": self._strike_redis, "engine": self._strike_engine}
        self.sniper = Sniper(self.stack.armed, self.stack.journal, self.seed, strikes, self._stopping)
        self.sniper.occasions |= {
            "promoted": self._retries, "adopted": self._dead_sibling, "node-lost": self._lost_node,
        }  # fmt: skip
        lanes = (("quick", QUICK, self.quick_gap), ("slow", SLOW, self.slow_gap))
        guarded = self.stack.journal.guarded
        self._threads = [
            threading.Thread(target=guarded(f"lane {lane[0]}", self._lane), args=lane, name=lane[0], daemon=True)
            for lane in lanes
        ]
        self._threads.append(threading.Thread(target=guarded("sniper", self.sniper.run), name="sniper", daemon=True))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and make everything good again."""
        self._stopping.set()
        self.sniper.stop()
        for thread in self._threads:
            thread.join(150)
            assert not thread.is_alive(), f"the nemesis' lane {thread.name} does not end"
        self.sniper.close()
        self.stack.journal.note("fault", name="none", what="end")

    def _lane(self, lane: str, weights: dict[str, float], gap: float) -> None:
        for fault in draw(self.seed, lane, weights, gap):
            if self._stopping.wait(fault.pause):
                return
            with self._noted(fault.name, fault.target, fault.way) as said:
                getattr(self, "_" + fault.name.replace(" ", "_"))(fault, said)

    @contextlib.contextmanager
    def _noted(self, name: str, target: str = "", way: str = "") -> Iterator[dict[str, Any]]:
        """An entry where a fault begins and one where it ends."""
        entry = self.stack.journal.note("fault", name=name, target=target, way=way, what="begin")
        said: dict[str, Any] = {}
        try:
            yield said
        except Exception as error:
            said["broke"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.stack.journal.note("fault", name=name, target=target, way=way, what="end", began=entry["t"], **said)

    def _wait(self, seconds: float) -> None:
        """A fault lasts so long, or until the campaign ends."""
        self._stopping.wait(seconds)

    def _killed(self, what: str, pid: int | None) -> None:
        if pid is not None:
            self.stack.journal.note("kill", process=what, pid=pid)

    # --- quick -------------------------------------------------------------------------------------------

    def _kill_worker(self, fault: Fault, said: dict[str, Any]) -> None:
        said["pid"] = pid = self.stack.signal_worker(fault.target, signal.SIGKILL)
        self._killed(WORKERS[fault.target], pid)

    def _stop_worker(self, fault: Fault, said: dict[str, Any]) -> None:
        """As an upgrade or an operator does it."""
        pid, began = self.stack.signal_worker(fault.target, signal.SIGTERM), time.monotonic()
        said["asked"] = pid is not None
        if pid is not None and _until_gone(pid, 20):
            said["took"] = round(time.monotonic() - began, 3)

    def _kill_bridge(self, fault: Fault, said: dict[str, Any]) -> None:
        self._kill_service("bridge")

    def _kill_api(self, fault: Fault, said: dict[str, Any]) -> None:
        self._kill_service("api")

    def _kill_service(self, name: str) -> None:
        pid = self.stack.service(name)
        if pid is not None and signal_pid(pid, signal.SIGKILL):
            self._killed(name, pid)

    def _kill_redis(self, fault: Fault, said: dict[str, Any]) -> None:
        with self._redis_lock:
            self._redis_down(5 * fault.lasts if fault.way == "mute" else 0.0)

    def _redis_down(self, lasts: float) -> None:
        child = self.stack.children["redis"]
        child.hold()
        self._killed("redis", child.pid)
        child.signal(signal.SIGKILL)
        child.wait_gone(10)
        self._wait(lasts)
        child.up()

    def _kill_up(self, fault: Fault, said: dict[str, Any]) -> None:
        """The supervisor, and with it all that it started."""
        child = self.stack.children["n1"]
        self._killed("up", child.pid)
        child.signal(signal.SIGKILL)

    def _kill_all(self, fault: Fault, said: dict[str, Any]) -> None:
        """Every process of the product, Redis and the engine in one instant, as a machine that loses its power does."""
        with self._redis_lock, self._engine_lock:
            self.stack.children["redis"].hold()
            victims = {
                "engine": self.stack.engine.pid,
                "up": self.stack.children["n1"].pid,
                "redis": self.stack.children["redis"].pid,
                "bridge": self.stack.service("bridge"),
                **{WORKERS[name]: self.stack.worker_pid(name) for name in WORKERS},
            }
            for what, pid in victims.items():
                if pid is not None and signal_pid(pid, signal.SIGKILL):
                    self._killed(what, pid)
            self.stack.engine.kill()
            self._wait(3 * fault.lasts)
            self.stack.children["redis"].up()
            self._engine_up(said)

    # --- slow ----------------------------------------------------------------------------------------------

    def _freeze_worker(self, fault: Fault, said: dict[str, Any]) -> None:
        low, high = PAST_LEASE
        said["pid"] = pid = self.stack.signal_worker(fault.target, signal.SIGSTOP)
        if pid is not None:
            self._wait(low + (high - low) * fault.lasts)
            signal_pid(pid, signal.SIGCONT)

    def _cut(self, fault: Fault, said: dict[str, Any]) -> None:
        self._shut([fault.target], fault.way, 1.0 + 6.0 * fault.lasts)

    def _cut_long(self, fault: Fault, said: dict[str, Any]) -> None:
        """A whole node, for longer than it may be away."""
        node = ["n2"] if fault.target == "n2" else ["n1", "w2"]
        self._shut(node, fault.way, self.stack.terms.node_lost_after + 5.0 + 10.0 * fault.lasts)

    def _shut(self, doors: list[str], way: Any, lasts: float) -> None:
        try:
            for door in doors:
                self.stack.proxies.set(door, way)
            self._wait(lasts)
        finally:
            for door in doors:
                self.stack.proxies.set(door, "pass")

    def _disk_full(self, fault: Fault, said: dict[str, Any]) -> None:
        workspaces = self.stack.nodes["n2" if fault.target == "n2" else "n1"] / "workspaces"
        filler = workspaces / "filler"
        try:
            fill(workspaces)
            self._wait(2.0 + 8.0 * fault.lasts)
        finally:
            filler.unlink(missing_ok=True)

    def _kill_engine(self, fault: Fault, said: dict[str, Any]) -> None:
        with self._engine_lock:
            self._killed("engine", self.stack.engine.pid)
            self.stack.engine.kill()
            self._wait(4.0 * fault.lasts)
            self._engine_up(said)

    def _stop_engine(self, fault: Fault, said: dict[str, Any]) -> None:
        with self._engine_lock:
            self.stack.engine.down()
            self._wait(2.0 * fault.lasts)
            self._engine_up(said)

    def _engine_up(self, said: dict[str, Any]) -> None:
        """With or without live-restore, as the seed has it."""
        said["live_restore"] = self.stack.engine.live_restore = self._rng.random() < 0.5
        self.stack.engine.up()

    def _freeze_engine(self, fault: Fault, said: dict[str, Any]) -> None:
        with self._engine_lock:
            self.stack.engine.pause()
            try:
                self._wait(5.0 + 15.0 * fault.lasts)
            finally:
                self.stack.engine.resume()

    def _pause_redis(self, fault: Fault, said: dict[str, Any]) -> None:
        with self._redis_lock:
            child = self.stack.children["redis"]
            child.signal(signal.SIGSTOP)
            try:
                self._wait(2.0 + 28.0 * fault.lasts**2)
            finally:
                child.signal(signal.SIGCONT)

    def _upgrade(self, fault: Fault, said: dict[str, Any]) -> None:
        """`hivemind up` leaves in order, and another takes its place."""
        child, began = self.stack.children["n1"], time.monotonic()
        child.hold()
        try:
            said["asked"] = child.signal(signal.SIGTERM)
            if said["asked"] and child.wait_gone(30):
                said["took"] = round(time.monotonic() - began, 3)
            self._wait(2.0 * fault.lasts)
        finally:
            child.up()

    # --- at a kill point -----------------------------------------------------------------------------------

    def _strike_redis(self) -> None:
        if self._redis_lock.acquire(timeout=0.2):
            try:
                with self._noted("kill redis", way="at a point"):
                    self._redis_down(0.0)
            finally:
                self._redis_lock.release()

    def _strike_engine(self) -> None:
        if self._engine_lock.acquire(timeout=0.2):
            try:
                with self._noted("kill engine", way="at a point") as said:
                    self._killed("engine", self.stack.engine.pid)
                    self.stack.engine.kill()
                    self._engine_up(said)
            finally:
                self._engine_lock.release()

    # --- what brings a point about -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _retries(self) -> Iterator[None]:
        """What an engine takes along comes back to the line after a while."""
        self._strike_engine()
        yield

    @contextlib.contextmanager
    def _dead_sibling(self) -> Iterator[None]:
        """A worker that is killed and does not come back: its node's other one takes its jobs over."""
        child = self.stack.children["w2"]
        with self._noted("hold worker", "w2", "at a point"):
            child.hold()
            try:
                self._killed(WORKERS["w2"], child.pid)
                child.signal(signal.SIGKILL)
                yield
            finally:
                child.up()

    @contextlib.contextmanager
    def _lost_node(self) -> Iterator[None]:
        """A node that nobody hears of: the other one takes its jobs."""
        with self._noted("cut long", "n2", "at a point"):
            self.stack.proxies.set("n2", "mute")
            try:
                yield
            finally:
                self.stack.proxies.set("n2", "pass")


def _until_gone(pid: int, seconds: float) -> bool:
    """Whether a process that is not our child ended within so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(1000 * seconds))
    finally:
        os.close(descriptor)


Strike = Callable[[], None]
