"""The watch over one job's devices, from outside its container: its share of memory, and whether the device is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, Protocol

from hivemind_worker.domain.devices import DeviceProcess, beyond_share

#: seconds between looks at what the processes hold, and at a device that the job has for itself
SHARED, WHOLE = 0.5, 2.0
NEVER = float("inf")


class GpuSight(Protocol):
    """The part of capacity's monitor that a watch needs. Returns at once, whatever the driver does."""

    def processes(self) -> Sequence[DeviceProcess]:
        """The processes on all devices."""

    def trouble_of(self, uuids: tuple[str, ...]) -> str:
        """Why one of these devices is out; '' when all are well."""


class NoGpus:
    """A node without devices."""

    def processes(self) -> Sequence[DeviceProcess]:
        """None."""
        return ()

    def trouble_of(self, uuids: tuple[str, ...]) -> str:
        """What is not there cannot be well."""
        return f"this node has no GPU {uuids[0]}" if uuids else ""


class GpuWatch:
    """One container's devices. `share` in bytes on each; 0: they are its own."""

    def __init__(self, sight: GpuSight, container: str, uuids: Sequence[str], share: int) -> None:
        self._sight = sight
        self._container = container
        self._uuids = tuple(uuids)
        self._share = share
        #: what was found against the job or its device, and the sentence for a person
        self.found: Literal["", "gpu_memory", "gpu_lost"] = ""
        self.evidence = ""
        #: monotonic time of the next look
        self.due = time.monotonic() if self._uuids else NEVER

    def step(self) -> None:
        """Look."""
        self.due = time.monotonic() + (SHARED if self._share else WHOLE)
        if trouble := self._sight.trouble_of(self._uuids):
            self.found, self.evidence = "gpu_lost", trouble
        elif self._share:
            beyond = beyond_share(self._sight.processes(), self._container, self._uuids, self._share)
            if beyond is not None:
                self.found, self.evidence = "gpu_memory", beyond[1]
