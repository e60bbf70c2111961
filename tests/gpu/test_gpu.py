"""On a machine that has an NVIDIA device: what NVML says is what nvidia-smi says. `./dev test -m gpu` runs these."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.nvml import Nvml
from hivemind_worker.capacity.scores import run
from hivemind_worker.domain.resources import MIB

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _a_device() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("this machine has no NVIDIA driver")


def smi(query: str) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-{query}", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split(", ") for line in said.strip().splitlines()]


def test_every_device_is_read_with_uuid_name_and_memory() -> None:
    reading = Nvml().read()
    read = [[gpu.uuid, gpu.name, str(gpu.memory // MIB)] for gpu in reading.gpus if not gpu.parent]
    assert read == smi("gpu=uuid,name,memory.total")
    assert reading.trouble == ""
    assert all(0 < gpu.lendable <= gpu.memory for gpu in reading.gpus)


def test_the_processes_are_those_that_the_driver_tells_of() -> None:
    nvml = Nvml()
    nvml.read()
    told = {(uuid, pid) for uuid, pid, _ in nvml.processes()}
    assert {(uuid, int(pid)) for uuid, pid in smi("compute-apps=gpu_uuid,pid")} <= told


def test_the_monitor_sees_the_same() -> None:
    monitor = GpuMonitor()
    monitor.start()
    assert [gpu.uuid for gpu in monitor.reading().gpus] == [gpu.uuid for gpu in Nvml().read().gpus]
    monitor.stop()


def test_every_device_has_a_score() -> None:
    monitor = GpuMonitor()
    monitor.start()
    for gpu in monitor.reading().gpus:
        assert run("bench_gpu.py", {"CUDA_VISIBLE_DEVICES": gpu.uuid}) > 1
    monitor.stop()
