"""Devices as NVIDIA's management library tells of them. One session, opened once and again after the driver was away.

Every call may hang with a sick driver: capacity/gpu.py keeps all of them in a thread of its own. pynvml finds
libnvidia-ml.so.1 as the dynamic linker does.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pynvml
import structlog

from hivemind_worker.domain.devices import Health, Reading, replace_trouble
from hivemind_worker.domain.node import Gpu

log = structlog.get_logger()
T = TypeVar("T")

#: what says that there is nothing of NVIDIA's here
_ABSENT = frozenset({pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})
#: a device or driver that does not know the question: nothing is wrong
_NO_ANSWER = frozenset(
    {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION}
)


@dataclass(slots=True)
class _Device:
    gpu: Gpu
    handle: Any
    #: the handle that can be asked about health: a MIG instance is as well as its device
    body: Any


class Nvml:
    """One session. Owned by one thread."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._known: dict[str, Gpu] = {}
        self._events: Any = None
        self._xids: dict[str, tuple[int, ...]] = {}
        self._unwatched: dict[str, str] = {}
        self._open = False
        self._unseen = ""

    def read(self, *, afresh: bool = False) -> Reading:
        """Every device and how it is. `afresh` also looks for devices and MIG instances that were not there before."""
        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open, afresh = True, True
            pynvml.nvmlDeviceGetCount()  # fails at once where the driver has gone
            if afresh or self._unseen:
                self._unseen = self._take_stock()
            self._hear_events()
            health = {uuid: self._health(device) for uuid, device in self._devices.items()}
            seen = [replace_trouble(self._devices[uuid].gpu, each.trouble) for uuid, each in health.items()]
            if health and all(each.error for each in health.values()):
                self.close()  # handles of devices that were reset are good for nothing
            return Reading((*seen, *self._missing(self._devices or health)), self._unseen)
        except pynvml.NVMLError as error:
            self.close()
            if error.value in _ABSENT and not self._known:
                return Reading()
            why = f"the NVIDIA driver does not answer: {_words(error)}"
            return Reading(tuple(self._known.values())).all_in(why)

    def processes(self) -> Iterator[tuple[str, int, int | None]]:
        """(device, process, bytes) of all that compute or draw. A device that cannot be asked is left out."""
        for uuid, device in self._devices.items():
            try:
                found, why = _processes(device.handle), ""
            except pynvml.NVMLError as error:
                found, why = {}, _words(error)
            if why != self._unwatched.get(uuid, ""):
                log.warning(
                    "a GPU does not say what runs on it" if why else "a GPU is watched again", gpu=uuid, why=why
                )
                self._unwatched[uuid] = why
            yield from ((uuid, pid, memory) for pid, memory in found.items())

    def close(self) -> None:
        """Give the session back; `read` opens another."""
        self._devices, self._events = {}, None
        if self._open:
            self._open = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    # --- what there is -----------------------------------------------------------------------------------

    def _take_stock(self) -> str:
        """All devices, an instance of a divided one for itself; what kept some from being seen."""
        unseen, found = [], {}
        bodies = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                body = pynvml.nvmlDeviceGetHandleByIndex(index)
                bodies.append((pynvml.nvmlDeviceGetUUID(body), body))
                for device in _parts(index, body):
                    found[device.gpu.uuid] = device
            except pynvml.NVMLError as error:
                unseen.append(f"GPU {index} does not answer: {_words(error)}")
        here = {uuid for uuid, _ in bodies}
        # An instance that is gone from a device that is there was taken apart; a device that is gone is a fault.
        self._known = {uuid: gpu for uuid, gpu in self._known.items() if gpu.parent not in here}
        self._known |= {uuid: device.gpu for uuid, device in found.items()}
        self._devices = found
        if self._events is None:
            self._listen(bodies)
        return "; ".join(unseen)

    def _missing(self, seen: Container[str]) -> tuple[Gpu, ...]:
        gone = (gpu for uuid, gpu in self._known.items() if uuid not in seen)
        return tuple(replace_trouble(gpu, "it is not there any more: it may have fallen off the bus") for gpu in gone)

    # --- how it is ---------------------------------------------------------------------------------------

    def _health(self, device: _Device) -> Health:
        body = device.body
        health = Health(xids=self._xids.get(device.gpu.parent or device.gpu.uuid, ()))
        try:
            pynvml.nvmlDeviceGetMemoryInfo(device.handle)
            remapped = _ask(pynvml.nvmlDeviceGetRemappedRows, body) or (0, 0, 0, 0)
            return replace(
                health,
                uncorrected=_ask(
                    lambda handle: pynvml.nvmlDeviceGetTotalEccErrors(
                        handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
                    ),
                    body,
                )
                or 0,
                retirement_pending=bool(_ask(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, body)),
                remap_pending=bool(remapped[2]),
                remap_failed=bool(remapped[3]),
            )
        except pynvml.NVMLError as error:
            return replace(health, error=_words(error))

    def _listen(self, bodies: list[tuple[str, Any]]) -> None:
        """Ask to be told of XIDs from now on; not every device and driver does."""
        try:
            self._events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            self._events = False
            return
        for _, body in bodies:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlDeviceRegisterEvents(body, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def _hear_events(self) -> None:
        while self._events:
            try:
                event = pynvml.nvmlEventSetWait(self._events, 0)
                uuid = pynvml.nvmlDeviceGetUUID(event.device)
            except pynvml.NVMLError:
                return  # nothing new, or a device that the next question will find out about
            if event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                log.warning("a GPU's driver reported an XID", gpu=uuid, xid=event.eventData)
                self._xids[uuid] = (*self._xids.get(uuid, ()), int(event.eventData))[-8:]


def _parts(index: int, body: Any) -> list[_Device]:
    """The device itself, or its instances where it is divided. Raises NVMLError."""
    uuid, name = pynvml.nvmlDeviceGetUUID(body), pynvml.nvmlDeviceGetName(body)
    mode = _ask(pynvml.nvmlDeviceGetMigMode, body)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        total, reserved = _memory(body)
        gpu = Gpu(uuid=uuid, name=name, memory=total, reserved=reserved, index=index)
        return [_Device(gpu, body, body)]
    parts = []
    for number in range(_ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, body) or 0):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(body, number)
        except pynvml.NVMLError:
            continue  # no instance has this number
        total, reserved = _memory(handle)
        part = Gpu(
            uuid=pynvml.nvmlDeviceGetUUID(handle),
            name=f"{name} {pynvml.nvmlDeviceGetName(handle)}".strip(),
            memory=total,
            reserved=reserved,
            index=index,
            parent=uuid,
        )
        parts.append(_Device(part, handle, body))
    return parts


def _processes(handle: Any) -> dict[int, int | None]:
    """Process → bytes, None where the driver does not tell. Raises NVMLError."""
    found: dict[int, int | None] = {}
    for ask in (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3):
        for process in _ask(ask, handle) or ():
            # One that computes and draws is told of twice, with the same number.
            found[process.pid] = max(found.get(process.pid) or 0, process.usedGpuMemory or 0) or None
    return found


def _memory(handle: Any) -> tuple[int, int]:
    """All of a device's memory, and what the driver keeps of it. Raises NVMLError."""
    exact = _ask(lambda one: pynvml.nvmlDeviceGetMemoryInfo(one, version=pynvml.nvmlMemory_v2), handle)
    if exact is not None:
        return int(exact.total), int(exact.reserved)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), 0


def _ask(question: Callable[[Any], T], handle: Any) -> T | None:
    """The answer, or None where the device or driver does not know the question. Raises NVMLError for a fault."""
    try:
        return question(handle)
    except pynvml.NVMLError as error:
        if error.value in _NO_ANSWER:
            return None
        raise


def _words(error: Any) -> str:
    return str(error).strip().rstrip(".") or f"NVML error {error.value}"
