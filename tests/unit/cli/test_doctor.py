"""What `hivemind doctor` says of devices."""

from __future__ import annotations

from hivemind_cli.gpu_check import finding
from hivemind_worker.domain.devices import Reading
from hivemind_worker.domain.node import Gpu
from hivemind_worker.domain.resources import GIB

WELL = Gpu(uuid="GPU-a", name="Standin", memory=8 * GIB, reserved=GIB)


def test_a_machine_without_devices_is_well() -> None:
    assert (finding(Reading()).status, finding(Reading()).detail) == ("ok", "none here")


def test_devices_that_are_well_are_told_with_what_they_lend() -> None:
    assert finding(Reading((WELL,))).detail == "GPU 0 Standin, 7G to lend"


def test_a_dead_driver_is_said_once_and_an_ill_device_by_its_number() -> None:
    dead = finding(Reading((WELL, WELL)).all_in("the NVIDIA driver does not answer: Unknown Error"))
    assert (dead.status, dead.detail) == ("warn", "the NVIDIA driver does not answer: Unknown Error")
    assert "nvidia-smi" in dead.remedy
    ill = finding(Reading((WELL, WELL.model_copy(update={"index": 1, "trouble": "it has fallen off the bus"}))))
    assert (ill.status, ill.detail) == ("warn", "GPU 1 is out: it has fallen off the bus")


def test_a_driver_that_hangs_is_a_finding_too() -> None:
    assert "has not answered within 5 s" in finding(None).detail
