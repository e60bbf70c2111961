"""On a machine that has an NVIDIA device: what NVML says is what nvidia-smi says. `./dev test -m gpu` runs these."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from hivemind_worker.capacity.gpu import read_gpus
from hivemind_worker.domain.resources import MIB

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _a_device() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("this machine has no NVIDIA driver")


def test_every_device_is_read_with_uuid_name_and_memory() -> None:
    query = ["nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    read = [f"{gpu.uuid}, {gpu.name}, {gpu.memory // MIB}" for gpu in read_gpus()]
    assert read == said
