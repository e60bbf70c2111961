"""Devices through the real pynvml calls on a stand-in library: several, divided, ill, lost; and a driver that dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest

from hivemind_worker.capacity import gpu as gpu_module
from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.nvml import Nvml
from hivemind_worker.domain.devices import Health, Reading, beyond_share
from hivemind_worker.domain.node import Gpu
from hivemind_worker.domain.resources import GIB, MIB
from tests.gpu_standin import Machine
from tests.gpu_standin.fixtures import library, machine

__all__ = ["library", "machine"]


NO_LIBRARY = "def none(): raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)"


@pytest.fixture
def nvml(machine: Machine) -> Iterator[Nvml]:
    session = Nvml()
    yield session
    session.close()


def troubles(reading: Reading) -> dict[str, str]:
    return {gpu.uuid: gpu.trouble for gpu in reading.gpus}


def test_without_a_library_there_are_no_devices_and_nothing_is_wrong() -> None:
    # A process of its own: a library that another test has loaded stays where the loader finds it.
    look = (
        "import sys\nfrom hivemind_worker.capacity.nvml import Nvml\n"
        "from hivemind_worker.domain.devices import Reading\nsys.exit(Nvml().read() != Reading())"
    )
    if any(Path(folder, "libnvidia-ml.so.1").exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")):
        look = f"import pynvml\n{NO_LIBRARY}\npynvml.nvmlInit = none\n{look}"  # this machine has one
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_a_library_without_its_driver_has_no_devices_and_says_why(machine: Machine, nvml: Nvml) -> None:
    machine.path.unlink()
    assert nvml.read() == Reading((), "the NVIDIA driver does not answer: Driver Not Loaded")


def test_every_device_is_read(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a", 16, reserved=300 * MIB).add("GPU-b", 80, name="Standin_B2")
    first, second = nvml.read().gpus
    assert (first.uuid, first.name, first.index) == ("GPU-a", "Standin A1", 0)
    assert (first.memory, first.reserved, first.lendable) == (16 * GIB, 300 * MIB, 16 * GIB - 300 * MIB)
    assert (second.uuid, second.name, second.index, second.memory) == ("GPU-b", "Standin B2", 1, 80 * GIB)
    assert first.usable


def test_an_old_driver_and_a_plain_card_lack_answers_and_are_well(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a", 8, reserved=MIB, no_v2=1, no_ecc=1)
    (only,) = nvml.read().gpus
    assert (only.memory, only.reserved, only.trouble) == (8 * GIB, 0, "")


def test_a_divided_device_is_its_instances(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a", 80, mig=1).add("GPU-b", 80).divide(0, "MIG-1", 10).divide(0, "MIG-2", 20)
    found = nvml.read().gpus
    assert [(gpu.uuid, gpu.parent, gpu.index, gpu.memory // GIB) for gpu in found] == [
        ("MIG-1", "GPU-a", 0, 10), ("MIG-2", "GPU-a", 0, 20), ("GPU-b", "", 1, 80),
    ]  # fmt: skip


def test_an_instance_is_as_well_as_its_device(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a", 80, mig=1, remap_failed=1).divide(0, "MIG-1", 10)
    assert "replaced" in troubles(nvml.read())["MIG-1"]


def test_a_device_that_is_divided_anew_shows_its_new_instances_alone(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a", 80, mig=1).divide(0, "MIG-1", 10)
    nvml.read()
    machine.instances.clear()
    machine.divide(0, "MIG-9", 40)
    assert troubles(nvml.read(afresh=True)) == {"MIG-9": ""}


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"ecc": 3}, "3 uncorrected"),
        ({"retired": 1}, "retired"),
        ({"remap_pending": 1}, "reset"),
        ({"remap_failed": 1}, "replaced"),
        ({"error": pynvml.NVML_ERROR_GPU_IS_LOST}, "GPU is lost"),
        ({"error": 999}, "Unknown Error"),
        ({"xid": 79}, "XID 79"),
    ],
)
def test_a_device_that_falls_ill_is_named_and_the_others_stay_well(
    machine: Machine, nvml: Nvml, fault: dict[str, int], word: str
) -> None:
    machine.add("GPU-a").add("GPU-b")
    assert troubles(nvml.read()) == {"GPU-a": "", "GPU-b": ""}
    machine.change("GPU-a", **fault)
    after = troubles(nvml.read())
    assert word in after["GPU-a"]
    assert after["GPU-b"] == ""
    assert troubles(nvml.read()) == after


def test_a_programs_own_fault_is_not_the_devices(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a")
    nvml.read()
    machine.change("GPU-a", xid=31)
    assert troubles(nvml.read()) == {"GPU-a": ""}


def test_a_driver_that_dies_takes_its_devices_out_and_one_that_comes_back_brings_them(
    machine: Machine, nvml: Nvml
) -> None:
    machine.add("GPU-a").add("GPU-b")
    nvml.read()
    machine.driver = 999
    machine.write()
    dead = nvml.read()
    assert dead.trouble == "the NVIDIA driver does not answer: Unknown Error"
    assert set(troubles(dead).values()) == {dead.trouble}
    assert not any(gpu.usable for gpu in dead.gpus)
    machine.driver = 0
    machine.write()
    assert troubles(nvml.read()) == {"GPU-a": "", "GPU-b": ""}


def test_devices_that_were_all_lost_are_well_again_after_a_reset(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a", error=15)
    assert nvml.read().trouble == "GPU 0 does not answer: GPU is lost"
    machine.change("GPU-a", error=0)
    assert troubles(nvml.read()) == {"GPU-a": ""}


def test_handles_of_a_device_that_was_reset_are_taken_anew(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a")
    nvml.read()
    machine.change("GPU-a", error=15)
    assert "GPU is lost" in troubles(nvml.read())["GPU-a"]
    machine.change("GPU-a", error=0)
    assert troubles(nvml.read()) == {"GPU-a": ""}


def test_a_device_that_has_gone_stays_named(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a").add("GPU-b")
    nvml.read()
    machine.gpus.pop(0)
    machine.write()
    assert "not there any more" in troubles(nvml.read(afresh=True))["GPU-a"]


def test_processes_are_told_with_their_device_and_memory(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a").add("GPU-b").run("GPU-a", 10, 5).run("GPU-a", 10, 7, "graphics").run("GPU-b", 11, -1)
    nvml.read()
    assert list(nvml.processes()) == [("GPU-a", 10, 7), ("GPU-b", 11, None)]


def test_a_device_that_cannot_be_asked_blinds_nobody_to_the_others(machine: Machine, nvml: Nvml) -> None:
    machine.add("GPU-a").add("GPU-b").run("GPU-a", 10, 5).run("GPU-b", 11, 7)
    nvml.read()
    machine.change("GPU-a", error=15)
    assert list(nvml.processes()) == [("GPU-b", 11, 7)]
    machine.change("GPU-a", error=0)
    assert list(nvml.processes()) == [("GPU-a", 10, 5), ("GPU-b", 11, 7)]


# --- the monitor -----------------------------------------------------------------------------------------


@pytest.fixture
def monitored(machine: Machine, tmp_path: Path) -> Iterator[Callable[[], GpuMonitor]]:
    monitors: list[GpuMonitor] = []

    def start() -> GpuMonitor:
        monitors.append(GpuMonitor(proc=tmp_path / "proc"))
        monitors[-1].start()
        return monitors[-1]

    yield start
    for each in monitors:
        each.stop()
        each._thread.join()


def until(said: Callable[[], bool]) -> None:
    """Wait for the monitor's next rounds; the test's own limit ends it."""
    while not said():
        os.sched_yield()


def test_the_monitor_has_its_devices_when_it_has_started(machine: Machine, monitored: Callable[[], GpuMonitor]) -> None:
    machine.add("GPU-a")
    assert troubles(monitored().reading()) == {"GPU-a": ""}


def test_whose_process_it_is_is_told_by_its_cgroup(
    machine: Machine, monitored: Callable[[], GpuMonitor], tmp_path: Path
) -> None:
    container = "c0ffee" * 10 + "abcd"
    folder = tmp_path / "proc" / "77"
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::/system.slice/docker-{container}.scope\n")
    (folder / "comm").write_text("train\n")
    machine.add("GPU-a").run("GPU-a", 77, 5 * GIB).run("GPU-a", 78, GIB)
    watching = monitored()
    until(lambda: bool(watching.processes()))
    mine, other = watching.processes()
    assert (mine.container, mine.name, mine.memory) == (container, "train", 5 * GIB)
    assert (other.container, other.name) == ("", "?")
    assert beyond_share(watching.processes(), container, ("GPU-a",), 5 * GIB) is None
    over = beyond_share(watching.processes(), container, ("GPU-a",), 4 * GIB)
    assert over is not None
    assert over[0] == 5 * GIB
    assert "process 77 (train): 5G" in over[1]
    assert "its share of 4G" in over[1]


def test_memory_on_a_device_that_is_not_the_jobs_is_beyond_its_share(
    machine: Machine, monitored: Callable[[], GpuMonitor], tmp_path: Path
) -> None:
    container = "a" * 64
    (tmp_path / "proc" / "77").mkdir(parents=True)
    (tmp_path / "proc" / "77" / "cgroup").write_text(f"4:memory:/docker/{container}\n")
    machine.add("GPU-a").add("GPU-b").run("GPU-b", 77, GIB)
    watching = monitored()
    until(lambda: bool(watching.processes()))
    assert beyond_share(watching.processes(), container, ("GPU-a",), 4 * GIB) is not None


class Hanging(Nvml):
    """A driver that answers once and then no more."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = threading.Event(), threading.Event()

    def read(self, *, afresh: bool = False) -> Reading:
        if afresh:
            return Reading((Gpu(uuid="GPU-a", name="x", memory=1),))
        self.asked.set()
        self.answer.wait()
        return Reading()


def test_a_driver_that_hangs_takes_its_devices_out_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_module, "HUNG_AFTER", 0.0)
    driver = Hanging()
    watching = GpuMonitor(driver)
    watching.start()
    watching.processes()  # wakes it for its next round
    assert driver.asked.wait(60)
    reading = watching.reading()
    assert "has not answered" in reading.trouble
    assert not reading.gpus[0].usable
    watching.stop()
    driver.answer.set()
    watching._thread.join()


def test_trouble_of_names_the_device(machine: Machine, monitored: Callable[[], GpuMonitor]) -> None:
    machine.add("GPU-a", ecc=1).add("GPU-b")
    watching = monitored()
    assert watching.trouble_of(("GPU-b",)) == ""
    assert watching.trouble_of(("GPU-b", "GPU-a")).startswith("GPU 0 (GPU-a): 1 uncorrected")
    assert "not there" in watching.trouble_of(("GPU-x",))


def test_the_worst_of_several_faults_is_named() -> None:
    assert "replaced" in Health(uncorrected=1, remap_failed=True, xids=(79,)).trouble
    assert Health(xids=(13, 31)).trouble == ""
