"""Scores: measured once for each piece of hardware, by programs of their own, and remembered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.scores import Scores, cpu_id, run
from hivemind_worker.capacity.snapshot import Snapshot
from hivemind_worker.domain.devices import DeviceProcess, Reading
from hivemind_worker.domain.node import Gpu
from hivemind_worker.settings import Settings


class Still(GpuMonitor):
    """Devices that a test names, without a driver."""

    def __init__(self, *gpus: Gpu, busy: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._reading = Reading(gpus)
        self._processes = tuple(DeviceProcess(uuid, 1, "x", "", 1) for uuid in busy)


def gpu(uuid: str, **given: object) -> Gpu:
    return Gpu.model_validate({"uuid": uuid, "name": "x", "memory": 1} | given)


def test_the_cpus_program_gives_a_number() -> None:
    assert run("bench_cpu.py", {}) > 1


def test_without_cuda_the_devices_program_says_so() -> None:
    with pytest.raises(ValueError, match=r"libcuda|cu[A-Z]"):
        run("bench_gpu.py", {"CUDA_VISIBLE_DEVICES": "none"})


def test_each_piece_of_hardware_is_measured_once_and_remembered(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def measure(program: str, environment: Mapping[str, str]) -> float:
        asked.append((program, environment.get("CUDA_VISIBLE_DEVICES", "")))
        return 120.5

    gpus = Still(gpu("free"), gpu("busy"), gpu("ill", trouble="gone"), busy=("busy",))
    first = Scores(tmp_path, gpus, measure, 0.0)
    assert (first.cpu, first.gpu("free")) == (0.0, 0.0)
    first.look(set())
    assert asked == [("bench_cpu.py", ""), ("bench_gpu.py", "free")]
    assert (first.cpu, first.gpu("free"), first.gpu("busy")) == (120.5, 120.5, 0.0)
    again = Scores(tmp_path, Still(gpu("free")), measure, 0.0)
    again.look(set())
    assert len(asked) == 2
    assert again.gpu("free") == 120.5


def test_what_cannot_be_measured_is_not_tried_again_and_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(program: str, environment: Mapping[str, str]) -> float:
        asked.append(program)
        raise ValueError("no")

    scores, tried = Scores(tmp_path, Still(), measure), set[str]()
    scores.look(tried)
    scores.look(tried)
    assert asked == ["bench_cpu.py"]
    assert scores.cpu == 0.0


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"cpu:x": "fast"}'])
def test_a_damaged_memory_is_measured_anew(tmp_path: Path, kept: str) -> None:
    (tmp_path / "scores.json").write_text(kept)
    scores = Scores(tmp_path, Still(), lambda program, environment: 7.0, 0.0)
    scores.look(set())
    assert scores.cpu == 7.0


def test_another_kind_of_core_has_another_name(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("processor\t: 0\nmodel name\t: A\ncpu MHz\t: 1000\n\nprocessor\t: 1\nmodel name\t: A\n")
    other.write_text("processor\t: 0\nmodel name\t: B\n")
    assert cpu_id(one) != cpu_id(other)
    again = one.read_text().replace("1000", "2000")
    one.write_text(again)
    assert cpu_id(one) == cpu_id(one)
    assert cpu_id(tmp_path / "nowhere").startswith("cpu:")


def test_a_node_shows_its_scores(tmp_path: Path, settings: Settings) -> None:
    settings.state.mkdir(parents=True)
    gpus = Still(gpu("g"))
    scores = Scores(tmp_path, gpus, lambda program, environment: 90.0, 0.0)
    scores.look(set())
    seen = Snapshot(settings, gpus, scores).take()
    assert (seen.cpu_score, seen.gpus[0].score) == (90.0, 90.0)
