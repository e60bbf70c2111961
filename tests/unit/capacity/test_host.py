"""What a machine lends: beside the system's reserve, within the owner's caps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.host import lend
from hivemind_worker.capacity.reserve import memory_reserve
from hivemind_worker.capacity.snapshot import Snapshot
from hivemind_worker.domain.resources import GIB, MIB, TIB, Amount
from hivemind_worker.settings import Settings

MACHINE = Amount(millicores=8000, memory=32 * GIB, gpus=1, disk=100 * GIB, pids=32768, slots=32)


def lent(settings: Settings, disk_used: int = 0, **change: Any) -> Amount:
    return lend(MACHINE, settings.model_copy(update=change), disk_used=disk_used).allocatable


def test_without_caps_all_but_the_reserve_is_lent(settings: Settings) -> None:
    assert lent(settings, reserve_memory=512 * MIB).memory == 32 * GIB - 512 * MIB
    assert lent(settings).millicores == 8000
    assert lent(settings).pids == 32768 - 1024


def test_the_system_keeps_memory_by_the_size_of_the_machine(settings: Settings) -> None:
    assert lent(settings).memory == 32 * GIB - memory_reserve(32 * GIB)


@pytest.mark.parametrize(
    ("machine", "kept"),
    [(0.5, 255), (2, 512), (4, 1024), (8, 1843), (16, 2662), (64, 5611), (128, 9543), (256, 12165)],
)
def test_the_memory_reserve_is_the_published_one(machine: float, kept: int) -> None:
    assert memory_reserve(int(machine * GIB)) // MIB == kept


@given(st.integers(0, 2**50), st.integers(0, 2**40))
def test_a_larger_machine_keeps_no_less_and_lends_no_less(machine: int, more: int) -> None:
    small, large = memory_reserve(machine), memory_reserve(machine + more)
    assert 0 <= small <= machine
    if machine >= GIB:
        assert small <= large
        assert large - small <= more


def test_the_owners_caps_hold(settings: Settings) -> None:
    capped = lent(settings, max_cpu_cores=2.5, max_memory_gb=4.0)
    assert (capped.millicores, capped.memory) == (2500, 4 * GIB)


def test_a_cap_above_the_machine_is_the_machine_and_named(settings: Settings) -> None:
    high = settings.model_copy(update={"max_cpu_cores": 999.0, "max_memory_gb": 999.0, "max_gpus": 9})
    made = lend(MACHINE, high, disk_used=0)
    assert made.allocatable == lent(settings)
    assert [line.split("=")[0] for line in made.warnings] == [
        "HIVEMIND_MAX_CPU_CORES", "HIVEMIND_MAX_MEMORY_GB", "HIVEMIND_MAX_GPUS",
    ]  # fmt: skip
    assert lend(MACHINE, settings, disk_used=0).warnings == ()


def test_a_reserve_larger_than_the_machine_leaves_nothing_and_nothing_negative(settings: Settings) -> None:
    assert lent(settings, reserve_memory=64 * GIB).memory == 0


def test_a_reserve_that_leaves_nothing_is_named_with_what_there_is(settings: Settings) -> None:
    high = {"reserve_cpu": 100.0, "reserve_memory": 64 * GIB, "reserve_disk": 100 * TIB, "reserve_pids": 32768}
    made = lend(MACHINE, settings.model_copy(update=high), disk_used=60 * GIB)
    assert made.warnings == (
        "HIVEMIND_RESERVE_CPU=100 leaves nothing for jobs: this machine has 8 cores",
        "HIVEMIND_RESERVE_MEMORY=64G leaves nothing for jobs: this machine has 32G of memory",
        "HIVEMIND_RESERVE_DISK=100T leaves nothing for jobs: this machine has 40G of disk free",
        "HIVEMIND_RESERVE_PIDS=32768 leaves nothing for jobs: this machine has 32768 processes",
    )
    assert lend(MACHINE, settings, disk_used=99 * GIB).warnings == (
        "HIVEMIND_RESERVE_DISK=1G leaves nothing for jobs: this machine has 1G of disk free",
    )
    assert lend(MACHINE, settings, disk_used=98 * GIB).warnings == ()


def test_disk_in_use_is_not_lent(settings: Settings) -> None:
    assert lent(settings, disk_used=60 * GIB).disk == 39 * GIB


def test_a_node_without_an_engine_has_no_slots(settings: Settings) -> None:
    assert lent(settings, docker_enabled=False).slots == 0


def test_this_machine_can_be_measured(settings: Settings) -> None:
    settings.state.mkdir(parents=True)
    seen = Snapshot(settings, GpuMonitor()).take("out of order")
    assert seen.capacity.millicores >= 1000
    assert 0 < seen.allocatable.memory < seen.capacity.memory
    assert seen.capacity.pids > seen.allocatable.pids > 0
    assert (seen.usage.memory_used > 0, seen.trouble) == (True, "out of order")


def test_what_a_node_lends_at_most_is_told_and_is_once_what_it_has_on_a_part_of_a_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.state.mkdir(parents=True)
    for machine, times in ((1, 2), (10_000, 1)):
        monkeypatch.setattr("hivemind_worker.capacity.snapshot._cores", lambda machine=machine: machine)
        seen = Snapshot(settings, GpuMonitor()).take()
        assert seen.ever.millicores == seen.allocatable.millicores
        assert seen.ever.spare == times * seen.allocatable.millicores
