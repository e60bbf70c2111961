"""What is seen on devices: their health, the processes on them, a job that holds more than its share. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hivemind_worker.domain.node import Gpu
from hivemind_worker.domain.resources import format_size

#: XIDs that a program causes by its own fault; the device is none the worse ("XID Errors", NVIDIA; the same list that
#: NVIDIA's device plugin for Kubernetes passes over)
PROGRAMS_OWN_XIDS = frozenset({13, 31, 43, 45, 68, 109})


@dataclass(frozen=True, slots=True)
class Health:
    """What a device says of itself. `error`: why it cannot be asked; `xids`: the critical ones since it was watched."""

    error: str = ""
    uncorrected: int = 0
    retirement_pending: bool = False
    remap_pending: bool = False
    remap_failed: bool = False
    xids: tuple[int, ...] = ()

    @property
    def trouble(self) -> str:
        """Why no job may be on the device; '' when it is well."""
        bad = [str(xid) for xid in self.xids if xid not in PROGRAMS_OWN_XIDS]
        if self.error:
            return f"it does not answer: {self.error}"
        if self.remap_failed:
            return "rows of its memory are broken and cannot be remapped: it has to be replaced"
        if self.remap_pending:
            return "rows of its memory wait to be remapped: it has to be reset"
        if self.retirement_pending:
            return "pages of its memory wait to be retired: the machine has to be restarted"
        if self.uncorrected:
            return f"{self.uncorrected} uncorrected memory errors since its driver was loaded: it has to be reset"
        if bad:
            return f"its driver reported XID {', '.join(bad)}: see the kernel's log; it may have to be reset"
        return ""


@dataclass(frozen=True, slots=True)
class Reading:
    """All devices of a node with their troubles; `trouble`: why there may be devices that cannot be seen."""

    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""

    def all_in(self, trouble: str) -> Reading:
        """The same devices, all in one trouble."""
        return Reading(tuple(replace_trouble(gpu, trouble) for gpu in self.gpus), trouble)


def replace_trouble(gpu: Gpu, trouble: str) -> Gpu:
    """The same device with another trouble."""
    return gpu if gpu.trouble == trouble else gpu.model_copy(update={"trouble": trouble})


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """One process on one device: `memory` in bytes, None where the driver does not tell; `container` '' if in none."""

    uuid: str
    pid: int
    name: str
    container: str
    memory: int | None


def beyond_share(
    processes: Iterable[DeviceProcess], container: str, uuids: Collection[str], share: int
) -> tuple[int, str] | None:
    """When a container's processes hold more than `share` bytes on one of its devices: how much, and the evidence."""
    mine = [each for each in processes if each.container == container and each.memory]
    for uuid in sorted({each.uuid for each in mine}):
        here = sorted((each for each in mine if each.uuid == uuid), key=lambda each: -(each.memory or 0))
        held, most = sum(each.memory or 0 for each in here), share if uuid in uuids else 0
        if held <= most:
            continue
        who = f"process {here[0].pid} ({here[0].name})"
        if len(here) > 1:
            who += f", which held {format_size(here[0].memory or 0)}, and {len(here) - 1} more"
        return (
            held,
            f"{who}: {format_size(held)} ({held} bytes) on GPU {uuid}, more than its share of {format_size(most)}",
        )
    return None
