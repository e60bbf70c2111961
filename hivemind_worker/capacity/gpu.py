"""The node's devices, watched by a thread of their own: a sick driver may hang its callers, and must hang no one else.

No driver, no library, no device: zero GPUs and no error.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from hivemind_worker.domain.devices import DeviceProcess, Reading

if TYPE_CHECKING:
    from hivemind_worker.capacity.nvml import Nvml

log = structlog.get_logger()

#: seconds between rounds: while jobs with a share are watched, while there are devices, and while there are none
WATCHED, PRESENT, ABSENT = 0.5, 2.0, 15.0
#: rounds after which new devices and MIG instances are looked for
STOCK_ROUNDS = 30
#: seconds without an end of a round after which the driver counts as hung
HUNG_AFTER = 30.0
#: seconds that a job counts as watched after it was asked about
INTEREST = 10.0
#: seconds that the first round is waited for
FIRST_ROUND = 5.0
_CONTAINER = re.compile(r"[0-9a-f]{64}")


class GpuMonitor:
    """Devices and what is on them. `start` once; every other method may be called by any thread and returns at once."""

    def __init__(self, nvml: Nvml | None = None, proc: Path = Path("/proc")) -> None:
        self._nvml = nvml
        self._proc = proc
        self._reading = Reading()
        self._processes: tuple[DeviceProcess, ...] = ()
        self._round_began = self._round_ended = 0.0
        self._interest_until = 0.0
        self._first = threading.Event()
        self._wake = threading.Event()
        self._stopping = False
        self._names: dict[int, str] = {}
        self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)

    def start(self) -> bool:
        """Start the thread and wait for its first round, not for ever; whether it has ended."""
        self._thread.start()
        answered = self._first.wait(FIRST_ROUND)
        if not answered:
            log.warning("the NVIDIA driver is slow to answer; the node starts without GPUs")
        return answered

    def stop(self) -> None:
        """Ask the thread to end. Not waited for: it may hang in the driver."""
        self._stopping = True
        self._wake.set()

    def reading(self) -> Reading:
        """The devices as they were at the last round; all of them in trouble when no round has ended for long."""
        now, began, reading = time.monotonic(), self._round_began, self._reading
        if began <= self._round_ended or now - began < HUNG_AFTER:
            return reading
        why = f"the NVIDIA driver has not answered for {now - began:.0f} s"
        return reading.all_in(why)

    def processes(self) -> tuple[DeviceProcess, ...]:
        """The processes on all devices, half a second old at most from the second call on."""
        quiet = time.monotonic() >= self._interest_until
        self._interest_until = time.monotonic() + INTEREST
        if quiet:
            self._wake.set()
        return self._processes

    def trouble_of(self, uuids: tuple[str, ...]) -> str:
        """Why the first of these devices that is in trouble is so; '' when all are well."""
        reading = self.reading()
        known = {gpu.uuid: gpu for gpu in reading.gpus}
        for uuid in uuids:
            gpu = known.get(uuid)
            if gpu is None:
                return f"GPU {uuid} is not there any more"
            if gpu.trouble:
                return f"GPU {gpu.index} ({uuid}): {gpu.trouble}"
        return ""

    def _run(self) -> None:
        rounds = 0
        while not self._stopping:
            self._round_began = time.monotonic()
            try:
                self._round(afresh=rounds % STOCK_ROUNDS == 0)
            except Exception:
                log.exception("the look at the GPUs stumbled")
            self._round_ended = time.monotonic()
            rounds += 1
            self._first.set()
            self._wake.wait(self._pause())
            self._wake.clear()
        if self._nvml is not None:
            self._nvml.close()

    def _pause(self) -> float:
        if not self._reading.gpus:
            return ABSENT
        return WATCHED if time.monotonic() < self._interest_until else PRESENT

    def _round(self, *, afresh: bool) -> None:
        if self._nvml is None:
            self._nvml = _session()
        if self._nvml is None:
            return
        before, reading = self._reading, self._nvml.read(afresh=afresh)
        self._reading = reading
        if time.monotonic() < self._interest_until:
            found = tuple(self._process(*each) for each in self._nvml.processes())
            self._names = {each.pid: each.name for each in found}
            self._processes = found
        if reading != before:
            ill = [f"GPU {gpu.index} ({gpu.uuid}): {gpu.trouble}" for gpu in reading.gpus if gpu.trouble]
            log.info("gpus", there=len(reading.gpus), ill=ill, trouble=reading.trouble)

    def _process(self, uuid: str, pid: int, memory: int | None) -> DeviceProcess:
        """Whose process it is, by its cgroup, which names the container."""
        cgroup = _CONTAINER.search(self._text(pid, "cgroup"))
        name = self._names.get(pid) or self._text(pid, "comm").strip() or "?"
        return DeviceProcess(uuid, pid, name, cgroup[0] if cgroup else "", memory)

    def _text(self, pid: int, name: str) -> str:
        try:
            return (self._proc / str(pid) / name).read_text("utf-8", "replace")
        except OSError:
            return ""


def _session() -> Nvml | None:
    """A session, where there is a library to have one with. Most machines have none, and need not load pynvml."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    from hivemind_worker.capacity.nvml import Nvml

    return Nvml()
