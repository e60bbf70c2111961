"""The watch over devices on real containers: whose process it is, the kernel tells; the driver is the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import GIB
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.prepared import Ended, Prepared
from hivemind_worker.settings import Settings
from tests.gpu_standin import Machine
from tests.gpu_standin.fixtures import library, machine
from tests.integration.execution_kit import Kit

__all__ = ["library", "machine"]


@pytest.fixture
def kit(settings: Settings, stores: Stores, machine: Machine) -> Iterator[Kit]:
    machine.add("GPU-a").add("GPU-b")
    made = Kit(settings, stores)
    made.gpus = monitor = GpuMonitor()
    monitor.start()
    made.runner = made.new_runner()
    yield made
    made.close()
    monitor.stop()
    monitor._thread.join()


def run(kit: Kit, machine: Machine, share: int, happens: str, size: int = 0) -> tuple[Prepared, Ended]:
    """A job that shares GPU-a; once it runs, something happens: it holds `size` bytes, or the device falls ill.

    The container itself gets no device: this machine has none to give.
    """
    job = kit.job("sh", "-c", "sleep 600", requests={"gpus": 1, "gpu_memory": share})
    with closing(Handle()) as handle:
        prepared = kit.prepare(job, handle)
        prepared.gpus = ("GPU-a",)

        def started() -> None:
            assert prepared.container is not None
            found = kit.engine.inspect(prepared.container)
            assert found is not None
            if happens == "allocate, another ill":
                machine.change("GPU-b", error=15)
            if happens.startswith("allocate"):
                machine.run("GPU-a", found.pid, size)
                machine.run("GPU-a", 1, 99 * GIB)  # somebody else's
            else:
                machine.change("GPU-a", remap_failed=1)

        return prepared, kit.runner.run(prepared, handle, started)


@pytest.mark.parametrize("happens", ["allocate", "allocate, another ill"])
def test_a_job_that_holds_more_than_its_share_ends_of_memory_with_the_evidence(
    kit: Kit, machine: Machine, happens: str
) -> None:
    _, ended = run(kit, machine, 4 * GIB, happens, 5 * GIB)
    assert ended.cause is Cause.OOM
    assert "5G (5368709120 bytes) on GPU GPU-a, more than its share of 4G" in ended.evidence
    assert "process" in ended.evidence


@pytest.mark.parametrize("share", [0, 4 * GIB])
def test_a_job_on_a_device_that_falls_ill_is_lost_with_it(kit: Kit, machine: Machine, share: int) -> None:
    _, ended = run(kit, machine, share, "fault")
    assert ended.cause is Cause.NODE_LOST
    assert "GPU 0 (GPU-a): rows of its memory are broken" in ended.evidence


def test_a_worker_that_comes_back_watches_on(kit: Kit, machine: Machine) -> None:
    job = kit.job("sh", "-c", "sleep 600", requests={"gpus": 1, "gpu_memory": GIB})
    with closing(Handle()) as first:
        body = kit.start(job, first)
        first.detach()
        body.join()
    again = job.model_copy(update={"state": "running"})
    machine.change("GPU-a", ecc=1)
    with closing(Handle()) as second:
        prepared = kit.runner.prepare(again, {}, ("GPU-a",), second)
        ended = kit.runner.run(prepared, second, lambda: None)
    assert ended.cause is Cause.NODE_LOST


def test_a_job_within_its_share_runs_to_its_end(kit: Kit, machine: Machine, tmp_path: Path) -> None:
    job = kit.job("sh", "-c", "until [ -e go ]; do sleep 0.1; done", requests={"gpus": 1, "gpu_memory": 4 * GIB})
    with closing(Handle()) as handle:
        prepared = kit.prepare(job, handle)
        prepared.gpus = ("GPU-a",)

        def started() -> None:
            assert prepared.container is not None
            found = kit.engine.inspect(prepared.container)
            assert found is not None
            machine.run("GPU-a", found.pid, 4 * GIB)
            (prepared.workspace.work / "go").touch()

        assert kit.runner.run(prepared, handle, started).cause is Cause.OK
