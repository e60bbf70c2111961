"""CPU beyond what there is: up slowly while it is calm, down fast under pressure, never beyond the ceiling."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.capacity.confines import read_confines
from hivemind_worker.capacity.elastic import CALM_LOOKS, STEP_UP, Elastic, pressure_of
from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.host import ceiling, lend, machine_amount, part_of
from hivemind_worker.capacity.snapshot import Snapshot
from hivemind_worker.domain.node import NodeUsage
from hivemind_worker.domain.resources import GIB, Amount
from hivemind_worker.settings import Settings

MACHINE = Amount(millicores=8000, memory=32 * GIB, gpus=0, disk=100 * GIB, pids=32768, slots=32)


def after(looks: int, state: Elastic = Elastic(), ceiling: float = 2.0, **seen: float) -> Elastic:  # noqa: B008
    for _ in range(looks):
        state = state.after(**{"use": 0.0, "pressure": 0.0} | seen, ceiling=ceiling)
    return state


def test_a_calm_machine_rises_one_step_after_several_looks() -> None:
    assert after(CALM_LOOKS - 1).factor == 1.0
    assert after(CALM_LOOKS).factor == 1.0 + STEP_UP
    assert after(1000).factor == 2.0


@pytest.mark.parametrize("seen", [{"use": 70.0}, {"pressure": 5.0}])
def test_a_busy_machine_stays_where_it_is_and_begins_anew(seen: dict[str, float]) -> None:
    state = after(CALM_LOOKS - 1, Elastic(1.5))
    assert after(1, state, **seen) == Elastic(1.5)


def test_pressure_lowers_at_once_and_never_below_what_there_is() -> None:
    assert after(1, Elastic(1.5), pressure=50.0).factor == 1.3
    assert after(9, Elastic(1.5), pressure=50.0).factor == 1.0


def test_a_ceiling_of_one_is_off() -> None:
    assert after(1000, ceiling=1.0).factor == 1.0


LOOK = st.tuples(st.floats(0, 100), st.floats(0, 100))


@given(looks=st.lists(LOOK, max_size=60), ceiling=st.floats(1, 8), start=st.floats(0.5, 9))
def test_the_factor_stays_between_one_and_its_ceiling_and_rises_by_one_step_at_most(
    looks: list[tuple[float, float]], ceiling: float, start: float
) -> None:
    state = Elastic(1.0).after(use=100, pressure=0, ceiling=ceiling)
    ups: list[int] = []
    for number, (use, pressure) in enumerate(looks):
        later = state.after(use=use, pressure=pressure, ceiling=ceiling)
        assert 1.0 <= later.factor <= ceiling
        assert later.factor - state.factor <= STEP_UP + 0.001
        if later.factor > state.factor:
            ups.append(number)
        state = later
    assert all(second - first >= CALM_LOOKS for first, second in itertools.pairwise(ups))
    assert Elastic(start).after(use=0, pressure=100, ceiling=ceiling).factor <= max(1.0, min(start, ceiling))


@pytest.mark.parametrize(
    ("psi", "load", "pressure"),
    [
        ("some avg10=12.34 avg60=1.00 avg300=0.00 total=9\nfull avg10=99.00 avg60=0.00 total=0\n", 99, 12.34),
        ("", 1.0, 0.0), ("", 6.0, 50.0), ("", 400.0, 100.0),
    ],
)  # fmt: skip
def test_pressure_is_the_kernels_word_or_else_the_load(psi: str, load: float, pressure: float) -> None:
    assert pressure_of(psi, load, 4) == pytest.approx(pressure)


def lent(settings: Settings, factor: float, **change: object) -> Amount:
    return lend(MACHINE, settings.model_copy(update=change), disk_used=0, factor=factor).allocatable


def test_by_default_only_reclaimable_jobs_get_idle_cores(settings: Settings) -> None:
    calm = lent(settings, 2.0)
    assert (calm.millicores, calm.spare) == (8000, 16000)
    assert lent(settings, 1.0).spare == 8000


def test_an_operator_may_overcommit_cores_up_to_a_ceiling(settings: Settings) -> None:
    assert lent(settings, 1.2, cpu_overcommit_max=1.5).millicores == 9600
    assert lent(settings, 2.0, cpu_overcommit_max=1.5).millicores == 12000


def test_memory_is_lent_once_unless_the_operator_says_otherwise(settings: Settings) -> None:
    once = lent(settings, 2.0).memory
    assert once < 32 * GIB
    assert lent(settings, 1.0, memory_overcommit=1.5).memory == int(once * 1.5)


def test_the_most_that_may_ever_be_lent_does_not_move_with_the_load(settings: Settings) -> None:
    for change in ({}, {"cpu_overcommit_max": 1.5}, {"cpu_overcommit_max": 3.0}, {"max_cpu_cores": 2.5}):
        own = settings.model_copy(update=change)
        made = [lend(MACHINE, own, disk_used=0, factor=factor) for factor in (1.0, 1.1, 8.0)]
        assert {each.most for each in made} == {made[-1].allocatable}


def test_no_factor_passes_the_owners_caps(settings: Settings) -> None:
    capped = lent(settings, 2.0, cpu_overcommit_max=2.0, memory_overcommit=2.0, max_cpu_cores=3.0, max_memory_gb=4.0)
    assert (capped.millicores, capped.spare, capped.memory) == (3000, 3000, 4 * GIB)


@pytest.mark.parametrize("cores", [7.5, 2.0])
def test_a_part_of_a_machine_lends_nothing_twice_as_its_own_use_is_not_known(settings: Settings, cores: float) -> None:
    part = MACHINE.model_copy(update={"millicores": int(cores * 1000)})
    assert ceiling(part, settings, cores=8) == 1.0
    assert ceiling(part, settings.model_copy(update={"cpu_overcommit_max": 3.0}), cores=8) == 1.0
    (said,) = part_of(part, settings, cores=8)
    assert said.startswith(f"this node has {cores:g} cores of the machine's 8, ")


def test_a_whole_machine_lends_as_its_settings_say(settings: Settings) -> None:
    assert ceiling(MACHINE, settings, cores=8) == 2.0
    assert ceiling(MACHINE, settings.model_copy(update={"cpu_overcommit_max": 3.0}), cores=8) == 3.0
    assert part_of(MACHINE, settings, cores=8) == ()


def test_a_node_that_is_to_lend_nothing_twice_is_not_told_that_it_does_not(settings: Settings) -> None:
    part = MACHINE.model_copy(update={"millicores": 2000})
    assert part_of(part, settings.model_copy(update={"cpu_reclaim_max": 1.0}), cores=8) == ()


def test_a_node_on_some_cores_of_a_calm_machine_lends_those_and_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.state.mkdir(parents=True)
    calm = NodeUsage(cpu_percent=3.0)
    monkeypatch.setattr("hivemind_worker.capacity.snapshot.read_usage", lambda _: calm)
    cores = machine_amount(settings, read_confines(), gpus=0, disk=GIB).millicores / 1000
    for there, rises in ((int(cores) + 62, False), (int(cores), True)):
        monkeypatch.setattr("os.cpu_count", lambda there=there: there)
        snapshot = Snapshot(settings, GpuMonitor())
        for _ in range(2 * CALM_LOOKS):
            seen = snapshot.take()
        assert (seen.cpu_factor > 1, seen.allocatable.spare > seen.capacity.millicores) == (rises, rises)
        assert any("this node has" in remark for remark in seen.remarks) is not rises
