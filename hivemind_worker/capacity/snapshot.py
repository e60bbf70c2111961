"""One look at this machine: what it has, what it lends and what it uses. Cheap enough for every heartbeat."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil
import structlog

from hivemind_worker.capacity.confines import read_confines
from hivemind_worker.capacity.elastic import Elastic
from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.host import Capacity, ceiling, lend, machine_amount, part_of, read_usage
from hivemind_worker.capacity.scores import Scores
from hivemind_worker.domain.node import Gpu, Node, NodeState
from hivemind_worker.domain.resources import Amount
from hivemind_worker.settings import Settings
from hivemind_worker.version import __version__

log = structlog.get_logger()


class Snapshot:
    """Looks at the machine. Owned by the thread that announces the node. The state directory must exist.

    The disk is measured once: what the jobs themselves use of it must not shrink what they were promised. Cores,
    memory and processes are looked up every time, because an operator may change a container's limits while it runs.
    """

    def __init__(
        self,
        settings: Settings,
        gpus: GpuMonitor,
        scores: Scores | None = None,
        refused: Callable[[], str] = lambda: "",
    ) -> None:
        """`refused` says why devices that are well cannot be given to containers; '': they can."""
        self._settings = settings
        self._gpus = gpus
        self._scores = scores
        self._refused = refused
        self._elastic = Elastic()
        self._disk = psutil.disk_usage(str(settings.state))
        machine = self._machine(len(gpus.reading().gpus))
        for warning in self._remarks(machine, self._lend(machine)):
            log.warning(warning)

    def take(self, trouble: str = "") -> Node:
        """The node as it is now; `trouble`: why it admits nothing."""
        reading, usage = self._gpus.reading(), read_usage(self._settings)
        if reading.gpus and not reading.trouble and (refused := self._refused()):
            reading = reading.all_in(refused)
        machine = self._machine(sum(1 for gpu in reading.gpus if not gpu.trouble))
        self._elastic = self._elastic.after(
            use=usage.cpu_percent,
            pressure=usage.cpu_pressure,
            ceiling=self._ceiling(machine),
        )
        capacity = self._lend(machine)
        return Node(
            node=self._settings.node_id,
            state=NodeState.UP,
            capacity=capacity.total,
            reserve=capacity.reserve,
            allocatable=capacity.allocatable,
            most=capacity.most,
            gpus=tuple(self._scored(gpu) for gpu in reading.gpus),
            gpu_trouble=reading.trouble,
            cpu_score=self._scores.cpu if self._scores else 0.0,
            cpu_factor=self._elastic.factor,
            usage=usage,
            version=__version__,
            trouble=trouble,
            remarks=self._remarks(machine, capacity),
            on_partition=self._settings.on_partition,
            durability=self._settings.durability,
        )

    def _scored(self, gpu: Gpu) -> Gpu:
        score = self._scores.gpu(gpu.uuid) if self._scores else 0.0
        return gpu.model_copy(update={"score": score}) if score else gpu

    def _machine(self, gpus: int) -> Amount:
        return machine_amount(self._settings, read_confines(), gpus=gpus, disk=self._disk.total)

    def _remarks(self, machine: Amount, capacity: Capacity) -> tuple[str, ...]:
        return capacity.warnings + part_of(machine, self._settings, cores=_cores())

    def _lend(self, machine: Amount) -> Capacity:
        # What the file system keeps for root is in use as far as we are concerned.
        used = self._disk.total - self._disk.free
        return lend(
            machine, self._settings, disk_used=used, factor=self._elastic.factor, highest=self._ceiling(machine)
        )

    def _ceiling(self, machine: Amount) -> float:
        return ceiling(machine, self._settings, cores=_cores())


def _cores() -> int:
    """Cores of the whole machine, whoever may run on them."""
    return os.cpu_count() or 1
